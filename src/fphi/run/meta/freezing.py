"""Parts of a learner that a training leaves as they are: parameters, and the statistics of norm layers."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fphi.errors import FphiError
from fphi.learnable.base import LearningAlgorithm
from fphi.learnable.modes import has_fresh_statistics
from fphi.networks.batch_norm import BatchNorm
from fphi.run.meta.evaluate import calibrate_on
from fphi.tasks.distribution import TaskDistribution

__all__ = ["frozen", "take_statistics"]


@contextmanager
def frozen(learner: LearningAlgorithm, part: str | None) -> Iterator[None]:
    """Within it ``part`` is as at test: no optimizer moves it, and norm layers use what they have stored.

    Raises:
        FphiError: it is no part, or all there is to learn.
    """
    learning = {name: p for name, p in learner.named_parameters() if p.requires_grad}
    chosen = [p for name, p in learning.items() if part is not None and _within(part, name)]
    if part is not None and not 0 < len(chosen) < len(learning):
        parts = sorted({name.split(".")[0] for name in learning})
        what = "every parameter" if chosen else "no parameter"
        raise FphiError(f"--freeze {part} is {what} of this learner; it has the parts {', '.join(parts)}")
    modules = [] if part is None else [m for name, m in learner.named_modules() if _within(part, name)]
    layers = [m for m in modules if isinstance(m, BatchNorm) and m.is_running]
    foreign = [m for m in modules if isinstance(m, _BatchNorm) and m.training and not has_fresh_statistics(m)]
    _keep(chosen, layers, foreign, True)
    try:
        yield
    finally:
        _keep(chosen, layers, foreign, False)


def take_statistics(learner: LearningAlgorithm, tasks: TaskDistribution, loaded: Collection[str]) -> None:
    """Give frozen norm layers that were ``loaded`` without any statistics those of the training tasks."""
    layers = [
        m
        for name, m in learner.named_modules()
        if isinstance(m, BatchNorm) and m.keeps_statistics and f"{name}.running_mean" not in loaded
    ]
    if not layers:
        return
    for layer in layers:
        layer.keeps_statistics = False
    calibrate_on(learner, tasks)
    for layer in layers:
        layer.keeps_statistics = True


def _within(part: str, name: str) -> bool:
    return f"{name}.".startswith(f"{part}.")


def _keep(
    parameters: Collection[nn.Parameter],
    layers: Collection[BatchNorm],
    foreign: Collection[nn.Module],
    keep: bool,
) -> None:
    for parameter in parameters:
        parameter.requires_grad_(not keep)
    for layer in layers:
        layer.keeps_statistics = keep
    for module in foreign:
        module.training = not keep
