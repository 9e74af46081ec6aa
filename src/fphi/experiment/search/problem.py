"""What candidates are trained for and judged by: a large task, or many small ones."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from fphi.experiment.architecture import Architecture
from fphi.experiment.search.options import DataOptions, RetrainOptions
from fphi.learnable.architecture import ArchitectureSpace
from fphi.learnable.space import Tokens
from fphi.objective.candidate_loss import CandidateLoss, TrainAndTest
from fphi.run.search.retrain import Retrained, retrain
from fphi.run.search.weights import WeightFolder
from fphi.tasks.division import Division
from fphi.tasks.supervised import Supervised
from fphi.within.training import NetworkTraining

__all__ = ["Problem", "SupervisedProblem"]


class Problem(ABC):
    """What candidates are trained for and judged by, with its data."""

    rate: ClassVar[str]
    """The option that has the learning rate of candidates."""

    @property
    @abstractmethod
    def notes(self) -> tuple[str, ...]:
        """What a user should know of how the data were read, a plain line each."""

    @property
    @abstractmethod
    def classes(self) -> Mapping[str, Sequence[str]]:
        """The names of the classes of each split, where the data are a folder or zip; else none."""

    @property
    @abstractmethod
    def lasting(self) -> tuple[int, str]:
        """How long the last training is: a number, and of what."""

    @abstractmethod
    def architecture(self, tokens: Tokens) -> Architecture:
        """Tokens with all that it takes to build the network."""

    @abstractmethod
    def loss(self, weights: WeightFolder | None = None) -> CandidateLoss:
        """L(φ): trains a candidate and judges it; with a folder candidates inherit their parents' weights."""

    @abstractmethod
    def retrain(self, tokens: Tokens) -> Retrained:
        """The architecture trained from new weights, longer, and tested."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What ``result.json`` says of the data and the trainings."""

    def compared(self, found: Retrained) -> dict[str, Any]:
        """By its name in ``result.json``, a network that was not searched for, trained like the one found."""
        return {}


@dataclass(frozen=True)
class SupervisedProblem(Problem):
    """One large task: a candidate's loss is its error on validation examples."""

    rate = "--child-lr"

    space: ArchitectureSpace
    seed: int
    data: Supervised
    training: NetworkTraining
    last: RetrainOptions

    @classmethod
    def load(
        cls,
        space: ArchitectureSpace,
        seed: int,
        options: DataOptions,
        training: NetworkTraining,
        last: RetrainOptions,
        division: Division | None = None,
    ) -> "SupervisedProblem":
        """With its data, a function of the seed.

        Raises:
            FphiError: their classes are not those of ``division``, with which the search began.
        """
        problem = cls(space, seed, options.load(seed), training, last)
        if division is not None:
            division.require_same(problem.classes, options.data)
        return problem

    @property
    def notes(self) -> tuple[str, ...]:
        return self.data.notes

    @property
    def classes(self) -> Mapping[str, Sequence[str]]:
        return {"all": self.data.names} if self.data.names else {}

    @property
    def lasting(self) -> tuple[int, str]:
        return self.last.retrain_epochs, "epochs"

    def architecture(self, tokens: Tokens) -> Architecture:
        return Architecture(self.space, tokens, self.data.input_shape, self.data.classes)

    def loss(self, weights: WeightFolder | None = None) -> TrainAndTest:
        return TrainAndTest(self.space, self.data, self.training, weights, self.seed, test=False)

    def retrain(self, tokens: Tokens) -> Retrained:
        # The limit is one of candidates; this training is longer.
        training = replace(self.training, epochs=self.last.retrain_epochs, limit_seconds=None)
        return retrain(self.space, tokens, self.data, training, self.seed)

    def facts(self) -> dict[str, Any]:
        return {
            "data": self.data.name,
            "examples": {part: len(getattr(self.data, part).y) for part in ("train", "validation", "test")},
            "candidate_epochs": self.training.epochs,
            "retrain_epochs": self.last.retrain_epochs,
        }
