"""Answers and their targets: labels of classes, or numbers; and whether they fit a loss."""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.within.task_map import is_mapped

__all__ = [
    "AnswersAtTest",
    "are_labels",
    "fitting",
    "labels_up_to",
    "require_answerable",
    "require_scalar",
]

# The highest label of the support sets that are learned from in this thread.
_HIGHEST: ContextVar[int | None] = ContextVar("highest", default=None)

# Losses of torch's that compare each answer with a number; as modules too.
_DISTANCES = frozenset({F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss})
_OF_MODULES = frozenset({nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss})
_OF_NUMBERS = frozenset(
    {F.poisson_nll_loss, F.binary_cross_entropy, F.binary_cross_entropy_with_logits, F.soft_margin_loss}
    | {F.kl_div, nn.PoissonNLLLoss, nn.BCELoss, nn.BCEWithLogitsLoss, nn.SoftMarginLoss, nn.KLDivLoss}
)


class AnswersAtTest(NamedTuple):
    """What a learner answers at test.

    Attributes:
        final: ``[B, Q, ways]``, as `LearningAlgorithm.solve` gives them.
        alone: ``[B, Q, ways]``, those of which none depends on another query; None: nobody asked.
        by_step: ``[steps + 1, B, Q, ways]``, after 0, 1, … inner steps; None where there are no steps.
    """

    final: Tensor
    alone: Tensor | None = None
    by_step: Tensor | None = None


def are_labels(answers: Tensor, targets: Tensor) -> bool:
    """Whether targets are class numbers of the answers: one for each example, or for each position of it.

    Args:
        answers: of one task ``[n, classes, *positions]``.
        targets: ``[n, *positions]`` where they are labels.
    """
    whole = not targets.is_floating_point() and not targets.is_complex()
    if not whole or answers.dim() < 2 or answers.shape[1] < 2:
        return False
    return targets.shape == answers.shape[:1] + answers.shape[2:]


def require_answerable(answers: Tensor, targets: Tensor) -> None:
    """Raise an `FphiError` if a label among a batch of tasks' ``targets`` is none of the answers' classes.

    Args:
        answers: ``[B, n, classes, *positions]``.
        targets: ``[B, n, *positions]``; what are no labels are not looked at.
    """
    if not targets.numel() or not are_labels(answers[0], targets[0]):
        return
    highest, ways = int(targets.max()), answers.shape[2]
    if highest >= ways:
        raise FphiError(
            f"a query has the label {highest}, and there are answers for 0 to {ways - 1} only: give the "
            "support set examples of its class, or choose a learner of more ways"
        )


def require_scalar(loss: object) -> None:
    """Raise an `FphiError` if the loss of a task is not one number."""
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        shape = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise FphiError(f"the loss of a task is {shape}; it must be one number, as the mean is")


@contextmanager
def labels_up_to(support_y: Tensor) -> Iterator[None]:
    """Within it the highest label of the support sets is known, without a look at the device in inner steps.

    On a GPU a label beyond the outputs would end the process's work with it for good.
    """
    known = _HIGHEST.get()
    if not support_y.is_floating_point() and not support_y.is_complex() and not is_mapped(support_y):
        known = int(support_y.max())
    token = _HIGHEST.set(known)
    try:
        yield
    finally:
        _HIGHEST.reset(token)


def _require_outputs(answers: Tensor) -> None:
    highest = _HIGHEST.get()
    if highest is not None and highest >= answers.shape[1]:
        raise FphiError(
            f"support.y has the label {highest}, and the network has outputs for 0 to {answers.shape[1] - 1} "
            "only: number the classes from 0, or build it with more outputs"
        )


def fitting(loss: object, answers: Tensor, targets: Tensor) -> Tensor:
    """The targets of one task for one of torch's losses: whole numbers become those of a regression.

    Args:
        loss: any; only torch's own are known.
        answers: ``[n, *answer]``.
        targets: ``[n, *target]``.

    Raises:
        FphiError: the shapes do not fit, as where torch would compare each answer with each target.
    """
    while isinstance(loss, partial):
        loss = loss.func
    kind = type(loss) if isinstance(loss, nn.Module) else loss
    if isinstance(kind, Hashable) and (kind in _DISTANCES or kind in _OF_MODULES or kind in _OF_NUMBERS):
        if answers.shape != targets.shape:
            raise FphiError(
                f"answers are {list(answers.shape)} and targets {list(targets.shape)}; a regression needs "
                "both the same: reshape y, or change the network's outputs"
            )
        return targets if kind in _OF_NUMBERS else _as_numbers(answers, targets)
    if are_labels(answers, targets):
        _require_outputs(answers)
    elif loss is F.cross_entropy:
        _refuse_labels(answers, targets)
        return _as_numbers(answers, targets) if targets.shape == answers.shape else targets
    return targets


def _as_numbers(answers: Tensor, targets: Tensor) -> Tensor:
    """In a type whose difference to the answers has a derivative."""
    full = (torch.float32, torch.float64)
    if answers.dtype in full:
        return targets.to(answers.dtype)
    return targets if targets.is_floating_point() else targets.float()


def _refuse_labels(answers: Tensor, targets: Tensor) -> None:
    """Raise unless the targets are probabilities of classes."""
    given = f"answers are {list(answers.shape)} and targets {list(targets.shape)} of {str(targets.dtype)[6:]}"
    if targets.shape == answers.shape and not targets.is_floating_point():
        raise FphiError(f"{given}, as one-hot ones are; cross-entropy needs class numbers: give y.argmax(1)")
    if targets.shape != answers.shape and not (answers.shape[1:2] == (1,) and targets.dim() == 1):
        numbers = list(answers.shape[:1] + answers.shape[2:])
        raise FphiError(
            f"{given}; cross-entropy needs whole class numbers {numbers}, or a probability for each answer"
        )
