"""Inner optimizers: the update rules of within-task training, as pairs of pure functions."""

import math
from collections.abc import Mapping
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.ranges import Range, checked

__all__ = [
    "SGD",
    "InnerOptimizer",
    "LearnedRate",
    "Parameters",
    "RatePer",
    "State",
    "UpdateRule",
    "kept_where_fitting",
    "learned_rate",
    "least_divergent",
    "sgd",
    "zeros_like",
]

Parameters = dict[str, Tensor]
State = dict[str, Parameters]
RatePer = Literal["all", "tensor", "parameter"]


class UpdateRule(Protocol):
    """What makes an update rule: two pure functions.

    Nothing is changed in place, and derivatives flow through both. All tensors may carry a leading task
    dimension. Any object that has them will do; a rule that learns something (a step size, the weights
    of an LSTM) is an `InnerOptimizer`.
    """

    def init(self, parameters: Parameters) -> State:
        """The state before the first step: by name a tensor for each parameter, or ``{}``."""

    def update(
        self, gradients: Parameters, state: State, parameters: Parameters, step: int
    ) -> tuple[Parameters, State]:
        """The parameters and the state after step number ``step`` (from 0)."""


class InnerOptimizer(nn.Module):
    """An `UpdateRule` that is a module: what is a parameter of it is learned, as part of φ.

    Attributes:
        reads_loss: whether a step looks at the loss too: `observe` is told it before each `update`.
    """

    reads_loss: bool = False

    @property
    def is_shared(self) -> bool:
        """Whether what is learned serves any parameter; else it belongs to those that were registered."""
        return True

    def register(self, parameters: Mapping[str, Tensor]) -> None:
        """Create what is learned per parameter; called once by the learner, with φ's shapes.

        A rule that another learner has trained has been registered before: what of it fits is kept.
        """

    def most_curvature(self) -> float:
        """h, where steps on h/2 θ² and all that is steeper grow without end; infinite: it is not known."""
        return math.inf

    def init(self, parameters: Parameters) -> State:
        """The state before the first step: by name, a tensor for each parameter."""
        return {}

    def observe(self, losses: Tensor, state: State) -> State:
        """The state that knows the loss: ``[]`` of one task, ``[B]`` where tensors have a task dimension."""
        return state

    def update(
        self, gradients: Parameters, state: State, parameters: Parameters, step: int
    ) -> tuple[Parameters, State]:
        """The parameters and the state after step number ``step`` (from 0)."""
        raise NotImplementedError


def zeros_like(parameters: Parameters) -> Parameters:
    """A state to begin with."""
    return {name: torch.zeros_like(p) for name, p in parameters.items()}


class SGD(InnerOptimizer):
    """Gradient descent, with (Nesterov) momentum and weight decay, equal to ``torch.optim.SGD``.

    Args:
        lr: step size.
        momentum: share of the last step that is added to the next; 0: none.
        nesterov: take the gradient's step ahead of the momentum's.
        weight_decay: added to the gradients, times the parameters.

    Raises:
        FphiError: a number is out of its range, or ``nesterov`` has no momentum.
    """

    @checked(momentum=Range(0, 1, below=True))
    def __init__(
        self, lr: float, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
    ) -> None:
        super().__init__()
        if nesterov and momentum == 0:
            raise FphiError(f"nesterov=True needs a momentum, and it is {momentum}; give one, as 0.9")
        self.lr, self.momentum, self.nesterov, self.weight_decay = lr, momentum, nesterov, weight_decay

    def most_curvature(self) -> float:
        return least_divergent(self.lr, self.momentum, self.nesterov) - self.weight_decay

    def init(self, parameters: Parameters) -> State:
        return {"velocity": zeros_like(parameters)} if self.momentum else {}

    def update(
        self, gradients: Parameters, state: State, parameters: Parameters, step: int
    ) -> tuple[Parameters, State]:
        if self.weight_decay:
            gradients = {k: g + self.weight_decay * parameters[k] for k, g in gradients.items()}
        if not self.momentum:
            return {k: p.add(gradients[k], alpha=-self.lr) for k, p in parameters.items()}, state
        velocity = {k: self.momentum * v + gradients[k] for k, v in state["velocity"].items()}
        ahead = (
            {k: gradients[k] + self.momentum * v for k, v in velocity.items()} if self.nesterov else velocity
        )
        return {k: p.add(ahead[k], alpha=-self.lr) for k, p in parameters.items()}, {"velocity": velocity}

    def extra_repr(self) -> str:
        return f"lr={self.lr}, momentum={self.momentum}"


