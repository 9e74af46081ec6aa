"""Files of the same content: an example counts once in its class, however often it is there."""

from fphi.tasks.archive import Archive
from fphi.tasks.split_folders import Files

__all__ = ["without_copies"]

_Pairs = list[tuple[str, str]]


def without_copies(archive: Archive, files: Files) -> tuple[Files, list[str]]:
    """Return the files, of equal ones in a class the first alone, and lines on what is the same.

    A copy that is held out would be answered by the one that is learned from. Equal files of two classes or
    of two splits are kept, and told.
    """
    keys = {name: key for key in sorted(files) for name in files[key]}
    copies: _Pairs = []
    in_classes: _Pairs = []
    in_splits: _Pairs = []
    for lot in archive.equal(keys):
        firsts: dict[tuple[str, str], str] = {}
        for name in lot:
            first = firsts.setdefault(keys[name], name)
            if first != name:
                copies.append((name, first))
        one, *others = firsts.values()
        strange = [name for name in others if keys[name][1] != keys[one][1]]
        if others:
            (in_classes if strange else in_splits).append(((strange or others)[0], one))
    left_out = {name for name, _ in copies}
    kept = {key: [name for name in names if name not in left_out] for key, names in files.items()}
    return kept, [
        *_told(copies, "left out, since another of the class is the same"),
        *_told(in_classes, "the same as one of another class", "; only one can be right"),
        *_told(in_splits, "the same as one of another split", "; what was learned is no test"),
    ]


def _told(pairs: _Pairs, what: str, why: str = "") -> list[str]:
    if not pairs:
        return []
    name, same = (short[:100] for short in pairs[0])
    count = "1 file is" if len(pairs) == 1 else f"{len(pairs)} files are"
    return [f"{count} {what}, such as {name!r} and {same!r}{why}"]
