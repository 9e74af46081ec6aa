"""Tasks by the name of their data: what the command line calls."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fphi.errors import DataError
from fphi.tasks.affine import Reduction
from fphi.tasks.distribution import TaskDistribution
from fphi.tasks.episodes import EpisodeShape, Order
from fphi.tasks.folder import has_split_folders, load_folder
from fphi.tasks.from_protocol import few_shot_tasks
from fphi.tasks.hershey import SIZE as HERSHEY_SIZE
from fphi.tasks.hershey import load_hershey
from fphi.tasks.omniglot import ORIGINAL_SIDE, find_omniglot, load_omniglot, omniglot_folder
from fphi.tasks.pool import ClassPool
from fphi.tasks.protocols import PROTOCOLS, TrainingChanges, protocol_named
from fphi.tasks.sine import SineTasks

__all__ = ["NAMED", "DataRow", "default_protocol", "describe", "load_pool", "load_tasks"]

_OMNIGLOT_PROTOCOLS = tuple(name for name in PROTOCOLS if name not in ("fraction", "folders", "alphabet"))


NAMED = ("omniglot", "hershey", "sine")
"""The data sets that go by a name; every other is the path of a folder or zip."""


def load_tasks(
    name: str,
    *,
    data_root: Path | str | None = None,
    protocol: str | None = None,
    ways: int = 5,
    shots: int = 1,
    queries: int | None = None,
    seed: int = 0,
    split_seed: int = 0,
    train_shape: EpisodeShape | None = None,
    train_order: Order = "classes",
    train_on_validation: bool = False,
    image_size: int = 28,
    mode: Literal["grey", "rgb"] = "grey",
    splits: Sequence[str] | None = None,
    image_reduction: Reduction = "nearest",
    changes: TrainingChanges | None = None,
) -> TaskDistribution:
    """Return the tasks of a data set.

    Args:
        name: "omniglot", "hershey" (needs no download), "sine", or the path of a folder or zip of images.
        data_root: where data sets are; see ``load_omniglot``.
        protocol: how classes are divided and tasks are made; by default P-MAML for Omniglot, "alphabet"
            for Hershey, "folders" or "fraction" for a path.
        ways, shots, queries, train_shape, train_order, train_on_validation, splits, changes: see
            ``few_shot_tasks``; waves know shots and queries alone.
        seed: of the tasks.
        split_seed: of the division into splits.
        image_size: pixels of a side; for a path any, for Omniglot up to 105, for Hershey 28.
        image_reduction: how Omniglot's drawings become as small; see ``FewShotTasks``.
        mode: channels, for a path.

    Raises:
        DataError: if the data are missing, damaged or too small, or the protocol does not fit.

    >>> load_tasks("sine", shots=5).task("train", 0).support.x.shape
    torch.Size([5, 1])
    """
    if name != "omniglot" and image_reduction == "area":
        raise DataError(f"image reduction {image_reduction!r} is for omniglot alone: leave it out")
    if name == "sine":
        return _sine(shots, queries, seed, protocol)
    pool = load_pool(name, data_root, image_size, mode)
    rule = (changes or TrainingChanges()).applied_to(protocol_named(protocol or default_protocol(name, pool)))
    if name == "omniglot" and (rule.train_distortion != "none" or image_reduction == "area"):
        # What is distorted or averaged is the drawing, and not what is left of it in a small image.
        pool = load_omniglot(data_root, ORIGINAL_SIDE)
    return few_shot_tasks(
        pool,
        rule,
        ways,
        shots,
        seed,
        train_shape,
        queries,
        split_seed,
        train_order,
        train_on_validation,
        splits,
        image_size if pool.images.shape[-1] > image_size else None,
        image_reduction,
    )


def load_pool(
    name: str,
    data_root: Path | str | None = None,
    image_size: int = 28,
    mode: Literal["grey", "rgb"] = "grey",
) -> ClassPool:
    """Return all classes of an image data set, undivided."""
    if name == "omniglot":
        return load_omniglot(data_root, image_size)
    if name == "hershey":
        if image_size != HERSHEY_SIZE:
            raise DataError(
                f"image size {image_size}: the embedded characters have {HERSHEY_SIZE}; leave it out"
            )
        return load_hershey()
    if not Path(name).exists():
        raise DataError(f"data {name!r} are neither omniglot, hershey, sine nor an existing folder or zip")
    return load_folder(name, image_size, mode)


def default_protocol(name: str, pool: ClassPool) -> str:
    """Return the protocol that is meant where none is named."""
    known = {"omniglot": "P-MAML", "hershey": "alphabet"}
    return known.get(name, "folders" if has_split_folders(pool) else "fraction")


def _sine(shots: int, queries: int | None, seed: int, protocol: str | None) -> SineTasks:
    if protocol is not None:
        raise DataError(f"sine waves have no protocol, but {protocol!r} was asked for; leave it out")
    return SineTasks(shots, queries, seed)


@dataclass(frozen=True)
class DataRow:
    """One line about a data set: what it is, where it was found, what is in it, whether that is right.

    Attributes:
        item: the data set, or one of its protocols.
        where: the path, or what makes it, or where it has to be put.
        classes, images: how many; 0 where they could not be read.
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
    if name == "sine":
        note = "y = a sin(x - b), a in 0.1..5, b in 0..pi, x in -5..5"
        return [DataRow("sine", "computed", note=note)]
    where = _where(name, data_root)
    if not where:
        place = f"put images_background.zip and images_evaluation.zip into {omniglot_folder(data_root)}"
        return [DataRow(name, place, ok=False, note="not found; it is downloaded when it is first used")]
    try:
        pool = load_pool(name, data_root)
    except DataError as error:
        return [DataRow(name, where, ok=False, note=str(error))]
    whole = DataRow(name, where, len(pool), pool.counts["images"], note=_checked(name, pool))
    protocols = _OMNIGLOT_PROTOCOLS if name == "omniglot" else (default_protocol(name, pool),)
    return [whole, *(_protocol_row(pool, protocol) for protocol in protocols)]


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
    return checks.get(name, lambda: f"{each} images per class, all decode")()


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
