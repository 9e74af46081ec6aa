"""Meta-Weight-Net: a network of an example's loss says how much it counts, and a clean set teaches it.

Shu, Xie, Yi, Zhao, Zhou, Xu, Meng, NeurIPS 2019, arXiv 1902.07379.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn, promote_types

from fphi.errors import FphiError
from fphi.learnable.weighting import WeightNet
from fphi.objective.example_weights import ExampleLosses, difference_products, look_ahead, products
from fphi.objective.hypergradient import Step
from fphi.optimize.restored import restore_optimizer
from fphi.optimize.weighting import Kept, LossPerExample, Weighed, Weighting
from fphi.ranges import checked
from fphi.tasks.types import Examples
from fphi.within import Parameters
from fphi.within.implicit import gradient_by
from fphi.within.randomness import RandomState
from fphi.within.uncompiled import uncompiled

__all__ = ["DivideBy", "MetaWeightNet"]

DivideBy = Literal["number", "sum"]


class MetaWeightNet(Weighting):
    """A small network of an example's loss says how much it counts, and learns from the clean examples.

    Each step looks ahead along plain gradient descent at the optimizer's rate, moves the weighting network by
    Adam so that the clean loss there falls, and takes the model's step with the new weights.

    Args:
        model, optimizer, loss: see `Weighting`.
        net: the weighting network; None: a new one, where the model is, in float32 or more.
        lr: of the weighting network (paper: 1e-3).
        weight_decay: of it (paper: 1e-4).
        virtual_lr: of the step that looks ahead; None: the optimizer's at the time.
        divide_by: of the weighted losses of a minibatch: their number, so that the weights decide how long a
            step is too, or the sum of the weights, so that they decide only which examples it is for.
        derivative: of the losses towards the clean loss's gradient: exact, or by a difference, which is
            faster for convolutions and norm layers.
    """

    @checked()
    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: LossPerExample | None = None,
        *,
        net: WeightNet | None = None,
        lr: float = 1e-3,
        weight_decay: float = 1e-4,
        virtual_lr: float | None = None,
        divide_by: DivideBy = "number",
        derivative: Literal["exact", "difference"] = "exact",
    ) -> None:
        super().__init__(model, optimizer, loss)
        like = next(iter(self._theta().values()))
        self.net = (
            WeightNet().to(like.device, promote_types(like.dtype, torch.float32)) if net is None else net
        )
        self.adam = uncompiled(torch.optim.Adam)(self.net.parameters(), lr=lr, weight_decay=weight_decay)
        self.virtual_lr, self.divide_by, self.derivative = virtual_lr, divide_by, derivative

    def _weigh(self, batch: Examples, clean: Examples) -> Weighed:
        """See `Weighting.weigh`; the weighting network takes its step."""
        before = RandomState.now(others=False)
        kept = Kept()
        losses = self._losses(self._theta(), batch, kept)
        read = losses.to(next(self.net.parameters()).dtype)
        shares = self._shares(self.net(read))
        helps, clean_loss, rate = self._helps(batch, clean, losses, shares.to(losses.dtype), before)
        self._require_finite(losses, helps, clean_loss)
        self._keep(kept.buffers)
        phi: Parameters = {**dict(self.net.named_parameters())}
        slope = gradient_by(-rate * (helps.to(shares.dtype) @ shares), phi)
        for name, p in phi.items():
            p.grad = slope[name]
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        with torch.no_grad():
            weights = self.net(read)
        if not bool(weights.isfinite().all()):
            raise FphiError("the weights are no longer finite: choose a smaller lr of the weighting network")
        shares = self._shares(weights)
        loss = (shares * losses).sum()
        return Weighed(loss, weights, shares, losses.detach(), helps, clean_loss, kept.answers)

    def _shares(self, weights: Tensor) -> Tensor:
        """What each example of a minibatch counts in its loss ``[n]``."""
        if self.divide_by == "number":
            return weights / len(weights)
        return weights / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)

    def _helps(
        self, batch: Examples, clean: Examples, losses: Tensor, weights: Tensor, before: RandomState
    ) -> tuple[Tensor, Tensor, float]:
        """The products with the clean loss's gradient after the virtual step, that loss, and the rate.

        The batch passes once more, with the random numbers of ``before``: what is random in the model, as
        dropout, is the same in both passes.
        """
        theta, rate = self._theta(), self._rate()
        look = look_ahead(losses, weights, lambda ahead: self._losses(ahead, clean).mean(), theta, Step(rate))
        after = RandomState.now(others=False)
        before.restore()
        with torch.no_grad():
            helps = self._products(lambda moved: self._losses(moved, batch), theta, look.slope)
        after.restore()
        return helps, look.loss, rate

    def _products(self, losses: ExampleLosses, theta: Parameters, direction: Parameters) -> Tensor:
        if self.derivative == "difference":
            return difference_products(losses, theta, direction)
        return products(losses, theta, direction)[1]

    def state_dict(self) -> dict[str, Any]:
        """See `Weighting.state_dict`."""
        return {"net": self.net.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """See `Weighting.load_state_dict`."""
        net = state["net"]
        own = self.net.state_dict()
        if not isinstance(net, dict) or {k: getattr(v, "shape", None) for k, v in net.items()} != {
            k: v.shape for k, v in own.items()
        }:
            raise ValueError("its weighting network is another")
        restore_optimizer(self.adam, state["adam"])
        self.net.load_state_dict(net)

    def _rate(self) -> float:
        """Of the virtual step."""
        if self.virtual_lr is not None:
            return self.virtual_lr
        rates = sorted({float(group["lr"]) for group in self.optimizer.param_groups})
        if len(rates) > 1:
            raise FphiError(
                f"the optimizer has learning rates from {rates[0]:g} to {rates[-1]:g}; "
                "say by virtual_lr which one looks ahead"
            )
        return rates[0]
