"""One meta-step: every rank takes the gradient on its share of the batch, all take the same step."""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.objective.meta_gradient import mean_of_tasks, summed_gradient
from fphi.objective.summation import summand
from fphi.run.disk.checkpoint import LAST, has_begun
from fphi.run.disk.finite import not_finite
from fphi.run.meta.ranks import Ranks
from fphi.run.meta.training import MetaTraining
from fphi.tasks.types import Task
from fphi.within.progress import tell_progress
from fphi.within.time_limit import TimeIsUpError, time_limit

__all__ = ["Requests", "meta_step", "require_finite_weights"]


class Requests(NamedTuple):
    """What a rank asks for after this step; all ranks do it if any asks.

    Attributes:
        stop: end the training here: it was interrupted.
        save: write a checkpoint: the last one is old.
        end: end the training here: its time is up.
    """

    stop: bool
    save: bool
    end: bool


def meta_step(
    ranks: Ranks, run: MetaTraining, step: int, ask: Callable[[], Requests], end: float
) -> tuple[float | None, Requests]:
    """Update φ once, on tasks step·B to (step+1)·B−1.

    The learner, and every module within, that has a method ``set_progress`` is told step / steps before:
    see `fphi.within.progress`.

    Args:
        ranks: this process and the others.
        run: what is trained.
        step: meta-steps done before.
        ask: called once the gradient is known, so that a signal during its computation counts.
        end: by ``time.monotonic()``; a process that works alone gives this step up once it is past.

    Returns:
        The mean task loss before the update, None where the step was given up and φ is as it was; and what
        every rank is to do now.

    Raises:
        FphiError: the loss or a gradient is not finite; φ is as it was.
    """
    training = run.training
    _seed(_stream(training.seed, step, ranks.rank), ranks.device)
    whole = range(step * training.meta_batch, (step + 1) * training.meta_batch)
    own = ranks.share(whole, training.chunk_size or 1)
    tell_progress(run.learner, step / training.steps)
    batch = run.tasks.drawn("train", list(own)).to(ranks.device)
    try:
        with ranks.precision(), time_limit(end if ranks.size == 1 else None):
            loss, sums = _gradient(ranks, run, batch, step + 1)
    except TimeIsUpError:
        return None, ask()
    requests = ask()
    if ranks.size > 1:
        loss, sums, requests = _over_ranks(ranks, loss, sums, requests)
    loss, gradients = mean_of_tasks(run.learner, len(whole), loss, sums)
    culprit = not_finite({"the loss": loss} | {f"the gradient of {n}": g for n, g in gradients.items()})
    if culprit is not None:
        ranks.first(lambda: _give_up(run, step + 1, culprit))
    run.optimizer.step(run.learner, gradients, step / training.steps)
    return float(loss), requests


def _gradient(ranks: Ranks, run: MetaTraining, batch: Task, step: int) -> tuple[Tensor, dict[str, Tensor]]:
    """The sum over this rank's share; of tasks that it refuses, where others wait for it, infinite."""
    try:
        training = run.training
        size, threads = training.chunk_size, training.threads
        return summed_gradient(
            run.learner, batch, chunk_size=size, threads=threads, shared_by=ranks.of_this_machine
        )
    except FphiError as error:
        if ranks.size == 1:
            raise FphiError(f"meta-step {step}: {error}{_kept(run)}") from error
    learned = {name: p for name, p in run.learner.named_parameters() if p.requires_grad}
    exact = run.training.chunk_size is not None
    zeros = {name: summand(torch.zeros_like(p), exact) for name, p in learned.items()}
    kind = next((p.dtype for p in learned.values()), torch.get_default_dtype())
    # Not nan, in whose place a learner may have something else.
    return summand(torch.zeros((), device=ranks.device, dtype=kind), exact) + torch.inf, zeros


def _stream(seed: int, step: int, rank: int) -> int:
    """A seed for the random numbers of this step, so that no generator's state has to be kept."""
    digest = hashlib.blake2b(f"{seed} {step} {rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _seed(seed: int, device: torch.device) -> None:
    # Not torch.manual_seed: without a GPU it remembers every call, with its stack, in case one appears.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def _over_ranks(
    ranks: Ranks, loss: Tensor, sums: dict[str, Tensor], requests: Requests
) -> tuple[Tensor, dict[str, Tensor], Requests]:
    """Sums over the whole batch, from those of each rank; one message for all."""
    parts = [loss.flatten(), *(part.flatten() for part in sums.values())]
    asked = torch.tensor([float(request) for request in requests], device=loss.device)
    message = ranks.total(torch.cat([*parts, asked]))
    loss_of_all, *totals, granted = torch.split(message, [*map(len, parts), len(asked)])
    shaped = (total.view_as(own).to(own.dtype) for own, total in zip(sums.values(), totals, strict=True))
    over_ranks = dict(zip(sums, shaped, strict=True))
    return loss_of_all.view_as(loss), over_ranks, Requests(*(bool(votes) for votes in granted.tolist()))


def require_finite_weights(ranks: Ranks, run: MetaTraining, step: int) -> None:
    """Raise if the updates up to meta-step ``step`` made weights nan or infinite: they are not to be kept."""
    culprit = not_finite(run.learner.state_dict(), run.learner)
    if culprit is not None:
        ranks.first(lambda: _give_up(run, step, culprit))


def _give_up(run: MetaTraining, step: int, culprit: str) -> None:
    raise FphiError(
        f"{culprit} became nan or infinite in meta-step {step}; try a smaller inner or outer learning rate, "
        f"or clip the gradient{_kept(run)}"
    )


def _kept(run: MetaTraining) -> str:
    if run.out is None or not has_begun(run.out):
        return ""
    return f" ({run.out / LAST} keeps the last good state)"
