"""Step 2 where φ has no gradient: L(φ), the loss of a candidate, is its error after it was learned with.

A task is a task, small or large: one network is trained on one large task, or a few-shot learner on many
small ones, and tested on what it did not learn from.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fphi.learnable.architecture.inheritance import inherit
from fphi.learnable.architecture.space import ArchitectureSpace
from fphi.learnable.base import LearningAlgorithm
from fphi.learnable.space import Candidate, Tokens
from fphi.objective.outcome import WORST, Outcome, failed
from fphi.tasks.hashing import stream_key
from fphi.tasks.supervised import Supervised
from fphi.within.trained import parameter_count
from fphi.within.training import NetworkTraining, TrainingFailedError

__all__ = [
    "CandidateEpisode",
    "CandidateLearner",
    "CandidateLoss",
    "CandidateWeights",
    "ChoosesInheritance",
    "ChoosesRate",
    "MetaTrainAndTest",
    "TrainAndTest",
]


@runtime_checkable
class ChoosesRate(Protocol):
    """A space whose architectures come with a learning rate."""

    def learning_rate(self, tokens: Tokens) -> float:
        """That of the first step."""


@runtime_checkable
class ChoosesInheritance(Protocol):
    """A space whose architectures say whether they take over their parent's weights."""

    def inherits(self, tokens: Tokens) -> bool:
        """Whether this one does."""


class CandidateWeights(Protocol):
    """Where trained candidates leave their weights for their children."""

    def load(self, number: int) -> Mapping[str, Tensor] | None:
        """Those of candidate ``number``; None: it has left none."""

    def save(self, number: int, state: Mapping[str, Tensor]) -> None:
        """Keep those of candidate ``number``."""


@dataclass(frozen=True)
class CandidateEpisode:
    """What came of one candidate: it was learned with, then tested.

    Args:
        accuracy: the fraction of right answers on what it did not learn from, which it is judged by.
        measures: what else is known, by name.
        test: takes further measures that the search must not know of, and that are no cost of it.
    """

    accuracy: float
    measures: dict[str, float]
    test: Callable[[], dict[str, float]]


class CandidateLoss(ABC):
    """L(φ) of a φ without a gradient, an `Evaluate`: the error on what is held out, after training with it.

    The outcome is a function of the candidate and of the fields, in whichever process and order candidates
    are evaluated: what is random comes from ``seed`` and the candidate's number.
    """

    seed: int

    @abstractmethod
    def episode(self, candidate: Candidate) -> CandidateEpisode:
        """Learn with the candidate, and be tested."""

    def __call__(self, candidate: Candidate) -> Outcome:
        """The outcome; of a candidate that cannot be trained it is the worst loss, with the reason."""
        start = time.monotonic()
        try:
            episode = self.episode(candidate)
        except TrainingFailedError as error:
            return Outcome(WORST, time.monotonic() - start, str(error))
        except Exception as error:
            seconds = time.monotonic() - start
            return _out_of_memory(error, seconds) or failed(error, seconds)
        seconds = time.monotonic() - start
        measures = episode.measures | {"validation_accuracy": episode.accuracy} | episode.test()
        return Outcome(1 - episode.accuracy, seconds, measures=measures)

    def child_seed(self, number: int) -> int:
        """The seed of a candidate's weights and training."""
        return int(stream_key(self.seed, "child", str(number)) >> 1)


@dataclass(frozen=True)
class TrainAndTest(CandidateLoss):
    """One large task: trains a candidate on ``data.train``; its loss is the error on ``data.validation``.

    The measures of an outcome are ``validation_accuracy``, ``parameters``, ``epochs``, with ``test``
    ``test_accuracy`` and, with ``weights``, ``inherited``: how many parameters came from the parent.

    Args:
        space: of the candidates.
        data: of the problem.
        training: how children are trained. Spaces may have a learning rate for each architecture.
        weights: where they are kept, so that candidates inherit those of their parents; None: every
            candidate is trained from new weights.
        seed: of weights and training.
        test: whether ``test_accuracy`` is taken; a search that is to use its test data once does not.
    """

    space: ArchitectureSpace
    data: Supervised = field(repr=False)
    training: NetworkTraining = field(default_factory=NetworkTraining)
    weights: CandidateWeights | None = None
    seed: int = 0
    test: bool = True

    def episode(self, candidate: Candidate) -> CandidateEpisode:
        seed = self.child_seed(candidate.number)
        module = self._built(candidate.tokens, seed)
        measures = {"parameters": float(parameter_count(module)), "epochs": float(self.training.epochs)}
        if self.weights is not None:
            measures["inherited"] = float(self._inherit(module, candidate))
        rate = self.space.learning_rate(candidate.tokens) if isinstance(self.space, ChoosesRate) else None
        child = self.training.train(module, self.data, seed, rate)
        if self.weights is not None:
            self.weights.save(candidate.number, module.state_dict())

        def test() -> dict[str, float]:
            return {"test_accuracy": child.test_accuracy()} if self.test else {}

        return CandidateEpisode(child.validation_accuracy, measures, test)

    def _built(self, tokens: Tokens, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.space.build(tokens, self.data.input_shape, self.data.classes)

    def _inherit(self, module: nn.Module, candidate: Candidate) -> int:
        """Take over the parent's weights where they fit; return how many parameters that were."""
        assert self.weights is not None
        if candidate.parent is None:
            return 0
        if isinstance(self.space, ChoosesInheritance) and not self.space.inherits(candidate.tokens):
            return 0
        state = self.weights.load(candidate.parent)
        if state is None:  # the parent failed: there is nothing to inherit
            return 0
        taken = set(inherit(module, state))
        return sum(p.numel() for name, p in module.named_parameters() if name in taken)


@dataclass(frozen=True)
class MetaTrainAndTest(CandidateLoss):
    """Many small tasks: meta-trains a learner with a candidate; its loss is the error on validation tasks.

    The measures of an outcome are ``validation_accuracy``, ``parameters`` and, with ``test``,
    ``test_accuracy``.

    Args:
        learner: see `CandidateLearner`.
        seed: of weights and training.
        test: whether ``test_accuracy`` is taken.
    """

    learner: "CandidateLearner"
    seed: int = 0
    test: bool = False

    def episode(self, candidate: Candidate) -> CandidateEpisode:
        learner = self.learner.learn(candidate.tokens, self.child_seed(candidate.number))

        def test() -> dict[str, float]:
            return {"test_accuracy": self.learner.accuracy(learner, "test")} if self.test else {}

        measures = {"parameters": float(parameter_count(learner))}
        return CandidateEpisode(self.learner.accuracy(learner, "validation"), measures, test)


class CandidateLearner(Protocol):
    """Makes a few-shot learner of a candidate, and meta-trains it."""

    def learn(self, tokens: Tokens, seed: int) -> LearningAlgorithm:
        """The learner after its training; all candidates meet the same tasks."""

    def accuracy(self, learner: LearningAlgorithm, split: str) -> float:
        """The mean accuracy on tasks of a split."""


def _out_of_memory(error: Exception, seconds: float) -> Outcome | None:
    """The outcome of a candidate that was too large, if that is what ``error`` says."""
    text = " ".join(str(error).split())
    telling = isinstance(error, RuntimeError) and ("out of memory" in text or "allocate memory" in text)
    if not telling and not isinstance(error, MemoryError):
        return None
    return Outcome(WORST, seconds, f"out of memory: {text}"[:500] if text else "out of memory")
