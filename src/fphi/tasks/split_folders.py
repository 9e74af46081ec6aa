"""Folders that divide classes into splits, by the names that data sets give them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations

from fphi.errors import DataError
from fphi.tasks.splits import SPLITS

__all__ = ["Files", "SplitFolders", "in_one_split_each"]

Files = dict[tuple[str, str], list[str]]
"""(split or "", class) to the names of its images."""

_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "validate"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}

_IN_PAIRS = {
    **dict.fromkeys(("base", "background", "seen", "imagesbackground"), "train"),
    **dict.fromkeys(("dev", "development"), "validation"),
    **dict.fromkeys(("novel", "evaluation", "eval", "unseen", "imagesevaluation"), "test"),
}
"""Names that classes have too: they are splits where there is one to train and one to test."""


class SplitFolders:
    """Which of the folders at the top are splits.

    Args:
        tops: the names of the folders at the top that hold class folders.
    """

    def __init__(self, tops: Iterable[str]) -> None:
        plain = {top: _plain(top) for top in tops}
        sure = {top: _SPLIT_NAMES[name] for top, name in plain.items() if name in _SPLIT_NAMES}
        names = _SPLIT_NAMES | _IN_PAIRS
        pairs = {top: names[name] for top, name in plain.items() if name in names}
        self._splits = pairs if {"train", "test"} <= set(pairs.values()) else sure

    def __bool__(self) -> bool:
        """Whether any of them is."""
        return bool(self._splits)

    def split_and_class(self, folders: Sequence[str]) -> tuple[str, str]:
        """Return the split, or "", and the class of an image in these folders, one within the other."""
        split = self._splits.get(folders[0], "") if len(folders) > 1 else ""
        return split, "/".join(folders[1 if split else 0 :])


def in_one_split_each(files: Files, where: str) -> tuple[Files, list[str]]:
    """Return the images so that no class is in two splits, and a line if splits are given up for that.

    Folders of training and of test are kept if they share no class. If all classes of one are classes of the
    other, as in ordinary classification data, the images of a class are put together.

    Raises:
        DataError: some classes are shared and others are not, so that neither is meant.
    """
    classes = {split: {name for s, name in files if s == split} for split, _ in files}
    shared = len({name for _, name in files}) < len(files)
    if {"train", "test"} <= classes.keys() <= set(SPLITS):
        if not shared:
            _require_apart(classes, where)
            return files, []
        _require_ordinary(classes, where)
    merged: Files = defaultdict(list)
    for (_, name), images in files.items():
        merged["", name] += images
    named = ", ".join(sorted(split for split in classes if split))
    why = "they share classes" if shared else "there are others beside them, or not both train and test"
    return merged, [f"{named}: these folders are not taken as splits, since {why}"] if named else []


def _require_ordinary(classes: dict[str, set[str]], where: str) -> None:
    """Refuse classes on two sides, unless those of every other split are all in training or the reverse."""
    train = classes["train"]
    if all(other <= train or train <= other for other in classes.values()):
        return
    for one, two in combinations(sorted(classes), 2):
        if common := classes[one] & classes[two]:
            raise DataError(
                f"{where} has {len(common)} classes both in {one} and in {two}, such as "
                f"{min(common)[:200]!r}: a class is in one split only; rename or remove one of the two"
            )


def _require_apart(classes: dict[str, set[str]], where: str) -> None:
    """Refuse names on two sides that differ in capitals or in spaces alone: they are of one class."""
    sides: dict[str, tuple[str, str]] = {}
    for split, names in classes.items():
        for name in sorted(names):
            other, known = sides.setdefault(" ".join(name.casefold().split()), (split, name))
            if other != split:
                twins = f"{known[:200]!r} in {other} and {name[:200]!r} in {split}"
                raise DataError(
                    f"{where} has {twins}: a class is in one split only; rename or remove one of the two"
                )


def _plain(name: str) -> str:
    """A name without what only decorates it: meta-train, Train_Set."""
    letters = "".join(c for c in name.lower() if c.isalnum()).removeprefix("meta")
    for ending in ("set", "classes", "images", "data"):
        letters = letters.removesuffix(ending)
    return letters
