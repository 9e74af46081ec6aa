"""Images of several frames: the first is read, and that is said."""

from pathlib import Path

import pytest
from PIL import Image

from fphi.tasks import describe, load_folder, load_tasks


def saved(path: Path, frames: int) -> None:
    """The i-th frame is of grey level 60 * i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = [Image.new("L", (8, 8), 60 * i) for i in range(frames)]
    first.save(path, save_all=True, append_images=others) if others else first.save(path)


@pytest.mark.parametrize("ending", ["gif", "png", "apng", "webp", "tif", "tiff"])
@pytest.mark.parametrize("mode", ["grey", "rgb"])
def test_the_first_frame_is_read_and_that_is_told(tmp_path: Path, ending: str, mode: str) -> None:
    saved(tmp_path / f"a/1.{ending}", 3)
    pool = load_folder(tmp_path, 4, mode)  # type: ignore[arg-type]
    assert pool.images.max() <= 2  # the first is black
    where = tmp_path / f"a/1.{ending}"
    assert pool.notes == (f"1 image has several frames, of which the first is read, such as {where}",)


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tif"])
def test_an_image_of_one_frame_is_none_of_them(tmp_path: Path, ending: str) -> None:
    saved(tmp_path / f"a/1.{ending}", 1)
    assert load_folder(tmp_path, 4).notes == ()


def test_they_are_counted(tmp_path: Path) -> None:
    for c in "abcdef":
        for i, frames in enumerate((1, 2, 4)):
            saved(tmp_path / f"{c}/{i}.gif", frames)
    note = f"12 images have several frames, of which the first is read, such as {tmp_path / 'a/1.gif'}"
    assert note in load_tasks(str(tmp_path), ways=2).notes
    assert note in describe(str(tmp_path))[0].note
