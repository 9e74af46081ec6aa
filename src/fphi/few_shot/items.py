"""What is to be told apart: rows of numbers, images, texts or recordings, given in any of the usual ways."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fphi.errors import DataError
from fphi.few_shot.in_memory import ExamplesError, bitmap_file, picture_file, scale_of, wave_file
from fphi.tasks.archive import Archive
from fphi.tasks.image import SUFFIXES
from fphi.tasks.sound import SOUND_SUFFIXES

__all__ = ["ExamplesError", "FileList", "Items", "Kind", "ValueKindError", "items_of", "kind_of_files"]

Kind = Literal["rows", "images", "texts", "sounds"]

_NOT_READ = (
    ".heic",
    ".heif",
    ".avif",
    ".jxl",
    ".svg",
    ".mp3",
    ".flac",
    ".ogg",
    ".opus",
    ".m4a",
    ".aac",
    ".wma",
)
_MEDIA = (*SUFFIXES, *SOUND_SUFFIXES, *_NOT_READ)


class ValueKindError(ExamplesError, TypeError):
    """A cell of a table is neither a number nor a text."""


class FileList(Archive):
    """Files from anywhere, or contents that were never files, read one at a time.

    Args:
        sources: of each file its name, and what reads it.
    """

    def __init__(self, sources: Sequence[tuple[str, Callable[[], bytes]]]) -> None:
        super().__init__(Path("."))
        self._names = [name for name, _ in sources]
        self._sources = dict(sources)

    def names(self) -> list[str]:
        return self._names

    def where(self, name: str) -> str:
        return name

    def size(self) -> int:
        return sum(self._size(name) for name in self._names)

    def fingerprint(self) -> str:
        return f"{len(self._names)} files"

    def _size(self, name: str) -> int:
        return len(self._content(name))

    def _content(self, name: str) -> bytes:
        try:
            return self._sources[name]()
        except OSError as error:
            raise DataError(f"{name} cannot be read ({error.strerror or error}); check the path") from error


@dataclass(frozen=True, eq=False)
class Items:
    """Examples of one kind, without labels.

    Args:
        kind: what they are.
        values: rows as an array ``[n, columns]``, of numbers or of objects; images as an array
            ``[n, C, H, W]``; texts as they are; of files their names, unique.
        archive: where the files are; None: there are none.
        columns: the names of the rows' columns, where they have names.
        scale: of an array of images, what its pixels are multiplied with to be 0 to 255.
    """

    kind: Kind
    values: Any
    archive: Archive | None = None
    columns: tuple[str, ...] = ()
    scale: int = 1

    def __len__(self) -> int:
        return len(self.values)

    def taken(self, rows: NDArray[np.int64]) -> "Items":
        """Some of them."""
        some = self.values[rows] if isinstance(self.values, np.ndarray) else [self.values[i] for i in rows]
        return replace(self, values=some)

    @cached_property
    def files(self) -> Archive:
        """Where the files are; images that were given as an array are files in memory."""
        return self.archive or FileList(
            [(f"image {i}", bitmap_file(v, self.scale)) for i, v in enumerate(self.values)]
        )

    @property
    def are_float_levels(self) -> bool:
        """Whether they are images in floats of 0 to 255, of which a dark one could be taken for fractions."""
        floats = isinstance(self.values, np.ndarray) and self.values.dtype.kind == "f"
        return self.kind == "images" and floats and self.scale == 1

    def names(self) -> list[str]:
        """The files' names in `files`."""
        return list(self.values) if self.archive is not None else self.files.names()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)


def items_of(X: Any, kind: Kind | None = None, rate: int | None = None) -> Items:
    """Read what scikit-learn calls X.

    Args:
        X: numbers ``[n, columns]``, images ``[n, H, W]``, ``[n, C, H, W]`` or ``[n, H, W, C]`` (arrays or
            tensors, 0 to 255 or fractions of 1), or a list of paths, of texts, of Pillow's images, or of
            waveforms (arrays of one dimension).
        kind: what they are, where it is known; None: it is found out.
        rate: samples of a waveform per second.

    Raises:
        ExamplesError: they are of no such form.
    """
    if isinstance(X, Items):
        return X
    X = X.detach().cpu().numpy() if isinstance(X, Tensor) else X
    if not isinstance(X, np.ndarray) and isinstance(X, Sequence) and not isinstance(X, str) and len(X):
        listed = _of_list(X, kind, rate)
        if listed is not None:
            return listed
    return _of_array(X, kind)


