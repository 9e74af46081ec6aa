"""Training and evaluation mode of learners, and of the modules of others within them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fphi.networks.batch_norm import BatchNorm
from fphi.within.stand_in import EXCHANGE, stand_in

__all__ = ["evaluation_mode", "has_fresh_statistics", "keep_batch_statistics", "uses_query_batch"]

M = TypeVar("M", bound=nn.Module)


@contextmanager
def evaluation_mode(learner: M) -> Iterator[M]:
    """A learner in ``eval()`` that answers as this one would; this one stays as it is."""
    copied = stand_in(learner, {})
    if copied is not None:
        yield copied.eval()
        return
    with EXCHANGE:
        was_training = {m: m.training for m in learner.modules()}
        try:
            yield learner.eval()
        finally:
            for module, training in was_training.items():
                module.training = training


def keep_batch_statistics(learner: nn.Module) -> None:
    """Let foreign norm layers use the batch's statistics in ``eval()`` too, where their own hold nothing."""
    for module in learner.modules():
        if not isinstance(module, BatchNorm) and has_fresh_statistics(module):
            module.training = True


def has_fresh_statistics(module: nn.Module) -> bool:
    """Whether a module has running statistics, torch's or of that name, and they are as they begin."""
    mean, variance = (getattr(module, f"running_{what}", None) for what in ("mean", "var"))
    if not isinstance(mean, Tensor) or not isinstance(variance, Tensor):
        return False
    return not bool(mean.any()) and bool((variance == 1).all())


def uses_query_batch(module: nn.Module) -> bool:
    """Whether it is a norm layer that takes its statistics from the rows at hand."""
    if isinstance(module, BatchNorm):
        return module.mode in ("query-batch", "per-step") or (module.is_running and module.uses_batch)
    return isinstance(module, _BatchNorm) and (module.training or module.running_mean is None)
