"""What a data set holds, and whether it is whole: the lines of ``fphi data``."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fphi.errors import DataError
from fphi.tasks.omniglot import find_omniglot, omniglot_folder
from fphi.tasks.options import few_shot_tasks
from fphi.tasks.pool import ClassPool
from fphi.tasks.protocols import PROTOCOLS
from fphi.tasks.sources import default_protocol, load_pool
from fphi.tasks.supervised import load_supervised, mnist_folder

__all__ = ["DataRow", "describe"]

_OMNIGLOT_PROTOCOLS = tuple(name for name in PROTOCOLS if name not in ("fraction", "folders", "alphabet"))

_MISSING = (
    "not found; it is downloaded when it is first used. --data-root or FPHI_DATA name the folder of your data"
)


_SHARED = "splits share classes, no example"

# What is no pool of classes: where it is from, and what it is.
_COMPUTED: dict[str, tuple[str, int, int, dict[str, int], bool, str]] = {
    "sine": ("computed", 0, 0, {}, True, "y = a sin(x - b), a in 0.1..5, b in 0..pi, x in -5..5"),
    "quadratics": ("computed", 0, 0, {}, True, "|Wx - y|², W of 10x10 and y of 10 normal numbers"),
    "fonts": ("package Hershey-Fonts", 26, 9360, {}, True, "capital letters; a task is one of 18 fonts"),
    "tables": ("computed", 0, 0, {}, True, "rows of random tables; docs/tables.md has the prior"),
    "digits": ("package scikit-learn", 10, 1797, {}, True, f"8x8 pixels; {_SHARED}"),
}


@dataclass(frozen=True)
class DataRow:
    """One line about a data set: what it is, where it was found, what is in it, whether that is right.

    Attributes:
        item: the data set, or one of its protocols.
        where: the path, or what makes it, or where it has to be put.
        classes: how many; 0 where they could not be read.
        images: how many, alike.
        splits: classes per split.
        ok: whether every check passed.
        note: the checks that passed, or the error.
    """

    item: str
    where: str = ""
    classes: int = 0
    images: int = 0
    splits: dict[str, int] = field(default_factory=dict)
    ok: bool = True
    note: str = ""


def describe(name: str, data_root: Path | str | None = None) -> list[DataRow]:
    """Return what a data set holds and whether it is whole, one row for it and one per protocol.

    Nothing is downloaded: Omniglot that is not there is a row that says so.
    """
    if name in _COMPUTED:
        return [DataRow(name, *_COMPUTED[name])]
    if name == "mnist":
        return [_mnist_row(data_root)]
    where = _where(name, data_root)
    if not where:
        place = f"put images_background.zip and images_evaluation.zip into {omniglot_folder(data_root)}"
        return [DataRow(name, place, ok=False, note=_MISSING)]
    try:
        pool = load_pool(name, data_root)
    except DataError as error:
        return [DataRow(name, where, ok=False, note=str(error))]
    whole = DataRow(name, where, len(pool), pool.counts["images"], note=_checked(name, pool))
    protocols = _OMNIGLOT_PROTOCOLS if name == "omniglot" else (default_protocol(name, pool),)
    return [whole, *(_protocol_row(pool, protocol) for protocol in protocols)]


def _mnist_row(data_root: Path | str | None) -> DataRow:
    where = str(mnist_folder(data_root))
    try:
        digits = load_supervised("mnist", data_root)
    except DataError as error:
        return DataRow("mnist", where, ok=False, note=str(error))
    images = sum(len(part.y) for part in (digits.train, digits.validation, digits.test))
    return DataRow("mnist", where, digits.classes, images, note=f"28x28 pixels; {_SHARED}")


def _where(name: str, data_root: Path | str | None) -> str:
    if name == "omniglot":
        found = [find_omniglot(part, data_root) for part in ("images_background", "images_evaluation")]
        return ", ".join(str(path) for path in found) if all(found) else ""
    return "package Hershey-Fonts" if name == "hershey" else name


def _checked(name: str, pool: ClassPool) -> str:
    smallest, largest = int(pool.sizes.min()), int(pool.sizes.max())
    each = f"{smallest}" if smallest == largest else f"{smallest} to {largest}"
    checks: dict[str, Callable[[], str]] = {
        "omniglot": lambda: f"964 + 659 characters, {each} drawings each, all decode",
        "hershey": lambda: f"{len(set(pool.groups))} groups, {each} simulated drawings each",
    }
    return "; ".join([checks.get(name, lambda: f"{each} images per class, all decode")(), *pool.notes])


def _protocol_row(pool: ClassPool, protocol: str) -> DataRow:
    rule = PROTOCOLS[protocol]
    try:
        tasks = few_shot_tasks(pool, rule, ways=2, shots=1, queries=1)
    except DataError as error:
        return DataRow(protocol, ok=False, note=str(error))
    pools = {split: tasks.pool(split) for split in tasks.splits}
    return DataRow(
        protocol,
        classes=sum(len(part) for part in pools.values()),
        images=sum(part.counts["images"] for part in pools.values()),
        splits={split: len(part) for split, part in pools.items()},
        note=rule.description,
    )