class LearnedRate(InnerOptimizer):
    """Gradient descent whose step sizes are learned with the rest of φ.

    One for each parameter is Meta-SGD (Li et al. 2017, arXiv 1707.09835). A rate may become negative,
    so that one for each parameter learns the direction too. Another learner that is given a trained one
    goes on from its rates, for tensors of the same names and shapes.

    Args:
        initial: the rate to begin with, or the bounds of a uniform draw (Meta-SGD: 0.005 to 0.1).
        per: ``"all"``: one number, the rate of all parameters; ``"tensor"``: one for each tensor (the
            weights of a layer, its biases, …); ``"parameter"``: one for each entry of each tensor.
        learnable: False freezes the rates, which makes this plain gradient descent.
        steps: inner steps that have rates of their own (MAML++, arXiv 1810.09502); later ones take those of
            the last. None: all steps have the same.
    """

    @checked(initial=Range())
    def __init__(
        self,
        initial: float | tuple[float, float] = (0.005, 0.1),
        per: RatePer = "parameter",
        learnable: bool = True,
        steps: int | None = None,
    ) -> None:
        super().__init__()
        low, high = initial if isinstance(initial, tuple) else (initial, initial)
        if low > high:
            raise FphiError(f"the lowest first rate is {low} and the highest {high}; give the lower first")
        self.initial, self.per, self.learnable, self.steps = initial, per, learnable, steps
        self.rates = nn.ParameterDict()

    @property
    def is_shared(self) -> bool:
        return self.per == "all"

    def register(self, parameters: Mapping[str, Tensor]) -> None:
        low, high = self.initial if isinstance(self.initial, tuple) else (self.initial, self.initial)
        first = dict(list(parameters.items())[:1])
        rates: dict[str, nn.Parameter] = {}
        for name, p in (first if self.per == "all" else parameters).items():
            shape = p.shape if self.per == "parameter" else ()
            shape = shape if self.steps is None else (self.steps, *shape)
            rate = torch.empty(shape, dtype=p.dtype, device=p.device).uniform_(low, high)
            rates[self._key(name)] = nn.Parameter(rate, requires_grad=self.learnable)
        self.rates = kept_where_fitting(self.rates, rates)

    def most_curvature(self) -> float:
        # Of rates by step the smallest: one step that is too long is made up for by the others.
        rates = [rate if self.steps is None else rate.amin(0) for rate in self.rates.values()]
        return min((least_divergent(rate.max().item()) for rate in rates if rate.numel()), default=math.inf)

    def update(
        self, gradients: Parameters, state: State, parameters: Parameters, step: int
    ) -> tuple[Parameters, State]:
        return {k: p - self._rate(k, step) * gradients[k] for k, p in parameters.items()}, state

    def _rate(self, name: str, step: int) -> Tensor:
        key = self._key(name)
        if key not in self.rates:
            raise FphiError(
                f"there is no learned rate for {name}, which required no gradient when the learner was made: "
                "make the learner after it does, or freeze it again"
            )
        rate: Tensor = self.rates[key]
        return rate if self.steps is None else rate[min(step, self.steps - 1)]

    def _key(self, name: str) -> str:
        return (
            "all" if self.per == "all" else name.replace(".", "/")
        )  # the name of a module's parameter has no dot


def least_divergent(rate: float, momentum: float = 0.0, nesterov: bool = False) -> float:
    """The least curvature at which gradient descent grows without end: 2 / rate without momentum."""
    ahead = 1 + 2 * momentum if nesterov else 1.0
    return 2 * (1 + momentum) / (ahead * rate) if min(rate, ahead) > 0 else math.inf


def kept_where_fitting(before: nn.ParameterDict, new: Mapping[str, nn.Parameter]) -> nn.ParameterDict:
    """Of each parameter of ``new`` the value that it has before, if there is one of its name and shape."""
    for key, parameter in new.items():
        if key in before and before[key].shape == parameter.shape:
            parameter.data = before[key].detach().to(parameter)
    return nn.ParameterDict(new)


def sgd(lr: float, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0) -> SGD:
    """Gradient descent with rate ``lr``, see `SGD`."""
    return SGD(lr, momentum, nesterov, weight_decay)


def learned_rate(
    initial: float | tuple[float, float] = (0.005, 0.1),
    per: RatePer = "parameter",
    learnable: bool = True,
    steps: int | None = None,
) -> LearnedRate:
    """Gradient descent with learned step sizes: ``learned_rate(0.1, per="all")`` learns one number.

    Args:
        initial: the rate to begin with, or the bounds of a uniform draw.
        per: ``"all"`` parameters have one rate, or each ``"tensor"``, or each ``"parameter"`` (Meta-SGD).
        learnable: False freezes the rates.
        steps: inner steps that have rates of their own; None: all steps have the same.

    >>> import fphi
    >>> rule = fphi.learned_rate(0.1, per="all")
    >>> learner = fphi.GradientLearner(torch.nn.Linear(4, 5), rule, steps=1)
    >>> {name: round(p.item(), 3) for name, p in learner.optimizer.named_parameters()}
    {'rates.all': 0.1}
    """
    return LearnedRate(initial, per, learnable, steps)
