"""Any folder or zip of images or recordings with one folder per class."""

import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from fphi.errors import DataError
from fphi.ranges import checked
from fphi.tasks.archive import Archive, open_archive
from fphi.tasks.copies import without_copies
from fphi.tasks.image import SUFFIXES, ImageMode, ImageReader, Values
from fphi.tasks.pool import ClassPool
from fphi.tasks.sound import SOUND_SUFFIXES, SoundReader
from fphi.tasks.split_folders import Files, SplitFolders, in_one_split_each

__all__ = [
    "ClassFiles",
    "ImageMode",
    "class_files",
    "has_split_folders",
    "image_files",
    "load_folder",
    "load_split_folders",
]


@checked()
def load_folder(path: Path | str, size: int = 28, mode: ImageMode = "grey") -> ClassPool:
    """Read ``CLASS/image`` or ``SPLIT/CLASS/image`` from a folder or a zip; images end up square.

    A class is the folder that an image is in, so deeper folders (``Greek/alpha/1.png``) are classes
    named by their whole path. Folders that contain everything else are looked through. WAV files in place of
    images are read as pictures of their sound; see `fphi.tasks.sound.log_mel`.

    Top-level folders train, test and validation (or training and testing, base and novel, val, …) that share
    no class are splits of classes: they become the groups of the pool. Where all classes of one are also
    classes of the other, as in ordinary classification data, the images of a class are put together, since a
    class may be in one split only.

    Args:
        path: the folder or the zip.
        size: pixels of a side after resizing (bilinear). Images are shown upright, as their EXIF data say,
            and transparent pixels over white.
        mode: "grey" for one channel, "rgb" for three. The pool's notes say if "grey" drops colours, which
            files are no images that are read, and which links to folders are not followed.

    Raises:
        DataError: if there are no classes, images beside recordings, some but not all of two splits are the
            same, an image does not decode, or a zip or a link leads out.
    """
    archive = open_archive(Path(path))
    files, notes = _listed(archive)
    divided, given_up = in_one_split_each(files, str(archive.path))
    reader = _reader(archive, files, size, mode)
    return _pools(reader, {"": divided}, [*notes, *given_up])[""]


def load_split_folders(path: Path | str, size: int = 28, mode: ImageMode = "grey") -> dict[str, ClassPool]:
    """Read ``SPLIT/CLASS/image`` as ordinary classification data: a pool for each split, by its name.

    What is in no split is a pool named "". Of files with the same content in a class one counts: a copy that
    is held out would be answered by the one that is learned from. Images of floats or 32 bits are scaled by
    those of all splits but the test, which is scaled alike. Arguments and errors as in `load_folder`.
    """
    archive = open_archive(Path(path))
    files, notes = _listed_once(archive)
    parts = {
        split: {key: names for key, names in files.items() if key[0] == split}
        for split in sorted({split for split, _ in files})
    }
    reader = _reader(archive, files, size, mode)
    pools = _pools(reader, {split: part for split, part in parts.items() if split != "test"}, notes)
    if "test" in parts:
        again = _reader(archive, files, size, mode, getattr(reader, "values", None))
        pools |= _pools(again, {"test": parts["test"]}, notes)
    return {split: pools[split] for split in parts}


def image_files(path: Path | str) -> dict[str, list[str]]:
    """The names of the images that `load_split_folders` reads, by split and in the same order."""
    files, _ = _listed_once(open_archive(Path(path)))
    listed: dict[str, list[str]] = {split: [] for split, _ in sorted(files)}
    for split, name in sorted(files):
        listed[split] += files[split, name]
    return listed


class ClassFiles(NamedTuple):
    """The files of a folder or zip by their classes.

    ``files`` are their names by split ("" where there is none) and class, ``sounds`` says whether they are
    recordings, and ``notes`` what was left out.
    """

    archive: Archive
    files: dict[tuple[str, str], list[str]]
    sounds: bool
    notes: tuple[str, ...]


def class_files(path: Path | str) -> ClassFiles:
    """The images, or the recordings, of a folder or zip with one folder per class.

    Raises:
        DataError: there are none, or both, or a zip or a link leads out.
    """
    archive = open_archive(Path(path))
    files, notes = _listed_once(archive)
    return ClassFiles(archive, dict(files), _are_sounds(files), tuple(notes))


def has_split_folders(pool: ClassPool) -> bool:
    """Return whether the classes of a folder came divided."""
    return "train" in pool.groups and "test" in pool.groups


def _reader(
    archive: Archive, files: Files, size: int, mode: ImageMode, values: Values | None = None
) -> ImageReader | SoundReader:
    sounds = _are_sounds(files)
    return SoundReader(archive, size) if sounds else ImageReader(archive, size, mode, values)


