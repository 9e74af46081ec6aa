"""Weights of training examples that are learned while the model trains: a clean set decides what counts.

What learning to reweight and Meta-Weight-Net share. A step: what would lower the clean loss, then a step of
the model on the weighted losses. The model's optimizer is the caller's.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from fphi.errors import FphiError
from fphi.objective.example_weights import primal
from fphi.ranges import checked
from fphi.tasks.types import Examples
from fphi.within import Parameters

__all__ = ["Kept", "LossPerExample", "Pair", "Weighed", "Weighting"]

# Of the model's answers and the targets, both [n, …]: the loss of each example [n].
LossPerExample = Callable[[Tensor, Tensor], Tensor]

# Inputs and targets, as a DataLoader gives them.
Pair = Examples | tuple[Tensor, Tensor] | list[Tensor]

_BY_DIFFERENCE = (
    "an operation of the model has no second derivative: weigh by Reweight(…, form='difference') or "
    "MetaWeightNet(…, derivative='difference')"
)
# Signs of what torch cannot do, and what to do in its place.
_ADVICE = {
    "use_reentrant=True": "checkpoints of the model are to be made with use_reentrant=False",
    "torch.utils.checkpoint": (
        "a checkpoint of the model computes something else on the way back, as of dual numbers: weigh "
        "by Reweight(…, form='unrolled')"
    ),
    "the derivative for": _BY_DIFFERENCE,
    "differentiate twice": _BY_DIFFERENCE,
}


class Weighed(NamedTuple):
    """A minibatch whose examples have weights; all but ``loss`` without a graph.

    Attributes:
        loss: of the model, to step along. It has no graph where no example helps: there is to be no step.
        weights: ``[n]``; their sum is 1 (or 0) in learning to reweight, they are from 0 to 1 each in
            Meta-Weight-Net.
        shares: what each example counts in the loss ``[n]``, which is the sum of the losses times these.
        losses: of the examples ``[n]``.
        helps: ⟨∂L_clean/∂θ, ∂Lᵢ/∂θ⟩ ``[n]``: how fast a step along an example lowers the clean loss.
        clean_loss: the mean loss of the clean minibatch.
        answers: of the model to the inputs ``[n, …]``; None where it gives something else than one tensor.
    """

    loss: Tensor
    weights: Tensor
    shares: Tensor
    losses: Tensor
    helps: Tensor
    clean_loss: Tensor
    answers: Tensor | None = None

    @property
    def skipped(self) -> bool:
        """Whether no example helps."""
        return not self.loss.requires_grad


@dataclass
class Kept:
    """What is kept of the pass of a minibatch by which the model may step; without a graph.

    Attributes:
        buffers: of the model after it, by name.
        answers: see `Weighed`.
    """

    buffers: dict[str, Tensor] = field(default_factory=dict)
    answers: Tensor | None = None


class Weighting(ABC):
    """What weighs the examples of each minibatch in the training of a model.

    Args:
        model: inputs ``[n, …]`` to answers ``[n, …]``; in the mode in which it trains.
        optimizer: of its parameters.
        loss: of each example; None: cross-entropy.

    Raises:
        FphiError: the model has nothing to train, or the optimizer none of it.
    """

    @checked()
    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: LossPerExample | None = None,
    ) -> None:
        self.model, self.optimizer, self._loss = model, optimizer, loss or _cross_entropies
        if not self._theta():
            raise FphiError("the model has no parameter that requires a gradient; there is nothing to train")
        moved = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if not any(id(p) in moved for p in self._theta().values()):
            raise FphiError(
                "the optimizer holds no parameter of the model that requires a gradient, so that none would "
                "move; make it of model.parameters()"
            )

    def weigh(self, batch: Pair, clean: Pair) -> Weighed:
        """Weigh a minibatch by a clean one, for a step that the caller takes.

        Of the model only the running statistics of norm layers move, as in one ordinary pass of ``batch``.

        Args:
            batch: inputs ``[n, …]`` and targets ``[n, …]``.
            clean: such a pair of examples that can be trusted, of any number.

        Raises:
            FphiError: a loss is not finite, or not one for each example; these are no such pairs.
        """
        with _explained():
            return self._weigh(_examples("batch", batch), _examples("clean", clean))

    @abstractmethod
    def _weigh(self, batch: Examples, clean: Examples) -> Weighed:
        """See `weigh`."""

    def step(self, batch: Pair, clean: Pair) -> Weighed:
        """Weigh a minibatch, and take the model's step; none where no example helps.

        Args:
            batch: see `weigh`.
            clean: see `weigh`.

        Raises:
            FphiError: see `weigh`.
        """
        weighed = self.weigh(batch, clean)
        if not weighed.skipped:
            self.optimizer.zero_grad(set_to_none=True)
            with _explained():
                weighed.loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return weighed

    def state_dict(self) -> dict[str, Any]:
        """What is learned of weights, and its optimizer; the model and its optimizer are the caller's."""
        return {}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go on from such a state; a `ValueError`, `KeyError` or `TypeError` if it is none."""
        if state:
            raise ValueError("weights of single minibatches have no state")

    def _theta(self) -> Parameters:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def _losses(self, theta: Parameters, batch: Examples, kept: Kept | None = None) -> Tensor:
        """Of each example ``[n]``, with θ in the model, whose buffers stay; ``kept`` is told of the pass."""
        held = {name: b.clone() for name, b in self.model.named_buffers()} | theta
        # Torch writes back what the model assigns to a buffer, as `self.count = self.count + 1`.
        answers = functional_call(self.model, held, (batch.x,))
        if kept is not None:
            kept.buffers = {name: primal(b) for name, b in held.items() if name not in theta}
            kept.answers = primal(answers) if isinstance(answers, Tensor) else None
        return self._checked(answers, batch)

    def _checked(self, answers: Tensor, batch: Examples) -> Tensor:
        losses = self._loss(answers, batch.y)
        if losses.shape != (len(batch.x),):
            raise FphiError(
                f"the loss of {len(batch.x)} examples has shape {list(losses.shape)}; give one that returns "
                "a number for each example, as torch's do with reduction='none'"
            )
        return losses

    def _require_finite(self, losses: Tensor, helps: Tensor, clean_loss: Tensor) -> None:
        """Refuse a minibatch of which nothing may be kept."""
        found = [bool(torch.isfinite(values).all()) for values in (losses, clean_loss, helps)]
        if all(found):
            return
        if found[:2] == [True, True] or not all(bool(p.isfinite().all()) for p in self._theta().values()):
            raise FphiError("the losses are no longer finite: the model diverges; choose a smaller rate")
        raise FphiError(
            f"losses of {'clean' if found[0] else 'batch'} are not finite, and the model's parameters are: "
            "check its inputs, or choose a smaller rate"
        )

    @torch.no_grad()
    def _keep(self, moved: dict[str, Tensor]) -> None:
        for name, buffer in list(self.model.named_buffers()):
            if (buffer.shape, buffer.dtype) == (moved[name].shape, moved[name].dtype):
                buffer.copy_(moved[name])
            else:
                owner, _, own = name.rpartition(".")
                setattr(self.model.get_submodule(owner), own, moved[name])


@contextmanager
def _explained() -> Iterator[None]:
    """With what torch cannot do said as what to do."""
    try:
        yield
    except RuntimeError as error:
        for sign, advice in _ADVICE.items():
            if sign in str(error):
                raise FphiError(advice) from error
        raise


def _examples(name: str, pair: Pair) -> Examples:
    if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(t, Tensor) for t in pair)):
        raise FphiError(f"{name} is no pair of tensors; give the inputs and the targets, as (x, y)")
    x, y = pair
    if not (x.dim() and y.dim() and len(x) == len(y) > 0):
        raise FphiError(
            f"{name} has inputs {list(x.shape)} and targets {list(y.shape)}; give equally many, at least 1"
        )
    return Examples(x, y)


def _cross_entropies(answers: Tensor, y: Tensor) -> Tensor:
    return cross_entropy(answers, y, reduction="none")
