"""Which tasks: all options of few-shot tasks, each declared once, and the tasks that they make."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from fphi.errors import DataError, FphiError
from fphi.ranges import SEED, checked, count, require_ranges
from fphi.tasks.affine import Reduction
from fphi.tasks.digits import Digits, DigitTasks
from fphi.tasks.distribution import TaskDistribution
from fphi.tasks.division import Division
from fphi.tasks.episodes import Distortion, Rotation, TrainingTasks
from fphi.tasks.few_shot import FewShotTasks
from fphi.tasks.folder import ImageMode
from fphi.tasks.fonts import FontTasks
from fphi.tasks.from_protocol import split_rules, trial_rule
from fphi.tasks.minibatches import pooled
from fphi.tasks.omniglot import ORIGINAL_SIDE, load_omniglot
from fphi.tasks.pool import ClassPool
from fphi.tasks.protocols import Protocol, protocol_named
from fphi.tasks.quadratics import QuadraticTasks
from fphi.tasks.shuffled import shuffled
from fphi.tasks.sine import SineTasks
from fphi.tasks.sources import GIVEN, NAMED, WITHOUT_PROTOCOL, default_protocol, load_pool
from fphi.tasks.splits import chosen, some_of
from fphi.tasks.tables import TableTasks

__all__ = ["SIZES", "TaskOptions", "few_shot_tasks", "load_tasks"]

SIZES = ("ways", "shots", "queries")
"""The options that say how large a task is."""
_OWN = {"sine": ("ways",), "quadratics": SIZES, "tables": ("shots",)}


@dataclass(frozen=True)
class TaskOptions:
    """Which tasks to learn from and to be tested on.

    Args:
        tasks: omniglot, hershey (embedded, needs no download), sine, the path of a folder or zip of images
            with one folder per class, or FILE.py:NAME, a TaskDistribution of your own. Problems to learn
            optimizers on: quadratics, digits (embedded) or mnist, which say themselves what is in a task.
            fonts (embedded): the same letters in every task, in another font. tables: rows of random tables,
            of up to so many classes as there are ways.
        data_root: folder that data sets are looked for in; the environment variable FPHI_DATA if not given.
        protocol: how classes are split and tasks are made; the data's usual one if not given (omniglot:
            P-MAML, hershey: alphabet, images: fraction).
        ways: classes of a task.
        shots: support examples of each class.
        queries: query examples of each class; if not given the protocol's number, or fewer where a class
            has fewer images.
        image_size: pixels of a side of the images; omniglot has up to 105, hershey 28.
        image_reduction: how omniglot's drawings become images of that size. nearest: a pixel is the nearest
            of the drawing (two values, as in the literature). area: the mean over its area (grey levels).
        mode: channels of the images of a folder or zip, "grey" (one) or "rgb" (three).
        train_on_validation: whether validation classes join the training classes, for a last training when
            all options are chosen; the test tasks stay the same.
        train_classes: how many of the training classes are learned from, drawn by lot; all if not given.
        train_rotation: quarter turns in training tasks; the protocol's if not given. "class" turns each class
            by its own angle, "episode" the whole task by one, "classes" makes the four rotations classes of
            their own, "mirrored" those of the mirror image too.
        train_distortion: how each image of a training task is distorted; the protocol's if not given.
            "affine": by a random affine map, "affine-twice": by two, "affine-class": by one of its class and
            one of its own, "elastic": as "affine-class", and bent smoothly.
        train_within_group: whether the classes of a training task are of one group (alphabet); as the
            protocol has it if not given.
    """

    tasks: str = "hershey"
    data_root: str | None = None
    protocol: str | None = None
    ways: int = count(5, 10_000, least=2)
    shots: int = count(1, 10_000)
    queries: int | None = count(None, 10_000)
    image_size: int = count(28, 1024)
    image_reduction: Reduction = "nearest"
    mode: ImageMode = "grey"
    train_on_validation: bool = False
    train_classes: int | None = count(None, least=2)
    train_rotation: Rotation | None = None
    train_distortion: Distortion | None = None
    train_within_group: bool | None = None

    @property
    def file_and_name(self) -> tuple[str, str] | None:
        """The two parts of FILE.py:NAME, where ``tasks`` is that."""
        file, colon, name = self.tasks.rpartition(":")
        return (file, name) if colon and file.endswith(".py") else None

    @property
    def own_sizes(self) -> tuple[str, ...]:
        """Those of `SIZES` that these tasks say themselves: an option does not change them."""
        if self.tasks == GIVEN or self.file_and_name is not None:
            return SIZES
        return _OWN.get(self.tasks, ())

    def located(self, root: Path | None = None) -> Self:
        """With all paths in full, so that they are found from any folder.

        Args:
            root: where relative paths begin; None: the working directory.
        """
        begin = Path.cwd() if root is None else root.absolute()
        data_root = None if self.data_root is None else str(begin / self.data_root)
        tasks = self.tasks
        if self.file_and_name is not None:
            tasks = f"{begin / self.file_and_name[0]}:{self.file_and_name[1]}"
        elif tasks not in NAMED and (begin / tasks).exists():
            tasks = str(begin / tasks)
        return replace(self, tasks=tasks, data_root=data_root)

    def load(
        self,
        seed: int = 0,
        train: TrainingTasks | None = None,
        splits: Sequence[str] | None = None,
        split_seed: int = 0,
        division: Division | None = None,
    ) -> TaskDistribution:
        """Return the tasks; task i of a split is a function of (seed, split, i).

        Args:
            seed: of the tasks.
            train: what the method asks of its training tasks; None: they are the protocol's.
            splits: those that tasks are wanted of, and must be large enough for them; None: all but
                "trials", the published test tasks of protocols that have them.
            split_seed: of a random division into splits; kept apart from ``seed``.
            division: of the run that they are for, where it was trained on a folder; None: the protocol's.

        Raises:
            FphiError: a number is too small.
            DataError: the data are missing, damaged or too small, or the protocol does not fit.
        """
        self._check()
        if self.tasks in WITHOUT_PROTOCOL:
            return shuffled(self._without_protocol(seed), "classes" if train is None else train.order, seed)
        pool = load_pool(self.tasks, self.data_root, self.image_size, self.mode)
        protocol = self._changed(protocol_named(self.protocol or default_protocol(self.tasks, pool)))
        if self.tasks == "omniglot" and (
            protocol.train_distortion != "none" or self.image_reduction == "area"
        ):
            # What is distorted or averaged is the drawing, and not what is left of it in a small image.
            pool = load_omniglot(self.data_root, ORIGINAL_SIDE)
        kept = None if self.tasks in NAMED else division
        return self.over(pool, protocol, seed, train, splits, split_seed, kept)

    def over(
        self,
        pool: ClassPool,
        protocol: Protocol,
        seed: int = 0,
        train: TrainingTasks | None = None,
        splits: Sequence[str] | None = None,
        split_seed: int = 0,
        division: Division | None = None,
    ) -> FewShotTasks:
        """Return the tasks of a protocol over these classes.

        Args:
            pool: all classes, undivided.
            protocol: how they are divided and tasks are made, where the options do not say otherwise.
            seed: of the tasks, see `load`.
            train: what the method asks of its training tasks, see `load`.
            splits: those that tasks are wanted of, see `load`.
            split_seed: of a random division into splits.
            division: in place of the protocol's, see `load`.

        Raises:
            DataError: a split does not exist, or the protocol does not fit the data.
        """
        if splits is not None and not _are_names(splits):
            raise DataError(f"splits is {splits!r:.60}; it must be a list of names, such as ['test']")
        protocol, train = self._changed(protocol), train or TrainingTasks()
        divide = partial(protocol.pools, pool, split_seed, self.train_on_validation)
        pools, changes = (divide(), []) if division is None else division.pools(pool, divide)
        size = self.ways, self.shots, self.queries
        trials = {}
        if splits is not None and "trials" in splits:
            pools["trials"], trials["trials"] = trial_rule(protocol, pool, *size, train.order)
        pools = pools if splits is None else chosen(pools, splits)
        if self.train_classes is not None and "train" in pools:
            pools["train"] = some_of(pools["train"], self.train_classes, split_seed)
        drawn = {split: part for split, part in pools.items() if split != "trials"}
        rules, notes = split_rules(protocol, drawn, *size, train)
        tasks = FewShotTasks(
            pools,
            {**rules, **trials},
            seed=seed,
            image_size=self.image_size if pool.images.shape[-1] > self.image_size else None,
            image_reduction=self.image_reduction,
            invert=protocol.invert,
            protocol=protocol.name,
            notes=notes,
            changes=changes,
        )
        return pooled(tasks, train)

    def _check(self) -> None:
        require_ranges(type(self), vars(self), lambda name: f"--{name.replace('_', '-')}")
        if self.file_and_name is not None:
            raise DataError(
                f"{self.tasks} is a file of Python, which runs only where the command line names it"
            )
        if self.tasks in NAMED and self.mode == "rgb":
            raise DataError("mode 'rgb' is for a folder or zip of images alone: leave it out")
        if self.tasks != "omniglot" and self.image_reduction == "area":
            raise DataError("image reduction 'area' is for omniglot alone: leave it out")

    def _changed(self, protocol: Protocol) -> Protocol:
        """The protocol, but for what the options say of its training tasks."""
        names = ("train_rotation", "train_distortion", "train_within_group")
        said = {name: getattr(self, name) for name in names}
        return replace(protocol, **{name: value for name, value in said.items() if value is not None})

    def _without_protocol(self, seed: int) -> TaskDistribution:
        what = {"sine": "sine waves"}.get(self.tasks, self.tasks)
        if self.protocol is not None:
            raise DataError(f"{what} have no protocol, but {self.protocol!r} was asked for; leave it out")
        if self.tasks == "quadratics":
            return QuadraticTasks(seed=seed)
        if self.tasks == "tables":
            return TableTasks(self.ways, self.queries, seed=seed)
        if self.tasks == "fonts":
            return FontTasks(self.ways, self.shots, self.queries, seed)
        if self.tasks == "sine":
            return SineTasks(self.shots, self.queries, seed)
        data: Digits = "mnist" if self.tasks == "mnist" else "digits"
        return DigitTasks(self.ways, self.shots, self.queries, seed, data, self.data_root)


def _are_names(values: object) -> bool:
    return isinstance(values, tuple | list) and len(values) > 0 and all(isinstance(v, str) for v in values)


@checked(seed=SEED, split_seed=SEED)
def load_tasks(
    name: str | Path,
    *,
    seed: int = 0,
    splits: Sequence[str] | None = None,
    train: TrainingTasks | None = None,
    split_seed: int = 0,
    **options: Any,
) -> TaskDistribution:
    """Return the tasks of a data set.

    Args:
        name: "omniglot", "hershey" (needs no download), "fonts", "sine", "quadratics", "digits", "mnist",
            "tables", or the path of a folder or zip of images.
        seed: of the tasks.
        splits: those that tasks are wanted of; None: all but "trials".
        train: what the method asks of its training tasks; None: they are the protocol's.
        split_seed: of a random division into splits.
        options: ``ways``, ``shots`` and the other fields of `TaskOptions`.

    Raises:
        DataError: the data are missing, damaged or too small, or the protocol does not fit.

    >>> load_tasks("sine", shots=5).task("train", 0).support.x.shape
    torch.Size([5, 1])
    """
    unknown = sorted(options.keys() - {field.name for field in fields(TaskOptions)})
    if unknown:
        raise FphiError(f"{unknown[0]!r} is no option of tasks; see fphi.tasks.TaskOptions")
    return TaskOptions(tasks=str(name), **options).load(seed, train, splits, split_seed)


def few_shot_tasks(
    pool: ClassPool,
    protocol: str | Protocol,
    *,
    seed: int = 0,
    splits: Sequence[str] | None = None,
    train: TrainingTasks | None = None,
    split_seed: int = 0,
    **options: Any,
) -> FewShotTasks:
    """Return the tasks of a protocol over a pool of classes.

    Args:
        pool: all classes, undivided.
        protocol: a name in ``PROTOCOLS``, or a protocol of your own.
        seed: of the tasks.
        splits: those that tasks are wanted of; None: all but "trials".
        train: what the method asks of its training tasks; None: they are the protocol's.
        split_seed: of a random division into splits.
        options: ``ways``, ``shots`` and the other fields of `TaskOptions`; images keep the size that they
            have in the pool unless ``image_size`` says otherwise.

    Raises:
        DataError: the protocol or a split does not exist, or does not fit the data.
    """
    rule = protocol_named(protocol) if isinstance(protocol, str) else protocol
    own = TaskOptions(**{"image_size": pool.images.shape[-1], **options})
    return own.over(pool, rule, seed, train, splits, split_seed)
