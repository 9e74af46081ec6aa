"""The objective of an ordinary training whose examples are weighed by a clean set, and what it has seen."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.optimize.weighting import Weighting
from fphi.tasks.types import Examples
from fphi.within.cleaning import doubted_labels
from fphi.within.minibatches import endless_minibatches
from fphi.within.training import BatchLoss

__all__ = ["WeighedObjective"]


_SEEN = ("visits", "weights", "losses", "confidence")


class WeighedObjective:
    """Weighs each minibatch of a training, for `fphi.within.training.NetworkTraining.train`.

    A training in stretches takes a new one for each, which goes on from the state of the one before.

    Args:
        begin: of a model and its optimizer, what weighs the examples.
        clean: examples that can be trusted, none of which is trained on.
        examples: how many there are to train on.
        batch_size: clean examples for each step, at most.
        seed: of their order.
    """

    def __init__(
        self,
        begin: Callable[[nn.Module, torch.optim.Optimizer], Weighting],
        clean: Examples,
        examples: int,
        batch_size: int = 100,
        seed: int = 0,
    ) -> None:
        self._begin = begin
        self._clean = endless_minibatches(clean, batch_size, torch.Generator().manual_seed(seed))
        self._begun: Weighting | None = None
        self._seen = torch.zeros(len(_SEEN), examples, dtype=torch.float64)
        self._visits, self._weights, self._losses, self._confidence = self._seen
        self._probabilities: Tensor | None = None  # summed, [n, classes]
        self._state: dict[str, Any] | None = None
        self.skipped = 0

    @property
    def weighting(self) -> Weighting:
        """What weighs the examples of the training that was begun last.

        Raises:
            FphiError: none has begun.
        """
        if self._begun is None:
            raise FphiError("nothing is weighed yet: give this to a training as its objective")
        return self._begun

    def __call__(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> BatchLoss:
        """Begin a training, or go on with the one whose state was loaded."""
        self._begun = self._begin(module, optimizer)
        if self._state is not None:
            self._begun.load_state_dict(self._state)
        return self._loss

    def _loss(self, batch: Examples, rows: Tensor) -> Tensor:
        weighed = self.weighting.weigh(batch, next(self._clean))
        self._visits[rows] += 1
        self._weights[rows] += len(rows) * weighed.shares.double()
        self._losses[rows] += weighed.losses.double()
        self._confidence[rows] += (-weighed.losses.double()).exp()
        self._see(rows, weighed.answers)
        self.skipped += weighed.skipped
        return weighed.loss

    def _see(self, rows: Tensor, answers: Tensor | None) -> None:
        if answers is None or answers.dim() != 2:
            return
        if self._probabilities is None:
            self._probabilities = torch.zeros(self._seen.shape[1], answers.shape[1])
        self._probabilities[rows] += answers.float().softmax(1).to(self._probabilities.device)

    @property
    def weights(self) -> Tensor:
        """The mean weight of each example ``[n]`` over all its steps; their mean is 1."""
        means = self._weights / self._visits.clamp(min=1)
        weights: Tensor = means / means.mean().clamp(min=torch.finfo(means.dtype).tiny)
        return weights

    @property
    def losses(self) -> Tensor:
        """The mean loss of each example ``[n]`` while the model trained."""
        losses: Tensor = self._losses / self._visits.clamp(min=1)
        return losses

    @property
    def suspicion(self) -> Tensor:
        """Of each example ``[n]``, 1 less the mean probability of its label while the model trained.

        A model that clean examples keep from learning wrong labels by heart finds these improbable; a
        mean over the whole training counts the time before it does, too. The loss must be the cross-entropy.
        """
        suspicion: Tensor = 1 - self._confidence / self._visits.clamp(min=1)
        return suspicion

    def doubted(self, y: Tensor) -> Tensor:
        """Which labels are taken for wrong, bool ``[n]``: see `fphi.within.cleaning.doubted_labels`.

        By the mean probabilities of the training. It is not enough that a label has little: all have where
        the model has learned little.

        Args:
            y: the labels ``[n]``.

        Raises:
            FphiError: the model's answers are no ``[n, classes]``, or nothing is weighed yet.
        """
        if self._probabilities is None:
            raise FphiError("no answers [n, classes] were seen: train a model that gives such, then ask")
        return doubted_labels(self._probabilities / self._visits.clamp(min=1)[:, None].float(), y)

    def state_dict(self) -> dict[str, Any]:
        """What has been seen of the examples, and the state of what weighs them."""
        return {
            "seen": self._seen.clone(),
            "probabilities": None if self._probabilities is None else self._probabilities.clone(),
            "skipped": self.skipped,
            "weighting": self.weighting.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go on from such a state; what weighs the examples takes its part when the training begins.

        Raises:
            ValueError, KeyError, TypeError: it is none, or one of another number of examples.
        """
        seen, skipped, probabilities = state["seen"], state["skipped"], state["probabilities"]
        if not isinstance(seen, Tensor) or seen.shape != self._seen.shape or seen.dtype != self._seen.dtype:
            raise ValueError("what was seen of the examples is of others")
        if probabilities is not None and (
            not isinstance(probabilities, Tensor)
            or (probabilities.dim(), len(probabilities)) != (2, seen.shape[1])
        ):
            raise ValueError("the probabilities are of other examples")
        if type(skipped) is not int or skipped < 0 or not isinstance(state["weighting"], dict):
            raise ValueError("it does not say what weighs the examples")
        self._seen.copy_(seen)
        self._probabilities = None if probabilities is None else probabilities.clone()
        self.skipped, self._state = skipped, state["weighting"]
