"""Training and evaluation mode of learners, and of the modules of others within them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from fphi.within.stand_in import EXCHANGE, stand_in

__all__ = ["evaluation_mode", "keep_batch_statistics"]

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
    """Let torch's norm layers use the batch's statistics in ``eval()`` too, where their own hold nothing."""
    for module in learner.modules():
        if isinstance(module, _NormBase) and _untouched(module):
            module.training = True


def _untouched(norm: _NormBase) -> bool:
    """Whether the running statistics are those that such a layer begins with."""
    if norm.running_mean is None or norm.running_var is None:
        return False
    return not bool(norm.running_mean.any()) and bool((norm.running_var == 1).all())
