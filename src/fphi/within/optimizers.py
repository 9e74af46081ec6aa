"""Inner optimizers: the update rules of within-task training, as pairs of pure functions."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = [
    "SGD",
    "Adam",
    "InnerOptimizer",
    "LearnedRate",
    "Parameters",
    "State",
    "adam",
    "learned_rate",
    "sgd",
]

Parameters = dict[str, Tensor]
State = dict[str, Parameters]


class InnerOptimizer(nn.Module):
    """An update rule: ``init`` gives its state, ``update`` the next parameters and state.

    Both are pure: nothing is changed in place, and derivatives flow through them. All tensors may
    carry a leading task dimension. What the rule learns (a step size, the weights of an LSTM) are
    its ``nn.Parameter``s, and so part of φ.
    """

    def register(self, parameters: Mapping[str, Tensor]) -> None:
        """Create what is learned per parameter; called once by the learner, with φ's shapes."""

    def init(self, parameters: Parameters) -> State:
        """The state before the first step: by name, a tensor for each parameter."""
        return {}

    def update(
        self, gradients: Parameters, state: State, parameters: Parameters, step: int
    ) -> tuple[Parameters, State]:
        """The parameters and the state after step number ``step`` (from 0)."""
        raise NotImplementedError


def _map_zero(parameters: Parameters) -> Parameters:
    return {name: torch.zeros_like(p) for name, p in parameters.items()}


class SGD(InnerOptimizer):
    """Gradient descent, with (Nesterov) momentum and weight decay, equal to ``torch.optim.SGD``."""

    def __init__(
        self, lr: float, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
    ) -> None:
        super().__init__()
        if nesterov and momentum == 0:
            raise ValueError("nesterov=True needs momentum > 0")
        self.lr, self.momentum, self.nesterov, self.weight_decay = lr, momentum, nesterov, weight_decay

    def init(self, parameters: Parameters) -> State:
        return {"velocity": _map_zero(parameters)} if self.momentum else {}

    def update(
        self, gradients: Parameters, state: State, parameters: Parameters, step: int
    ) -> tuple[Parameters, State]:
        if self.weight_decay:
            gradients = {k: g + self.weight_decay * parameters[k] for k, g in gradients.items()}
        if not self.momentum:
            return {k: p.sub(gradients[k], alpha=self.lr) for k, p in parameters.items()}, state
        velocity = {k: self.momentum * v + gradients[k] for k, v in state["velocity"].items()}
        ahead = (
            {k: gradients[k] + self.momentum * v for k, v in velocity.items()} if self.nesterov else velocity
        )
        return {k: p.sub(ahead[k], alpha=self.lr) for k, p in parameters.items()}, {"velocity": velocity}

    def extra_repr(self) -> str:
        return f"lr={self.lr}, momentum={self.momentum}"


class Adam(InnerOptimizer):
    """Adam (Kingma and Ba, 2015), equal to ``torch.optim.Adam``; Reptile uses it with β₁ = 0."""

    def __init__(self, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        super().__init__()
        self.lr, self.betas, self.eps = lr, betas, eps

    def init(self, parameters: Parameters) -> State:
        return {"mean": _map_zero(parameters), "square": _map_zero(parameters)}

    def update(
        self, gradients: Parameters, state: State, parameters: Parameters, step: int
    ) -> tuple[Parameters, State]:
        b1, b2 = self.betas
        mean = {k: torch.lerp(gradients[k], m, b1) for k, m in state["mean"].items()}
        square = {k: b2 * v + (1 - b2) * gradients[k].square() for k, v in state["square"].items()}
        rate, correction = self.lr / (1 - b1 ** (step + 1)), (1 - b2 ** (step + 1)) ** 0.5
        # A gradient of zero from the first step on has square 0: its root has no finite derivative there.
        root = {k: torch.where(v > 0, v, 1.0).sqrt() * (v > 0) for k, v in square.items()}
        new = {k: p - rate * mean[k] / (root[k] / correction + self.eps) for k, p in parameters.items()}
        return new, {"mean": mean, "square": square}

    def extra_repr(self) -> str:
        return f"lr={self.lr}, betas={self.betas}"


class LearnedRate(InnerOptimizer):
    """Gradient descent with learned step sizes, one per tensor or one per parameter (Meta-SGD).

    The sign is free, so the direction is learned too (Li et al. 2017, arXiv 1707.09835).

    Args:
        init: a constant, or the bounds of a uniform draw (Meta-SGD: 0.005 to 0.1).
        per: ``"tensor"`` or ``"parameter"``.
        learnable: False freezes the rates, which makes this plain gradient descent.
    """

    def __init__(
        self,
        initial: float | tuple[float, float] = (0.005, 0.1),
        per: Literal["tensor", "parameter"] = "parameter",
        learnable: bool = True,
    ) -> None:
        super().__init__()
        self.initial, self.per, self.learnable = initial, per, learnable
        self.rates = nn.ParameterDict()

    def register(self, parameters: Mapping[str, Tensor]) -> None:
        low, high = self.initial if isinstance(self.initial, tuple) else (self.initial, self.initial)
        for name, p in parameters.items():
            rate = torch.empty(p.shape if self.per == "parameter" else (), dtype=p.dtype, device=p.device)
            self.rates[_key(name)] = nn.Parameter(rate.uniform_(low, high), requires_grad=self.learnable)

    def update(
        self, gradients: Parameters, state: State, parameters: Parameters, step: int
    ) -> tuple[Parameters, State]:
        return {k: p - self.rates[_key(k)] * gradients[k] for k, p in parameters.items()}, state


def _key(name: str) -> str:
    return name.replace(".", "/")  # a module's parameter name may hold no dot


def sgd(lr: float, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0) -> SGD:
    """Gradient descent with rate ``lr``, see `SGD`."""
    return SGD(lr, momentum, nesterov, weight_decay)


def adam(lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> Adam:
    """Adam with rate ``lr``, see `Adam`."""
    return Adam(lr, betas, eps)


def learned_rate(
    initial: float | tuple[float, float] = (0.005, 0.1),
    per: Literal["tensor", "parameter"] = "parameter",
    learnable: bool = True,
) -> LearnedRate:
    """Gradient descent with learned step sizes, see `LearnedRate`."""
    return LearnedRate(initial, per, learnable)
