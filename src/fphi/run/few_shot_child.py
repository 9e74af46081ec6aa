"""The loss of a candidate as the network of a few-shot learner: meta-train it, then new tasks."""

import math
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.architecture.space import SearchSpace, Tokens
from fphi.learnable.base import LearningAlgorithm
from fphi.learnable.comparison.prototypical import PrototypicalLearner
from fphi.learnable.initialization.gradient_learner import GradientLearner
from fphi.networks.batch_norm import BatchNorm, Mode
from fphi.networks.operations import Norm
from fphi.objective.meta_gradient import meta_gradient
from fphi.optimize.ask_tell import Candidate
from fphi.optimize.gradient import GradientDescent, cosine
from fphi.run.child import out_of_memory
from fphi.run.child_training import ChildError, own_randomness, parameter_count, tell_progress
from fphi.run.evaluate import calibrate_on, evaluate
from fphi.run.outcome import WORST, Outcome, failed
from fphi.tasks.distribution import TaskDistribution
from fphi.tasks.hashing import stream_key
from fphi.within.optimizers import sgd

__all__ = ["FewShotChild", "FewShotLearner", "FewShotTraining", "TakesNorm"]

FewShotLearner = Literal["prototypical", "maml"]


@runtime_checkable
class TakesNorm(Protocol):
    """A space whose networks take any normalisation, and come without their last layer too."""

    def network(
        self, tokens: Tokens, input_shape: tuple[int, ...], outputs: int | None, norm: Norm
    ) -> nn.Module:
        """As ``build``; ``outputs=None`` leaves the linear layer out."""


@dataclass(frozen=True)
class FewShotTraining:
    """How a network is meta-trained: as what kind of learner, on how many tasks. Adam, cosine schedule.

    Args:
        learner: "prototypical": the network is an embedding, batch statistics are those of training tasks;
            "maml": it is adapted by gradient steps, batch statistics are those of the query batch.
        steps: meta-steps.
        meta_batch: tasks of a step.
        lr: Adam's, at first.
        inner_lr, inner_steps, test_steps: of MAML's inner loop.
        validation_tasks: that the loss is taken on, the first ones.
        test_tasks: that the test accuracy is taken on; 0: none is.
        limit_seconds: a child that trains longer fails; None: any time.
        threads: torch's meanwhile.
    """

    learner: FewShotLearner = "prototypical"
    steps: int = 100
    meta_batch: int = 4
    lr: float = 2e-3
    inner_lr: float = 0.4
    inner_steps: int = 1
    test_steps: int = 3
    validation_tasks: int = 100
    test_tasks: int = 200
    limit_seconds: float | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        for name in ("steps", "meta_batch", "inner_steps", "validation_tasks", "threads"):
            if getattr(self, name) < 1:
                raise FphiError(f"{name} is {getattr(self, name)}; give at least 1")
        if self.lr <= 0 or self.inner_lr <= 0 or min(self.test_steps, self.test_tasks) < 0:
            raise FphiError(
                f"lr {self.lr}, inner_lr {self.inner_lr}, test_steps {self.test_steps}, test_tasks "
                f"{self.test_tasks}: give rates above 0, and the others from 0"
            )

    @property
    def mode(self) -> Mode:
        """Where the batch statistics of networks for this learner come from."""
        return "running" if self.learner == "prototypical" else "query-batch"

    @property
    def norm(self) -> Norm:
        """The normalisation that networks for this learner are built with."""
        return partial(BatchNorm, mode=self.mode)

    def outputs(self, ways: int) -> int | None:
        """Those of networks for this learner; None: features."""
        return None if self.learner == "prototypical" else ways

    def train(self, network: nn.Module, tasks: TaskDistribution, seed: int) -> LearningAlgorithm:
        """The learner, meta-trained on tasks 0, 1, … of the split "train", the same for all networks.

        Args:
            network: of any kind, with `norm` and `outputs`; modules within it that have a method
                ``set_progress`` are told the progress.
            tasks: with a split "train".
            seed: of what the network draws in training; torch's own generator is left as it was.

        Raises:
            ChildError: the loss is not finite, or the time was up.
        """
        learner = self._learner(network)
        outer = GradientDescent(torch.optim.Adam(learner.parameters(), lr=self.lr), cosine())
        start = time.monotonic()
        with own_randomness(seed, self.threads):
            for step in range(self.steps):
                tell_progress(network, step / self.steps)
                batch = tasks.batch("train", range(step * self.meta_batch, (step + 1) * self.meta_batch))
                loss, gradients = meta_gradient(learner, batch, threads=1)
                self._check(float(loss), step, time.monotonic() - start)
                outer.step(learner, gradients, step / self.steps)
            calibrate_on(learner, tasks)
        return learner

    def accuracy(self, learner: LearningAlgorithm, tasks: TaskDistribution, split: str, count: int) -> float:
        """The mean accuracy on the first tasks of a split."""
        return float(self.accuracies(learner, tasks, split, count).double().mean())

    def accuracies(
        self, learner: LearningAlgorithm, tasks: TaskDistribution, split: str, count: int
    ) -> Tensor:
        """The accuracy on each of the first tasks of a split ``[count]``."""
        with own_randomness(0, self.threads):
            return evaluate(learner, tasks, split=split, count=count, inductive=False).transductive

    def _learner(self, network: nn.Module) -> LearningAlgorithm:
        if self.learner == "prototypical":
            return PrototypicalLearner(network)
        return GradientLearner(network, sgd(self.inner_lr), self.inner_steps, test_steps=self.test_steps)

    def _check(self, loss: float, step: int, seconds: float) -> None:
        if not math.isfinite(loss):
            raise ChildError(f"diverged: the loss is {loss} in meta-step {step + 1} of {self.steps}")
        if self.limit_seconds is not None and seconds > self.limit_seconds:
            raise ChildError(
                f"out of time: {self.limit_seconds:g} s were over in meta-step {step + 1} of {self.steps}"
            )


