"""What candidates are trained for: its options, and what becomes of them with the data."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from fphi.cli.options import fields_of
from fphi.cli.search_options import ChildOptions, DataOptions, RetrainOptions, child_training
from fphi.learnable.architecture import SearchSpace, Tokens
from fphi.run.built import Architecture
from fphi.run.child import TrainAndTest
from fphi.run.child_training import ChildTraining
from fphi.run.outcome import Evaluate
from fphi.run.retrain import Retrained, retrain
from fphi.tasks.supervised import Supervised

__all__ = ["Problem", "ProblemOptions", "SupervisedOptions", "SupervisedProblem"]


class Problem(ABC):
    """What candidates are trained for and judged by, with its data."""

    rate: ClassVar[str]
    """The option that has the learning rate of candidates."""

    @property
    @abstractmethod
    def lasting(self) -> tuple[int, str]:
        """How long the last training is: a number, and of what."""

    @abstractmethod
    def architecture(self, tokens: Tokens) -> Architecture:
        """Tokens with all that it takes to build the network."""

    @abstractmethod
    def evaluate(self, weights: Path | None = None) -> Evaluate:
        """Trains candidates; with a folder they inherit their parents' weights."""

    @abstractmethod
    def retrain(self, tokens: Tokens) -> Retrained:
        """The architecture trained from new weights, longer, and tested."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What ``result.json`` says of the data and the trainings."""

    def rival(self, found: Retrained) -> dict[str, Any]:
        """A network that was not searched for, trained like the one found, by its name in ``result.json``."""
        return {}


class ProblemOptions(ABC):
    """The options of a `Problem`."""

    parts: ClassVar[tuple[type, ...]]
    """Dataclasses that the command line has the flags from."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Flat, in the order of the command line."""

    @abstractmethod
    def located(self) -> Self:
        """With the data's path in full, so that it is found from any folder."""

    @abstractmethod
    def load(self, space: SearchSpace, seed: int) -> Problem:
        """The problem with its data, a function of the seed."""


@dataclass(frozen=True)
class SupervisedOptions(ProblemOptions):
    """Training on labelled examples."""

    parts = (DataOptions, ChildOptions, RetrainOptions)

    data: DataOptions
    child: ChildTraining
    last: RetrainOptions

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        return cls(fields_of(DataOptions, values), child_training(values), fields_of(RetrainOptions, values))

    def to_dict(self) -> dict[str, Any]:
        child = {f"child_{name}": value for name, value in asdict(self.child).items()}
        return {**asdict(self.data), **child, **asdict(self.last)}

    def located(self) -> Self:
        return replace(self, data=self.data.located())

    def load(self, space: SearchSpace, seed: int) -> "SupervisedProblem":
        return SupervisedProblem(space, seed, self, self.data.load(seed))


@dataclass(frozen=True)
class SupervisedProblem(Problem):
    """A candidate's loss is its error on validation examples."""

    rate = "--child-lr"

    space: SearchSpace
    seed: int
    options: SupervisedOptions
    data: Supervised

    @property
    def lasting(self) -> tuple[int, str]:
        return self.options.last.retrain_epochs, "epochs"

    def architecture(self, tokens: Tokens) -> Architecture:
        return Architecture(self.space, tokens, self.data.input_shape, self.data.classes)

    def evaluate(self, weights: Path | None = None) -> TrainAndTest:
        return TrainAndTest(self.space, self.data, self.options.child, weights, self.seed, test=False)

    def retrain(self, tokens: Tokens) -> Retrained:
        # The limit is one of candidates; this training is longer.
        epochs = self.options.last.retrain_epochs
        training = replace(self.options.child, epochs=epochs, limit_seconds=None)
        return retrain(self.space, tokens, self.data, training, self.seed)

    def facts(self) -> dict[str, Any]:
        return {
            "data": self.data.name,
            "examples": {part: len(getattr(self.data, part).y) for part in ("train", "validation", "test")},
            "candidate_epochs": self.options.child.epochs,
            "retrain_epochs": self.options.last.retrain_epochs,
        }
