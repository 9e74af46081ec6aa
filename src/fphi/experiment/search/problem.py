"""What candidates are evaluated for, and what is done with what was found."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from fphi.experiment.architecture import Architecture
from fphi.experiment.levels import levels_of
from fphi.experiment.search.options import RetrainOptions
from fphi.learnable.architecture import ArchitectureSpace
from fphi.learnable.space import Candidate, Space, Tokens
from fphi.methods.families.searching import EpochwiseMethod, SupernetMethod
from fphi.objective.candidate_loss import CandidateLoss, TrainAndTest
from fphi.objective.outcome import Outcome
from fphi.report.architecture import draw_architecture
from fphi.run.disk.files import replace_file
from fphi.run.search.history_table import HistoryRow
from fphi.run.search.retrain import Retrained, retrain
from fphi.run.search.supernet import SupernetSearch
from fphi.run.search.weights import WeightFolder
from fphi.run.show.say import say
from fphi.tasks.supervised import Supervised
from fphi.within.training import NetworkTraining

__all__ = ["ArchitectureProblem", "Found", "LargeTask", "Problem", "SupervisedProblem", "accuracy_of"]


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Args:
        method: its name.
        chosen: the candidates that make up the result: one, or several that are joined.
        validation: the validation accuracy of the best candidate.
        seconds: that the search took: of a search by evaluations, those of the evaluations.
        evaluations: candidates that were evaluated one by one.
        failures: of these, how many had no accuracy.
        epochs: of a search that is one training; 0: it is none.
        rows: of ``history.csv``.
    """

    method: str
    chosen: tuple[Tokens, ...]
    validation: float
    seconds: float
    evaluations: int
    failures: int
    epochs: int
    rows: list[HistoryRow]


class Problem(ABC):
    """What candidates are evaluated for, with its data."""

    rate: ClassVar[str]
    """The option that has the learning rate of candidates."""
    limit: ClassVar[str]
    """The option that has the time limit of candidates."""
    what: ClassVar[str]
    """What is searched for, a word."""

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

    def require(self) -> None:  # noqa: B027 – most problems take whatever their data are
        """Raise an `FphiError` if no candidate could be evaluated."""

    @abstractmethod
    def loss(self, weights: WeightFolder | None = None) -> CandidateLoss:
        """L(φ): learns with a candidate and judges it; with a folder candidates go on from their parents."""

    @abstractmethod
    def begin(self, method: EpochwiseMethod) -> SupernetSearch:
        """A search that is one training, at its start."""

    def conclude(self, method: EpochwiseMethod, search: SupernetSearch) -> Mapping[str, float]:
        """Figures for the row of its last epoch."""
        return {}

    @abstractmethod
    def judge(self, found: Tokens) -> float:
        """The validation accuracy of what a search that is one training has found, evaluated by itself."""

    @abstractmethod
    def text(self, found: Found) -> str:
        """What was found, in a line."""

    @abstractmethod
    def write(self, found: Found, out: Path) -> None:
        """Leave what was found in a folder, with its picture."""

    @abstractmethod
    def retrain(self, found: Found) -> Retrained:
        """Learn with what was found from new weights, longer, and be tested."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What ``result.json`` says of the data and the trainings."""

    def compared(self, found: Found, retrained: Retrained) -> dict[str, Any]:
        """By its name in ``result.json``, what was not searched for, trained like what was found."""
        return {}


def accuracy_of(outcome: Outcome) -> float:
    """The validation accuracy of what was found; why there is none is said."""
    if outcome.failure:
        say(f"what was found could not be trained by itself: {outcome.failure}")
    return 1 - outcome.loss


class ArchitectureProblem(Problem):
    """What architectures are evaluated for."""

    what: ClassVar[str] = "architecture"

    @abstractmethod
    def architecture(self, tokens: Tokens) -> Architecture:
        """Tokens with all that it takes to build the network."""

    def text(self, found: Found) -> str:
        return self.architecture(found.chosen[0]).text

    def write(self, found: Found, out: Path) -> None:
        architecture = self.architecture(found.chosen[0])
        architecture.save(out)
        graphs = architecture.space.graphs(architecture.tokens)
        replace_file(out / "architecture.png", draw_architecture(graphs))


@dataclass(frozen=True)
class LargeTask(Problem):
    """One large task: a candidate's loss is its error on validation examples."""

    rate = "--child-lr"
    limit = "--child-limit-seconds"

    space: Space
    seed: int
    data: Supervised
    training: NetworkTraining
    last: RetrainOptions

    @property
    def notes(self) -> tuple[str, ...]:
        return self.data.notes

    @property
    def classes(self) -> Mapping[str, Sequence[str]]:
        return {"all": self.data.names} if self.data.names else {}

    @property
    def lasting(self) -> tuple[int, str]:
        return self.last.retrain_epochs, "epochs"

    @property
    def last_training(self) -> NetworkTraining:
        """As candidates are trained, but longer; the limit is one of candidates."""
        return replace(self.training, epochs=self.last.retrain_epochs, limit_seconds=None)

    def conclude(self, method: EpochwiseMethod, search: SupernetSearch) -> Mapping[str, float]:
        return method.conclude(search, self.space, self.data, self.training)

    def facts(self) -> dict[str, Any]:
        return {
            "data": self.data.name,
            "examples": {part: len(getattr(self.data, part).y) for part in ("train", "validation", "test")},
            "candidate_epochs": self.training.epochs,
            "retrain_epochs": self.last.retrain_epochs,
        }


@dataclass(frozen=True)
class SupervisedProblem(LargeTask, ArchitectureProblem):
    """Candidates are networks that are trained on one large task."""

    space: ArchitectureSpace

    def architecture(self, tokens: Tokens) -> Architecture:
        levels = levels_of(self.data.levels)
        return Architecture(self.space, tokens, self.data.input_shape, self.data.classes, levels=levels)

    def loss(self, weights: WeightFolder | None = None) -> TrainAndTest:
        return TrainAndTest(self.space, self.data, self.training, weights, self.seed, test=False)

    def begin(self, method: EpochwiseMethod) -> SupernetSearch:
        method.require(self.space)
        assert isinstance(method, SupernetMethod)
        return method.begin(self.space, self.data, self.seed)

    def judge(self, found: Tokens) -> float:
        return accuracy_of(self.loss()(Candidate(0, found)))

    def retrain(self, found: Found) -> Retrained:
        return retrain(self.space, found.chosen[0], self.data, self.last_training, self.seed)