@dataclass(frozen=True)
class FewShotChild:
    """Few-shot architecture search: a candidate's loss is its error on validation tasks. An `Evaluate`.

    The candidate's network is dropped into a learner, which is meta-trained on the training tasks. The
    outcome is a function of the candidate and of these fields; all candidates meet the same tasks. Its
    measures are ``validation_accuracy``, ``test_accuracy`` and ``parameters``.

    Args:
        space: whose networks take any normalisation, see `TakesNorm`.
        tasks: with the splits "train" and "validation", and "test" where test tasks are asked for.
        training: how children are meta-trained.
        seed: of weights and training.

    Raises:
        FphiError: the space's networks take no normalisation, or a split is missing.
    """

    space: SearchSpace
    tasks: TaskDistribution = field(repr=False)
    training: FewShotTraining = field(default_factory=FewShotTraining)
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be searched."""
        if not isinstance(self.space, TakesNorm):
            raise FphiError(
                f"networks of the space {self.space.name} have batch norms of their own, and few-shot "
                "learners need theirs: choose the space cells"
            )
        needed = {"train", "validation"} | ({"test"} if self.training.test_tasks else set())
        missing = sorted(needed - set(self.tasks.splits))
        if missing:
            raise FphiError(f"the tasks have no split {missing[0]!r}; choose a protocol that has it")

    def __call__(self, candidate: Candidate) -> Outcome:
        """The outcome; of a child that cannot be trained it is the worst loss, with the reason."""
        start = time.monotonic()
        try:
            network = self.network(candidate)
            learner = self.training.train(network, self.tasks, self._child_seed(candidate))
            count = self.training.validation_tasks
            accuracy = self.training.accuracy(learner, self.tasks, "validation", count)
        except ChildError as error:
            return Outcome(WORST, time.monotonic() - start, str(error))
        except Exception as error:
            seconds = time.monotonic() - start
            return out_of_memory(error, seconds) or failed(error, seconds)
        seconds = time.monotonic() - start
        measures = {"validation_accuracy": accuracy, "parameters": float(parameter_count(network))}
        if self.training.test_tasks:
            count = self.training.test_tasks
            measures["test_accuracy"] = self.training.accuracy(learner, self.tasks, "test", count)
        return Outcome(1 - accuracy, seconds, measures=measures)

    def network(self, candidate: Candidate) -> nn.Module:
        """The candidate's network with its first weights."""
        assert isinstance(self.space, TakesNorm)
        x, y = self.tasks.task("train", 0).support
        outputs = self.training.outputs(int(y.max()) + 1)
        with own_randomness(self._child_seed(candidate), self.training.threads):
            return self.space.network(candidate.tokens, tuple(x.shape[1:]), outputs, norm=self.training.norm)

    def _child_seed(self, candidate: Candidate) -> int:
        return int(stream_key(self.seed, "child", str(candidate.number)) >> 1)
