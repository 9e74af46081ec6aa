"""The objective of an ordinary training whose examples are weighed by a clean set, and what it has seen."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.optimize.reweighting import Weighting
from fphi.tasks.types import Examples
from fphi.within.minibatches import endless_minibatches
from fphi.within.training import BatchLoss

__all__ = ["WeighedObjective"]


class WeighedObjective:
    """Weighs each minibatch of a training, for `fphi.within.training.NetworkTraining.train`.

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
        self._visits, self._weights, self._confidence = torch.zeros(3, examples, dtype=torch.float64)
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
        """Begin a training."""
        self._begun = self._begin(module, optimizer)
        return self._loss

    def _loss(self, batch: Examples, rows: Tensor) -> Tensor:
        weighed = self.weighting.weigh(batch, next(self._clean))
        self._visits[rows] += 1
        self._weights[rows] += weighed.weights.double()
        self._confidence[rows] += (-weighed.losses.double()).exp()
        self.skipped += weighed.skipped
        return weighed.loss

    @property
    def weights(self) -> Tensor:
        """The mean weight of each example ``[n]`` over all its steps; their mean is 1."""
        means = self._weights / self._visits.clamp(min=1)
        weights: Tensor = means / means.mean().clamp(min=torch.finfo(means.dtype).tiny)
        return weights

    @property
    def suspicion(self) -> Tensor:
        """Of each example ``[n]``, 1 less the mean probability of its label while the model trained.

        A model that clean examples keep from learning wrong labels by heart finds these improbable; a
        mean over the whole training counts the time before it does, too. The loss must be the cross-entropy.
        """
        suspicion: Tensor = 1 - self._confidence / self._visits.clamp(min=1)
        return suspicion