def _pools(
    reader: ImageReader | SoundReader, parts: Mapping[str, Files], notes: list[str]
) -> dict[str, ClassPool]:
    """A pool of each part, all scaled alike."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, on what it reads all the same
        read = {
            part: {key: [reader.read(name) for name in files[key]] for key in sorted(files)}
            for part, files in parts.items()
        }
    pools = {}
    for part, of in read.items():
        keys = list(of)
        # One class after the other, so that what was read of it is let go.
        arrays = [reader.stacked(of.pop(key)) for key in keys]  # type: ignore[arg-type]
        pools[part] = ClassPool.from_classes(
            arrays, [name for _, name in keys], [group for group, _ in keys], [*notes, *reader.notes]
        )
    return pools


def _no_files(archive: Archive, notes: list[str]) -> DataError:
    expected = "expected CLASS/image.png or SPLIT/CLASS/image.png"
    return DataError(f"{archive.path} has no images in class folders; {'; '.join([*notes, expected])}")


def _are_sounds(files: Files) -> bool:
    return next(iter(files.values()))[0].lower().endswith(SOUND_SUFFIXES)


def _listed(archive: Archive) -> tuple[Files, list[str]]:
    """The images, or the recordings, of each class of each split, and a line on the files left out.

    Raises:
        DataError: there are none, or both.
    """
    names = archive.names()
    images, sounds = (
        _in_classes([name.split("/") for name in names if name.lower().endswith(suffixes)])
        for suffixes in (SUFFIXES, SOUND_SUFFIXES)
    )
    _require_one_kind(archive, images.files, sounds.files)
    found, suffixes = (sounds, SOUND_SUFFIXES) if sounds.files else (images, SUFFIXES)
    others = (n for n in names if not n.lower().endswith(suffixes) and n.count("/") > found.root)
    notes = [*_left_out(others, found.stray), *_not_followed(archive.linked())]
    if not found.files:
        raise _no_files(archive, notes)
    return found.files, notes


def _listed_once(archive: Archive) -> tuple[Files, list[str]]:
    files, notes = _listed(archive)
    kept, copied = without_copies(archive, files)
    return kept, [*notes, *copied]


class _InClasses(NamedTuple):
    """Files by their classes, how many are in none, and how many leading folders all share."""

    files: Files
    stray: int
    root: int


def _in_classes(parts: list[list[str]]) -> _InClasses:
    root = _common_root(parts)
    folders = SplitFolders({path[root] for path in parts if len(path) > root + 2})
    files: Files = defaultdict(list)
    stray = 0
    for path in parts:
        split, name = folders.split_and_class(path[root:-1])
        stray += not name
        if name:
            files[split, _readable(name)].append("/".join(path))
    return _InClasses(files, stray, root)


def _require_one_kind(archive: Archive, images: Files, sounds: Files) -> None:
    """Refuse a mixture: which of the two is meant, a count does not tell."""
    if images and sounds:
        of_images, of_sounds = (list(chain.from_iterable(files.values())) for files in (images, sounds))
        raise DataError(
            f"{archive.path} has {_count(of_images, 'image')} and {_count(of_sounds, 'recording')} in class "
            f"folders, such as {of_images[0][:100]!r} and {of_sounds[0][:100]!r}; take one of the kinds out"
        )


def _count(names: list[str], kind: str) -> str:
    return f"{len(names)} {kind}" if len(names) == 1 else f"{len(names)} {kind}s"


def _left_out(others: Iterable[str], stray: int) -> list[str]:
    """How many files are no images of endings that are read, and how many images are in no class."""
    endings = Counter(Path(name).suffix.lower()[:12] or "no ending" for name in others)
    counted = [f"{count} of {ending}" for ending, count in endings.most_common(5)]
    if len(endings) > 5:
        counted.append(f"{sum(endings.values()) - sum(n for _, n in endings.most_common(5))} of others")
    if stray:
        counted.append(f"{stray} in no class folder")
    total = sum(endings.values()) + stray
    return (
        [f"{total} {'file is' if total == 1 else 'files are'} left out: {', '.join(counted)}"]
        if total
        else []
    )


def _not_followed(links: list[str]) -> list[str]:
    """A line on links to folders: a split that is made of them is none."""
    if not links:
        return []
    count = "1 link to a folder is" if len(links) == 1 else f"{len(links)} links to folders are"
    return [f"{count} not followed, such as {links[0][:100]!r}: classes are where their own folders are"]


def _readable(name: str) -> str:
    """The same name for the same letters, however a system composes them; bytes that are none spelled out."""
    return unicodedata.normalize("NFC", name.encode("utf-8", "backslashreplace").decode("utf-8"))


def _common_root(parts: list[list[str]]) -> int:
    """Return how many leading folders all images share and none of which is a class or a split."""
    depth = 0
    while parts and all(len(p) > depth + 2 for p in parts) and len({p[depth] for p in parts}) == 1:
        if SplitFolders({parts[0][depth]}):
            break
        depth += 1
    return depth
