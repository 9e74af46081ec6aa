"""Recordings as pictures of their sound."""

import io
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from few_shot_helpers import sound_folder, tone
from fphi.errors import DataError
from fphi.few_shot.own_data import fit_data
from fphi.tasks.folder import class_files, load_folder, load_split_folders
from fphi.tasks.sound import log_mel, read_wave


def _written(samples: object, rate: int = 8000) -> bytes:
    content = io.BytesIO()
    wavfile.write(content, rate, samples)
    return content.getvalue()


def test_samples_of_every_depth_are_the_same_sound() -> None:
    wave = tone(0, np.random.default_rng(0)).clip(-1, 1)
    written = {
        "float": (wave.astype(np.float32), 1e-7),
        "16": (np.rint(32767 * wave).astype(np.int16), 1e-4),
        "32": (np.rint(2147483647 * wave).astype(np.int32), 1e-7),
        "8": (np.rint(127 * wave + 128).astype(np.uint8), 1e-2),
        "stereo": (np.stack([wave, wave], 1).astype(np.float32), 1e-7),
    }
    for samples, tolerance in written.values():
        read, rate = read_wave(_written(samples), "a.wav")
        assert rate == 8000
        np.testing.assert_allclose(read, wave, atol=tolerance)


def test_a_pure_tone_is_one_row_and_higher_tones_are_higher_rows() -> None:
    time = np.arange(8000) / 8000
    rows = []
    for pitch in (300, 900, 2700):
        picture = log_mel(np.sin(2 * np.pi * pitch * time).astype(np.float32), 8000, 32, 20)
        assert picture.shape == (32, 20)
        assert picture.max() == pytest.approx(1)
        assert (picture.argmax(0) == picture.mean(1).argmax()).all()
        rows.append(int(picture.mean(1).argmax()))
    assert rows == sorted(rows, reverse=True)


def test_loudness_and_silence_at_the_ends_change_nothing() -> None:
    wave = tone(1, np.random.default_rng(0)).astype(np.float32)
    whole = log_mel(wave, 8000, 24, 12)
    np.testing.assert_allclose(log_mel(wave * 0.01, 8000, 24, 12), whole, atol=1e-4)
    silence = np.zeros(1600, dtype=np.float32)
    np.testing.assert_allclose(
        log_mel(np.concatenate([silence, wave, silence]), 8000, 24, 12), whole, atol=0.25
    )
    assert (log_mel(silence, 8000, 24, 12) == 0).all()
    assert np.isfinite(log_mel(wave[:5], 8000, 24, 12)).all()


@pytest.mark.parametrize("windows", [1, 6, 7, 8, 13, 14, 15, 50])
def test_blocks_of_windows_are_the_whole_transform_to_the_last_bit(
    monkeypatch: pytest.MonkeyPatch, windows: int
) -> None:
    wave = np.random.default_rng(0).normal(size=200 + 80 * (windows - 1)).astype(np.float32)
    monkeypatch.setattr("fphi.tasks.sound._AT_ONCE", 10**6)
    whole = log_mel(wave, 8000, 24, 12)
    monkeypatch.setattr("fphi.tasks.sound._AT_ONCE", 7)
    np.testing.assert_array_equal(log_mel(wave, 8000, 24, 12), whole)


def test_a_long_recording_needs_little_more_memory_than_its_samples() -> None:
    """All spectra of these four minutes at once are 1.5 GB."""
    wave = np.zeros(240 * 44_100, dtype=np.float32)
    wave[::1000] = 1
    tracemalloc.start()
    log_mel(wave, 44_100, 24, 12)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 250e6


def test_a_folder_of_recordings_is_a_pool_of_pictures(tmp_path: Path) -> None:
    pool = load_folder(sound_folder(tmp_path), 28)
    assert pool.images.shape == (12, 1, 28, 28)
    assert pool.names == ("kind 0", "kind 1", "kind 2")
    assert any("recordings" in note for note in pool.notes)


def test_images_beside_recordings_are_refused_with_both_counts(tmp_path: Path) -> None:
    """A plot in each class would else be all that is learned from."""
    folder = sound_folder(tmp_path / "data", each=4, classes=2)
    Image.new("L", (8, 8)).save(folder / "plot.png")  # in no class
    (folder / "notes.txt").write_text("x")
    assert load_folder(folder, 28).sizes.tolist() == [4, 4]
    for k in range(2):
        shutil.copy(folder / "plot.png", folder / f"kind {k}/plot.png")
    said = r"data has 2 images and 8 recordings in class folders, such as 'kind 0/plot\.png' and 'kind 0/0-0"
    reads: tuple[Callable[[Path], object], ...] = (load_folder, load_split_folders, class_files, fit_data)
    for read in reads:
        with pytest.raises(DataError, match=said):
            read(folder)
    (folder / "kind 1/plot.png").unlink()
    with pytest.raises(DataError, match="has 1 image and 8 recordings in"):
        load_folder(folder)


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", _written(np.zeros(0, np.int16)), _written(np.full(9, np.nan, np.float32))]
)
def test_what_is_no_recording_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(DataError, match=r"a\.wav"):
        read_wave(content, "a.wav")
