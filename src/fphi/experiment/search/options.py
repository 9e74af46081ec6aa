"""The options of a search besides those of its method and its space: data, training, budget, executor."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from fphi.errors import FphiError
from fphi.experiment.parser import at_least
from fphi.experiment.plugins import is_in_file, load_network
from fphi.learnable.architecture import SPACES
from fphi.learnable.augmentation import AUGMENTATION_SPACES
from fphi.learnable.space import Space
from fphi.networks.supervised import network_for
from fphi.ranges import count, number, require_ranges
from fphi.tasks.supervised import Supervised, load_supervised

__all__ = [
    "BudgetOptions",
    "ControlOptions",
    "DataOptions",
    "LastTrainingsOptions",
    "MetaOptions",
    "NetworkOptions",
    "RetrainOptions",
    "TableOptions",
    "get_space",
    "spaces",
]


@dataclass(frozen=True)
class TableOptions:
    """A tabular benchmark in place of training.

    Args:
        table: file of a tabular benchmark; without it candidates are trained.
        dataset: the table's data set: cifar10, cifar100 or imagenet16-120.
    """

    table: str | None = None
    dataset: str = "cifar10"


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

    evaluations: int | None = count(None)
    seconds: float | None = number(None, 0, 1e9, open=True)
    seed: int = number(0, 0, 2**63 - 1)

    def __post_init__(self) -> None:
        """Refuse two budgets, and empty ones."""
        require_ranges(type(self), vars(self))
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
    """The data of one large task.

    Args:
        data: digits (comes with scikit-learn), mnist, cifar10, or the path of a folder or zip of images
            with one folder per class.
        data_root: folder that data sets are looked for in; the environment variable FPHI_DATA if not given.
        image_size: pixels of a side, for a path.
        mode: channels, for a path.
        train_examples: examples to train on; all that validation leaves if not given.
        validation_examples: examples that nothing is trained on and by which choices are made, taken out of
            the training set; a fifth of it if neither this nor the former is given.
        test_examples: examples that networks are tested on in the end; all if not given.
    """

    data: str = "digits"
    data_root: str | None = None
    image_size: int = count(28, 1024)
    mode: Literal["grey", "rgb"] = "grey"
    train_examples: int | None = count(None, 1_000_000_000)
    validation_examples: int | None = count(None, 1_000_000_000)
    test_examples: int | None = count(None, 1_000_000_000)

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
            mode=self.mode,
        )


@dataclass(frozen=True)
class NetworkOptions:
    """Which network is trained.

    Args:
        network: auto (mlp for small images, else resnet8), mlp, lenet, resnet8, resnet14, resnet20, resnet32,
            or FILE.py:NAME.
    """

    network: str = "auto"

    def build(self, data: Supervised, seed: int) -> nn.Module:
        """A new one, its weights a function of the seed.

        Raises:
            FphiError: there is none of that name, or it does not take these examples.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if is_in_file(self.network):
                return load_network(self.network)(data.input_shape, data.classes, None)
            return network_for(self.network, data.input_shape, data.classes)

    def require_fitting(self, data: Supervised) -> None:
        """Raise an `FphiError` unless it takes the examples, has an answer per class, and can learn."""
        module = self.build(data, 0).eval()
        try:
            with torch.no_grad():
                answers = module(data.train.x[:2])
            shape = list(answers.shape)
        except Exception as error:  # of somebody's own network, whatever it is
            raise FphiError(
                f"--network {self.network} fails on examples of shape {list(data.input_shape)} "
                f"({type(error).__name__}: {' '.join(str(error).split())[:200]}); mend it, or choose another"
            ) from error
        if shape != [2, data.classes]:
            raise FphiError(
                f"--network {self.network} answers 2 examples with {shape}; {data.name} needs "
                f"{[2, data.classes]}"
            )
        if not any(p.requires_grad for p in module.parameters()):
            raise FphiError(f"--network {self.network} has no parameters to train; choose another")


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

    retrain_epochs: int = count(10, 100_000)

    def __post_init__(self) -> None:
        """Refuse a last training that trains nothing."""
        require_ranges(type(self), vars(self))
        at_least(1, retrain_epochs=self.retrain_epochs)


@dataclass(frozen=True)
class LastTrainingsOptions(RetrainOptions):
    """How what a search for augmentation finds is compared in the end with what nobody has to search for.

    Args:
        retrain_epochs: of each last training, from new weights.
        retrain_seeds: last trainings by each way of augmenting; the same first weights for all.
        trivial_scale: of TrivialAugment's magnitudes.
    """

    retrain_seeds: int = count(3, 1000)
    trivial_scale: Literal["wide", "autoaugment"] = "wide"


@dataclass(frozen=True)
class MetaOptions:
    """How the networks of few-shot candidates are meta-trained and judged, and what is found in the end.

    Args:
        steps: meta-steps of a candidate's training.
        retrain_steps: meta-steps of the last training of the best architecture, and of Conv4, from new
            weights.
        meta_batch: tasks of a meta-step.
        validation_tasks: tasks that a candidate's error is taken on, the first ones of their split.
        test_tasks: tasks that retrained networks are tested on in the end, the first ones of their split.
        limit_seconds: a candidate whose training takes longer fails; no limit if not given.
        threads: threads of torch for a network's training.
    """

    steps: int = count(40)
    retrain_steps: int = count(200)
    meta_batch: int = count(4, 100_000)
    validation_tasks: int = count(100)
    test_tasks: int = count(400, least=2)
    limit_seconds: float | None = number(None, 0, 1e9, open=True)
    threads: int = count(1, 1024)

    def __post_init__(self) -> None:
        """Refuse trainings and tests of nothing; an interval takes two tasks."""
        require_ranges(type(self), vars(self))
        at_least(1, steps=self.steps, retrain_steps=self.retrain_steps, meta_batch=self.meta_batch)
        at_least(1, validation_tasks=self.validation_tasks, threads=self.threads)
        at_least(2, test_tasks=self.test_tasks)
        if self.limit_seconds is not None and not self.limit_seconds > 0:
            raise FphiError(f"--limit-seconds is {self.limit_seconds:g}; it must be above 0")


def spaces() -> dict[str, type[Space]]:
    """All spaces by name: of architectures, and of augmentation."""
    return {**SPACES, **AUGMENTATION_SPACES}


def get_space(name: str) -> type[Space]:
    """The space's dataclass; an unknown name is answered with the known ones."""
    known = spaces()
    if name not in known:
        raise FphiError(f"unknown space {name!r}: choose one of {', '.join(known)}")
    return known[name]
