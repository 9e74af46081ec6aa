"""Update rules that divide by the root of a running mean of squared gradients: Adam and RMSprop."""

import torch
from torch import Tensor
from torch.autograd import forward_ad

from fphi.ranges import Range, checked
from fphi.within.optimizers import InnerOptimizer, Parameters, State, zeros_like

__all__ = ["Adam", "RMSprop", "adam"]


class Adam(InnerOptimizer):
    """Adam (Kingma and Ba, 2015), equal to ``torch.optim.Adam``; Reptile uses it with β₁ = 0.

    Args:
        lr: step size.
        betas: decay of the running means of the gradient, and of its square.
        eps: added to the root of the latter.
    """

    @checked(betas=Range(0, 1, below=True))
    def __init__(self, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        super().__init__()
        self.lr, self.betas, self.eps = lr, betas, eps

    def init(self, parameters: Parameters) -> State:
        return {"mean": zeros_like(parameters), "square": zeros_like(parameters)}

    def update(
        self, gradients: Parameters, state: State, parameters: Parameters, step: int
    ) -> tuple[Parameters, State]:
        b1, b2 = self.betas
        mean = {k: torch.lerp(gradients[k], m, b1) for k, m in state["mean"].items()}
        square = {k: mean_square(v, gradients[k], b2) for k, v in state["square"].items()}
        rate, correction = self.lr / (1 - b1 ** (step + 1)), (1 - b2 ** (step + 1)) ** 0.5
        moved = {
            k: torch.addcdiv(p, mean[k], root(square[k], correction, self.eps), value=-rate)
            for k, p in parameters.items()
        }
        return moved, {"mean": mean, "square": square}

    def extra_repr(self) -> str:
        return f"lr={self.lr}, betas={self.betas}"


class RMSprop(InnerOptimizer):
    """Gradients over the root of a running mean of their squares, equal to ``torch.optim.RMSprop``.

    Args:
        lr: step size.
        alpha: decay of the running mean.
        eps: added to the root.
    """

    @checked(alpha=Range(0, 1, below=True))
    def __init__(self, lr: float, alpha: float = 0.99, eps: float = 1e-8) -> None:
        super().__init__()
        self.lr, self.alpha, self.eps = lr, alpha, eps

    def init(self, parameters: Parameters) -> State:
        return {"square": zeros_like(parameters)}

    def update(
        self, gradients: Parameters, state: State, parameters: Parameters, step: int
    ) -> tuple[Parameters, State]:
        square = {k: mean_square(v, gradients[k], self.alpha) for k, v in state["square"].items()}
        moved = {
            k: torch.addcdiv(p, gradients[k], root(square[k], 1.0, self.eps), value=-self.lr)
            for k, p in parameters.items()
        }
        return moved, {"square": square}


def adam(lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> Adam:
    """Adam with rate ``lr``, see `Adam`."""
    return Adam(lr, betas, eps)


def mean_square(before: Tensor, gradient: Tensor, decay: float) -> Tensor:
    """The running mean of squared gradients, after one more."""
    kept = decay * before
    if _are_numbers_alone():
        return kept.addcmul_(gradient, gradient, value=1 - decay)
    return torch.addcmul(kept, gradient, gradient, value=1 - decay)


def root(square: Tensor, correction: float, eps: float) -> Tensor:
    """``√square / correction + eps`` of a `mean_square`, whose derivative where that is 0 is 0 too."""
    if _are_numbers_alone():
        return square.sqrt().div_(correction).add_(eps)
    # It is 0 where all gradients were, and a root has no finite derivative there.
    return torch.where(square > 0, square, 1.0).sqrt() * (square > 0) / correction + eps


def _are_numbers_alone() -> bool:
    """Whether nobody takes derivatives or batches: then fresh memory is what an update costs most."""
    return (
        not torch.is_grad_enabled()
        and forward_ad._current_level < 0
        and torch._C._functorch.peek_interpreter_stack() is None
    )