def _of_list(X: Sequence[Any], kind: Kind | None, rate: int | None) -> Items | None:
    first = X[0]
    if isinstance(first, str | os.PathLike):
        return _of_words(list(X), kind)
    if isinstance(first, Image.Image):
        contents = [(f"image {i}", picture_file(image)) for i, image in enumerate(X)]
        return Items("images", [name for name, _ in contents], FileList(contents))
    shapes = [np.shape(x) for x in X]
    if kind == "sounds" or (rate is not None and all(len(shape) == 1 for shape in shapes)):
        if rate is None:
            raise ExamplesError("waveforms need their samples per second; give sampling_rate=…")
        contents = [(f"sound {i}", wave_file(x, rate)) for i, x in enumerate(X)]
        return Items("sounds", [name for name, _ in contents], FileList(contents))
    if all(len(shape) == 3 for shape in shapes) and len(set(shapes)) > 1:
        arrays = [_image_array(np.asarray(x)[None])[0] for x in X]
        scale = scale_of(arrays)
        contents = [(f"image {i}", bitmap_file(x, scale)) for i, x in enumerate(arrays)]
        return Items("images", [name for name, _ in contents], FileList(contents))
    return None


def _of_words(X: list[Any], kind: Kind | None) -> Items:
    """Texts, or the paths of files."""
    if kind == "texts" or (kind is None and not _are_paths(X)):
        if not all(isinstance(x, str) for x in X):
            raise ExamplesError("some of X are texts and others are not; give one kind")
        return Items("texts", [str(x) for x in X])
    return files_at([str(x) for x in X])


def _are_paths(X: list[Any]) -> bool:
    """Whether strings name files: by what they are, by their endings, or because there are such files.

    The endings of media that are not read are among them: texts they are not.
    """
    if any(isinstance(x, os.PathLike) for x in X):
        return True
    return all(str(x).lower().endswith(_MEDIA) for x in X) or all(os.path.isfile(x) for x in X)


def files_at(paths: Sequence[str]) -> Items:
    """The images or recordings of these paths.

    Raises:
        ExamplesError: they are of both kinds, or of none.
    """
    unique = list(dict.fromkeys(paths))
    return Items(kind_of_files(paths), list(paths), FileList([(p, Path(p).read_bytes) for p in unique]))


def kind_of_files(names: Sequence[str]) -> Kind:
    """Whether files are images or recordings, by their endings.

    Raises:
        ExamplesError: they are of both kinds, or of none.
    """
    sounds = [name.lower().endswith(SOUND_SUFFIXES) for name in names]
    if all(sounds):
        return "sounds"
    strange = [n for n in names if not n.lower().endswith((*SUFFIXES, *SOUND_SUFFIXES))]
    if strange:
        raise ExamplesError(f"{strange[0]} is neither an image nor a WAV file, by its ending; leave it out")
    if any(sounds):
        raise ExamplesError("some files are images and others recordings; give one kind")
    return "images"


def _of_array(X: Any, kind: Kind | None) -> Items:
    if hasattr(X, "toarray"):
        raise ExamplesError("X is a sparse matrix, which is not read; give X.toarray()")
    columns = tuple(str(c) for c in X.columns) if hasattr(X, "columns") and hasattr(X, "iloc") else ()
    try:
        array = np.asarray(X)
    except ValueError as error:
        raise ExamplesError(f"X is no array ({error}); give rows of equal length") from error
    if array.dtype.kind == "c":
        raise ExamplesError("Complex data not supported: X has complex numbers; give real ones")
    if array.ndim == 1 and len(array) and all(isinstance(x, str | os.PathLike) for x in array):
        return _of_words(array.tolist(), kind)
    if array.ndim < 2:
        raise ExamplesError(
            f"X has shape {list(array.shape)}. Reshape your data: give [examples, columns], for one column "
            "X.reshape(-1, 1)"
        )
    if array.ndim > 2:
        images = _image_array(array)
        return Items("images", images, scale=scale_of([images]))
    return Items("rows", array, None, columns)


def _image_array(array: NDArray[Any]) -> NDArray[Any]:
    """``[n, C, H, W]`` with 1, 3 or 4 channels, of whole numbers or floats."""
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or not {array.shape[1], array.shape[3]} & {1, 3, 4}:
        raise ExamplesError(
            f"Found array with dim {array.ndim}: X has shape {list(array.shape)}; give images as [n, H, W], "
            "[n, C, H, W] or [n, H, W, C] with 1, 3 or 4 channels"
        )
    if array.dtype.kind not in "buif":
        raise ExamplesError(f"images are of {array.dtype}; give numbers")
    return array if array.shape[1] in (1, 3, 4) else np.moveaxis(array, 3, 1)
