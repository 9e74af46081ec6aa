"""The options of a search: the space with its own, the method with its own, data, training and budget."""

import re
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, get_type_hints

from fphi.cli.options import at_least
from fphi.errors import FphiError
from fphi.learnable.architecture import SPACES, SearchSpace
from fphi.run.child_training import ChildTraining
from fphi.run.executors import Executor, ExecutorKind, make_executor
from fphi.tasks.supervised import SUPERVISED, Supervised, load_supervised

__all__ = [
    "BudgetOptions",
    "ChildOptions",
    "ControlOptions",
    "DataOptions",
    "ExecutorOptions",
    "RetrainOptions",
    "TableOptions",
    "child_training",
    "get_space",
]


@dataclass(frozen=True)
class TableOptions:
    """A tabular benchmark in place of training.

    Args:
        table: file of a tabular benchmark; without it candidates are trained.
        dataset: the table's data set: cifar10, cifar100 or imagenet16-120.
        seeds: searches, with seeds from --seed on; a table only.
    """

    table: str | None = None
    dataset: str = "cifar10"
    seeds: int = 1


@dataclass(frozen=True)
class BudgetOptions:
    """When the search ends.

    Args:
        evaluations: architectures evaluated; where they are trained and neither this nor --seconds is
            given, as many as take a minute or two on the digits. To a search in a supernet it is random
            search's budget; its own is its epochs.
        seconds: that evaluations may cost together, simulated ones with a table.
        seed: of everything random.
    """

    evaluations: int | None = None
    seconds: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse two budgets, and empty ones."""
        if self.evaluations is not None and self.seconds is not None:
            raise FphiError(
                f"--evaluations {self.evaluations} and --seconds {self.seconds:g}: give one of them"
            )
        at_least(1, evaluations=self.evaluations)
        if not 0 <= self.seed < 2**63:
            raise FphiError(f"--seed is {self.seed}; it must be from 0, and fit into 63 bits")
        if self.seconds is not None and not self.seconds > 0:
            raise FphiError(f"--seconds is {self.seconds:g}; it must be above 0")


@dataclass(frozen=True)
class DataOptions:
    """What candidates are trained on and judged by.

    Args:
        data: digits (comes with scikit-learn), mnist, cifar10, or the path of a folder or zip of images
            with one folder per class.
        data_root: folder that data sets are looked for in; the environment variable FPHI_DATA if not given.
        image_size: pixels of a side, for a path.
        image_mode: channels, for a path.
        train_examples: examples to train on; all that validation leaves if not given.
        validation_examples: examples that candidates are judged by, taken out of the training set; a fifth
            of it if neither this nor the former is given.
        test_examples: examples that retrained networks are tested on in the end; all if not given.
    """

    data: str = "digits"
    data_root: str | None = None
    image_size: int = 28
    image_mode: Literal["grey", "rgb"] = "grey"
    train_examples: int | None = None
    validation_examples: int | None = None
    test_examples: int | None = None

    def located(self) -> Self:
        """With the path of a folder or zip in full, so that it is found from any folder."""
        known = self.data in SUPERVISED or not Path(self.data).exists()
        return self if known else replace(self, data=str(Path(self.data).absolute()))

    def load(self, seed: int) -> Supervised:
        """The data; which examples are drawn is a function of the seed."""
        at_least(1, image_size=self.image_size)
        return load_supervised(
            self.data,
            self.data_root,
            train=self.train_examples,
            validation=self.validation_examples,
            test=self.test_examples,
            seed=seed,
            image_size=self.image_size,
            mode=self.image_mode,
        )


@dataclass(frozen=True)
class ExecutorOptions:
    """Where candidates are evaluated.

    Args:
        executor: in-process (one after another, and with one seed the same search every time), processes
            on this machine, or ray: a Ray cluster, with the extra fphi[ray].
        workers: candidates at a time, for the latter two; 2 if not given.
        ray_address: of a running Ray cluster; one is started on this machine if not given.
    """

    executor: ExecutorKind = "in-process"
    workers: int | None = None
    ray_address: str | None = None

    def make(self) -> Executor:
        """The executor; to be closed."""
        at_least(1, workers=self.workers)
        usual = 1 if self.executor == "in-process" else 2
        return make_executor(self.executor, self.workers or usual, self.ray_address)


@dataclass(frozen=True)
class ControlOptions:
    """What the result is compared with.

    Args:
        control: whether random search is given the same budget, and its best retrained in the same way.
    """

    control: bool = True


@dataclass(frozen=True)
class RetrainOptions:
    """How what is found is trained in the end.

    Args:
        retrain_epochs: of the last training of the best architecture, from new weights.
    """

    retrain_epochs: int = 10

    def __post_init__(self) -> None:
        """Refuse a last training that trains nothing."""
        at_least(1, retrain_epochs=self.retrain_epochs)


def get_space(name: str) -> type[SearchSpace]:
    """The space's dataclass; an unknown name is answered with the known ones."""
    if name not in SPACES:
        raise FphiError(f"unknown space {name!r}: choose one of {', '.join(SPACES)}")
    return SPACES[name]


def _prefixed(cls: type, prefix: str, **defaults: object) -> type:
    """A dataclass whose options are those of ``cls`` with a prefix, and its help.

    Args:
        cls: a dataclass.
        prefix: set before each name, with an underscore.
        defaults: in place of its own, by the names without prefix.
    """
    hints = get_type_hints(cls)
    made: Sequence[Any] = [
        (f"{prefix}_{f.name}", hints[f.name], field(default=defaults.get(f.name, f.default)))
        for f in fields(cls)
    ]
    assert all(f.default is not MISSING for f in fields(cls))
    names = "|".join(f.name for f in fields(cls))
    text = re.sub(
        rf"^( +)((?:(?:{names})(?:, )?)+):",
        lambda match: match[1] + re.sub(r"\w+", rf"{prefix}_\g<0>", match[2]) + ":",
        cls.__doc__ or "",
        flags=re.MULTILINE,
    )
    return make_dataclass(f"Prefixed{cls.__name__}", made, frozen=True, namespace={"__doc__": text})


ChildOptions = _prefixed(ChildTraining, "child", epochs=2, batch_size=64)
"""How candidates are trained: the options of `ChildTraining`, which methods have names of their own for."""


def child_training(values: dict[str, Any]) -> ChildTraining:
    """From values by the names of `ChildOptions`."""
    return ChildTraining(**{f.name: values[f"child_{f.name}"] for f in fields(ChildTraining)})
