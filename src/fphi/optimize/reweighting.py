"""Learning to reweight: in each minibatch anew an example counts by how much it would lower the clean loss.

Ren, Zeng, Yang, Urtasun, ICML 2018, arXiv 1803.09050.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from fphi.learnable.weighting import batch_weights
from fphi.objective.example_weights import difference_products, products
from fphi.objective.hypergradient import Step, exact
from fphi.optimize.weighting import Kept, LossPerExample, Weighed, Weighting
from fphi.ranges import checked
from fphi.tasks.types import Examples
from fphi.within import Parameters
from fphi.within.implicit import gradient_by
from fphi.within.randomness import RandomState

__all__ = ["Form", "Reweight"]

# Of the hypergradient: products of gradients, these by a difference, or the unrolled step of both.
Form = Literal["product", "difference", "unrolled"]


class Reweight(Weighting):
    """Learning to reweight: an example counts as much as a step along it would lower the clean loss.

    With the product form a step takes one forward pass of dual numbers and the clean minibatch's ordinary
    passes more than a plain one.

    Args:
        model, optimizer, loss: see `Weighting`.
        form: of the hypergradient. "product" and "unrolled" give the same; the products are faster, and take
            less memory, but do not go through the checkpoints of `torch.utils.checkpoint`. "difference" gives
            nearly the same, and takes operations without second derivatives too.
    """

    @checked()
    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: LossPerExample | None = None,
        form: Form = "product",
    ) -> None:
        super().__init__(model, optimizer, loss)
        self.form = form

    def _weigh(self, batch: Examples, clean: Examples) -> Weighed:
        kept = Kept()
        forms = {"product": self._by_products, "difference": self._by_difference, "unrolled": self._unrolled}
        losses, helps, clean_loss = forms[self.form](batch, clean, kept)
        self._require_finite(losses, helps, clean_loss)
        weights = batch_weights(helps)
        loss = weights @ losses
        if weights.any():
            self._keep(kept.buffers)
        else:
            loss = loss.detach()
        return Weighed(loss, weights, weights, losses.detach(), helps, clean_loss, kept.answers)

    def _by_products(self, batch: Examples, clean: Examples, kept: Kept) -> tuple[Tensor, Tensor, Tensor]:
        theta = self._theta()
        clean_loss = self._losses(theta, clean).mean()
        towards = gradient_by(clean_loss, theta)
        losses, helps = products(lambda theta: self._losses(theta, batch, kept), theta, towards)
        return losses, helps, clean_loss.detach()

    def _by_difference(self, batch: Examples, clean: Examples, kept: Kept) -> tuple[Tensor, Tensor, Tensor]:
        theta = self._theta()
        clean_loss = self._losses(theta, clean).mean()
        towards, before = gradient_by(clean_loss, theta), RandomState.now(others=False)
        losses = self._losses(theta, batch, kept)
        after = RandomState.now(others=False)
        before.restore()
        helps = difference_products(lambda theta: self._losses(theta, batch), theta, towards)
        after.restore()
        return losses, helps, clean_loss.detach()

    def _unrolled(self, batch: Examples, clean: Examples, kept: Kept) -> tuple[Tensor, Tensor, Tensor]:
        """By the step θ - η Σ εᵢ ∂Lᵢ/∂θ at ε = 0, η = 1 as in the authors' code."""
        theta, before = self._theta(), RandomState.now(others=False)
        losses = self._losses(theta, batch, kept)
        after = RandomState.now(others=False)

        def training(theta: Parameters, phi: Parameters) -> Tensor:
            before.restore()
            again = self._losses(theta, batch)
            after.restore()
            return phi["epsilon"] @ again

        def validation(theta: Parameters, phi: Parameters) -> Tensor:
            return self._losses(theta, clean).mean()

        epsilon = {"epsilon": torch.zeros_like(losses)}
        with sdpa_kernel(SDPBackend.MATH):  # attention by its formula, which alone has second derivatives
            found = exact(training, validation, theta, epsilon, Step(1.0))
        return losses, -found.gradient["epsilon"], found.loss
