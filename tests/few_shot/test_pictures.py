"""Images whose values do not say what is white, and what is told of how images were read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from few_shot_helpers import image_folder, sound_folder
from fphi import FewShotClassifier, FphiError
from fphi.few_shot.answers import Inputs
from fphi.few_shot.encoders import Descriptor
from fphi.few_shot.encoders.modules import Timm
from fphi.few_shot.items import items_of
from fphi.few_shot.own_data import fit_data, predict_files


def _squares(folder: Path, each: int = 4) -> tuple[list[str], list[str]]:
    """Images of floats with a square of 200, 500 or 1000, and how bright it is."""
    rng = np.random.default_rng(0)
    paths, labels = [], []
    for label, level in (("dim", 200), ("mid", 500), ("bright", 1000)):
        (folder / label).mkdir(parents=True)
        for i in range(each):
            values = 10 + rng.random((16, 16)).astype(np.float32)
            values[2:8, 2:8] = level
            path = folder / label / f"{i}.tif"
            Image.fromarray(values).save(path)
            paths.append(str(path))
            labels.append(label)
    return paths, labels


def test_values_of_floats_mean_the_same_whatever_they_come_with(tmp_path: Path) -> None:
    paths, labels = _squares(tmp_path / "data")
    model = FewShotClassifier("means").fit(paths, labels)
    assert model.predict(paths).tolist() == labels
    together = model.features(paths)
    alone = torch.cat([model.features([path]) for path in paths])
    torch.testing.assert_close(alone, together)
    model.save(tmp_path / "m.fphi")
    loaded = FewShotClassifier.load(tmp_path / "m.fphi")
    assert [loaded.predict([path])[0] for path in paths] == labels
    assert torch.equal(loaded.features(paths[:1]), model.features(paths[:1]))


def test_what_is_brighter_than_all_that_was_learned_is_white(tmp_path: Path) -> None:
    paths, labels = _squares(tmp_path / "data")
    encoder = FewShotClassifier("means").fit(paths, labels).fitted_.candidate.encoder
    brighter = []
    for i, level in enumerate((1010.0, 9999.0)):  # the fitted values reach 1000
        values = np.full((16, 16), 10, np.float32)
        values[2:8, 2:8] = level
        brighter.append(str(tmp_path / f"{i}.tif"))
        Image.fromarray(values).save(brighter[-1])
    features = encoder.encode(items_of(brighter))
    torch.testing.assert_close(features[0], features[1])


def test_floats_after_images_of_bytes_are_scaled_each_by_its_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    encoder = Descriptor().learn(items_of(rng.integers(0, 255, (4, 1, 16, 16)).astype(np.uint8)))
    paths, _ = _squares(tmp_path / "data", 1)
    together = encoder.encode(items_of(paths))
    torch.testing.assert_close(together[:1], encoder.encode(items_of(paths[:1])))


def test_a_scale_is_kept_and_an_encoder_of_before_there_was_one_is_read() -> None:
    for scale in ((0.0, 500.0), "each"):
        made = Descriptor(16, "grey", scale)
        assert Descriptor.restored(made.spec(), {}).scale == scale
    assert Descriptor.restored({"size": 16, "channels": "grey"}, {}).scale is None
    for wrong in ([0, 0], [0, float("nan")], [1], "none"):
        with pytest.raises(ValueError):
            Descriptor.restored({"size": 16, "channels": "grey", "values": wrong}, {})


def test_every_encoder_of_images_keeps_the_scale_of_the_first(tmp_path: Path) -> None:
    paths, _ = _squares(tmp_path / "data", 1)
    inputs = Inputs((1, 16, 16)).learn(items_of(paths))
    assert torch.equal(inputs.encode(items_of(paths[:1])), inputs.encode(items_of(paths))[:1])
    for made in (inputs, Timm("net").learn(items_of(paths))):
        before = {key: value for key, value in made.spec().items() if key != "values"}
        scales = [of.scale for of in (made, type(made).restored(made.spec(), {}))]
        assert scales == [(0, 1000)] * 2
        assert any("1000 as white" in note for note in made.notes)
        assert type(made).restored(before, {}).scale is None


def test_what_is_read_of_files_is_told_to_who_fits(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "images")
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "kind 0/moving.gif", save_all=True, append_images=frames[1:])
    for options in ({}, {"channels": "grey"}):
        notes = fit_data(folder, learner="means", **options).notes
        (note,) = (note for note in notes if "frames" in note)
        assert note.startswith("1 image has several frames, of which the first is read, such as ")
        assert note.endswith("kind 0/moving.gif")
        assert not any("--mode" in note for note in notes)
    _squares(tmp_path / "floats")
    floats = fit_data(tmp_path / "floats", learner="means")
    assert "images of floats or 32 bits: 0 is read as black and 1000 as white" in floats.notes
    dim = predict_files(floats.model, [tmp_path / "floats/dim/0.tif"])
    assert [answer.label for answer in dim] == ["dim"]
    sounds = fit_data(sound_folder(tmp_path / "sounds"), learner="means")
    assert any("pictures of 32 bands" in note for note in sounds.notes)


def test_an_encoder_refuses_values_that_no_image_has(tmp_path: Path) -> None:
    paths, labels = _squares(tmp_path / "data", 1)
    values = np.full((8, 8), np.inf, np.float32)
    Image.fromarray(values).save(tmp_path / "x.tif")
    model = FewShotClassifier("means").fit(paths, labels)
    with pytest.raises(FphiError, match=r"x\.tif has pixels that are not finite"):
        model.predict([str(tmp_path / "x.tif")])
