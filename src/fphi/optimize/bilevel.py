"""The bilevel search of DARTS: α learns from validation examples, w from training examples, step by step.

Liu, Simonyan, Yang, ICLR 2019, arXiv 1806.09055. All randomness of epoch e comes from (seed, e).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from fphi.errors import FphiError
from fphi.learnable.mixture import Mixture
from fphi.learnable.space import Tokens
from fphi.objective.hypergradient import Hypergradient, Step, exact, finite_difference, first_order
from fphi.optimize.epochs import EpochRow, rows_of
from fphi.optimize.restored import restore_optimizer
from fphi.tasks.supervised import Supervised
from fphi.tasks.types import Examples
from fphi.within import Parameters
from fphi.within.trained import accuracy

__all__ = ["Bilevel", "BilevelPhase"]


@dataclass(frozen=True)
class BilevelPhase:
    """How α and w learn; the defaults but for the epochs are the paper's.

    Args:
        epochs: of the training examples (paper: 50).
        batch_size: examples of a training and of a validation minibatch.
        order: 2: α's gradient is taken at the w that the next step would lead to; 1: at w as it is.
        derivative: of the second order: by finite difference, or exact, which takes twice the memory.
        scale: distance from w to the two points of the difference. The paper's crosses many kinks of a small
            network's ReLUs, so that difference and derivative differ; towards 0 they agree, and float32
            rounds more.
        lr: of w in the first step; it falls along half a cosine.
        lr_end: to this.
        momentum: of w.
        weight_decay: of w.
        clip_norm: longest gradient of w.
        alpha_lr: of α, by Adam with β = (0.5, 0.999).
        alpha_weight_decay: of α.
        max_skips: the search stops after an epoch that ends with more skip connections in the derived cell,
            the normal one if there are two, and the result is what was derived before (Liang et al. 2019,
            arXiv 1909.06035: 1, of 8 operations). Until an epoch has as few, it goes on. None: it never
            stops early.
    """

    epochs: int = 10
    batch_size: int = 64
    order: Literal[1, 2] = 2
    derivative: Literal["difference", "exact"] = "difference"
    scale: float = 0.01
    lr: float = 0.025
    lr_end: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 3e-4
    clip_norm: float = 5.0
    alpha_lr: float = 3e-4
    alpha_weight_decay: float = 1e-3
    max_skips: int | None = None

    def __post_init__(self) -> None:
        """Refuse what trains nothing."""
        if min(self.epochs, self.batch_size) < 1 or not 0 <= self.lr_end <= self.lr or self.alpha_lr < 0:
            raise FphiError(
                f"epochs={self.epochs}, batch_size={self.batch_size}, lr={self.lr}, lr_end={self.lr_end}, "
                f"alpha_lr={self.alpha_lr}: the first two must be at least 1, and 0 <= lr_end <= lr, "
                "0 <= alpha_lr"
            )
        if not (
            0 <= self.momentum < 1 and min(self.weight_decay, self.alpha_weight_decay) >= 0 < self.clip_norm
        ):
            raise FphiError(
                f"momentum={self.momentum}, weight_decay={self.weight_decay}, alpha_weight_decay="
                f"{self.alpha_weight_decay}, clip_norm={self.clip_norm}: a momentum from 0 to below 1, "
                "decays from 0, and a norm above 0"
            )
        if self.order not in (1, 2) or self.scale <= 0 or (self.max_skips is not None and self.max_skips < 0):
            raise FphiError(
                f"order={self.order}, scale={self.scale}, max_skips={self.max_skips}: the order is 1 or 2, "
                "the scale above 0, max_skips at least 0"
            )


class Bilevel:
    """A search that stands somewhere: w, α, both optimizers, and the rows of its epochs.

    Args:
        supernet: of mixed operations; its parameters are w and α.
        data: w learns from ``data.train``, α from ``data.validation``.
        seed: of everything random.
        phase: settings.
    """

    def __init__(
        self, supernet: Mixture, data: Supervised, seed: int = 0, phase: BilevelPhase | None = None
    ) -> None:
        self._layout = _layout(supernet)
        self.supernet: Mixture = supernet.to(memory_format=self._layout)  # type: ignore[call-overload]
        self.data, self.seed = data, seed
        self.phase = p = phase or BilevelPhase()
        self._weights = list(supernet.weights().values())
        self.sgd = torch.optim.SGD(self._weights, lr=p.lr, momentum=p.momentum, weight_decay=p.weight_decay)
        self.adam = torch.optim.Adam(
            supernet.architecture().values(),
            lr=p.alpha_lr,
            betas=(0.5, 0.999),
            weight_decay=p.alpha_weight_decay,
        )
        self.rows: list[EpochRow] = []
        self._good: Tokens | None = None

    @property
    def ended(self) -> bool:
        """Whether all epochs are done, or the search was stopped early."""
        return len(self.rows) >= self.phase.epochs or any(row["collapsed"] for row in self.rows)

    @property
    def epochs(self) -> int:
        """Of the whole search, if it does not stop early."""
        return self.phase.epochs

    @property
    def module(self) -> nn.Module:
        """What a checkpoint has the parameters and buffers of."""
        return self.supernet

    def step(self) -> EpochRow:
        """The next epoch.

        Raises:
            FphiError: w diverges.
        """
        self.rows.append(self.epoch(len(self.rows)))
        return self.rows[-1]

    def result(self) -> Tokens:
        """What α prefers; of a search that was stopped early, what it preferred before."""
        collapsed = any(row["collapsed"] for row in self.rows)
        return self._good if collapsed and self._good is not None else self.supernet.derive()

    def epoch(self, number: int) -> EpochRow:
        """Epoch ``number``, from 0: for each training minibatch a step of α, then one of w.

        Its row has the mean training loss, the supernet's accuracy on all validation examples, the mean
        entropy of the operations' shares, the skip connections of each derived cell, and whether the
        search ends here because there are too many of them.
        """
        generator = torch.Generator().manual_seed(Random(f"{self.seed}/{number}").getrandbits(63))
        size, layout = self.phase.batch_size, self._layout
        batches = _minibatches(self.data.train, size, generator, layout)
        validation = _endless(self.data.validation, size, generator, layout)
        lr = self.rate(number)
        self.sgd.param_groups[0]["lr"] = lr
        losses = []
        for batch in batches:
            self.alpha_step(batch, next(validation))
            losses.append(self.weight_step(batch))
        skips = self.supernet.skips()
        return {
            "epoch": number + 1,
            "train_loss": sum(losses) / len(losses),
            "validation_accuracy": accuracy(self.supernet, self.data.validation),
            "entropy": self.supernet.entropy(),
            **{f"skips_{kind}": count for kind, count in skips.items()},
            "lr": lr,
            "collapsed": float(self._collapses(next(iter(skips.values())))),
        }

    def alpha_step(self, batch: Examples, validation: Examples) -> None:
        """One step of α; w and the running statistics of batch norms stay as they are."""
        gradient = self.hypergradient(batch, validation).gradient
        for name, alpha in self.supernet.architecture().items():
            alpha.grad = gradient[name]
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)

    def hypergradient(self, batch: Examples, validation: Examples) -> Hypergradient:
        """The validation loss and its gradient in α, by the order and the form of the settings."""
        self.supernet.train()
        theta, phi = self.supernet.weights(), self.supernet.architecture()
        on_validation = partial(self.loss, validation)
        if self.phase.order == 1:
            return first_order(on_validation, theta, phi)
        form = (
            exact if self.phase.derivative == "exact" else partial(finite_difference, scale=self.phase.scale)
        )
        return form(partial(self.loss, batch), on_validation, theta, phi, self.ahead())

    def ahead(self) -> Step:
        """The step that w is about to take."""
        group = self.sgd.param_groups[0]
        velocity = {
            name: self.sgd.state[w]["momentum_buffer"]
            for name, w in self.supernet.weights().items()
            if "momentum_buffer" in self.sgd.state[w]
        }
        return Step(group["lr"], group["momentum"], group["weight_decay"], velocity)

    def loss(self, batch: Examples, theta: Parameters, phi: Parameters) -> Tensor:
        """The mean loss with w and α in place of the supernet's own; it changes nothing."""
        # Batch norms write their running statistics into these copies.
        buffers = {name: b.clone() for name, b in self.supernet.named_buffers()}
        logits = functional_call(self.supernet, {**buffers, **theta, **phi}, (batch.x,))
        return cross_entropy(logits, batch.y)

    def weight_step(self, batch: Examples) -> float:
        """One step of w with α fixed; the loss before it."""
        self.supernet.train()
        loss = cross_entropy(self.supernet(batch.x), batch.y)
        slopes = torch.autograd.grad(loss, self._weights, materialize_grads=True)
        for w, slope in zip(self._weights, slopes, strict=True):
            w.grad = slope
        norm = torch.nn.utils.clip_grad_norm_(self._weights, self.phase.clip_norm)
        if not torch.isfinite(norm):
            raise FphiError(f"the shared weights diverge (loss {float(loss.detach())}); choose a smaller lr")
        self.sgd.step()
        self.sgd.zero_grad(set_to_none=True)
        return float(loss.detach())

    def state_dict(self) -> dict[str, Any]:
        """Everything but the parameters and buffers."""
        good = None if self._good is None else list(self._good)
        return {"w": self.sgd.state_dict(), "alpha": self.adam.state_dict(), "rows": self.rows, "good": good}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go on from a state of such a search; a `ValueError`, `KeyError` or `TypeError` if it is none."""
        rows, good = rows_of(state["rows"]), state["good"]
        if any("collapsed" not in row for row in rows):
            raise ValueError("its rows do not say whether the search collapsed")
        if good is not None:
            own = self.supernet.derive()
            if len(good) != len(own) or any(type(token) is not int for token in good):
                raise ValueError("the architecture that it kept is none")
        restore_optimizer(self.sgd, state["w"], stepped=bool(rows))
        restore_optimizer(self.adam, state["alpha"], stepped=bool(rows))
        self.rows = rows
        self._good = None if good is None else tuple(good)

    def _collapses(self, skips: int) -> bool:
        """Whether there are too many skip connections, when there once were not."""
        limit = self.phase.max_skips
        if limit is None:
            return False
        if skips <= limit:
            self._good = self.supernet.derive()
            return False
        return self._good is not None

    def rate(self, epoch: int) -> float:
        """The learning rate of w in epoch ``epoch``, from 0."""
        p = self.phase
        return p.lr_end + (p.lr - p.lr_end) * (1 + math.cos(math.pi * epoch / p.epochs)) / 2

    @property
    def fingerprint(self) -> str:
        """Two searches with the same one take the same course."""
        shapes = {name: list(p.shape) for name, p in self.supernet.architecture().items()}
        return f"{type(self.supernet).__name__} {shapes} {self.phase} seed={self.seed}"


def _layout(supernet: nn.Module) -> torch.memory_format:
    """Channels last in memory, where filters of single channels are two to three times faster.

    Not with fewer than four channels: with two, torch 2.13 on two threads ends with a corrupted heap or gives
    another result each time; in the usual layout, and with four channels, it does neither.
    """
    fewest = min((p.shape[0] for p in supernet.parameters() if p.dim() == 4), default=0)
    return torch.contiguous_format if fewest < 4 else torch.channels_last


def _minibatches(
    examples: Examples, size: int, generator: torch.Generator, layout: torch.memory_format
) -> Iterator[Examples]:
    """One epoch in parts of nearly one size, at most ``size``: a single example has no variance."""
    order = torch.randperm(len(examples.y), generator=generator)
    for rows in order.tensor_split(-(-len(order) // size)):
        yield Examples(examples.x[rows].contiguous(memory_format=layout), examples.y[rows])


def _endless(
    examples: Examples, size: int, generator: torch.Generator, layout: torch.memory_format
) -> Iterator[Examples]:
    """Minibatches, epoch after epoch."""
    while True:
        yield from _minibatches(examples, size, generator, layout)
