"""What searches that train θ and φ at once have in common: in an epoch a step of φ comes before each of θ.

Of DARTS (arXiv 1806.09055) and DADA (arXiv 2003.03780). All randomness of epoch e comes from (seed, e).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from random import Random
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from fphi.errors import FphiError
from fphi.objective.hypergradient import Step
from fphi.optimize.epochs import EpochRow
from fphi.tasks.supervised import Supervised
from fphi.tasks.types import Examples
from fphi.within import Parameters
from fphi.within.trained import accuracy
from fphi.within.uncompiled import uncompiled

__all__ = ["Descent", "TwoLevel", "require_descent"]


class Descent(Protocol):
    """How θ learns; see `fphi.optimize.bilevel.BilevelPhase`, which is one."""

    @property
    def epochs(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def lr_end(self) -> float: ...
    @property
    def momentum(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def clip_norm(self) -> float: ...


class TwoLevel(ABC):
    """A search that stands somewhere: θ, its optimizer, and the rows of the epochs; subclasses have φ.

    Args:
        network: its parameters are θ, and may be φ.
        weights: θ, by parameter name.
        data: θ learns from ``data.train``, φ from ``data.validation``.
        seed: of everything random.
        phase: settings.
    """

    def __init__(
        self, network: nn.Module, weights: Parameters, data: Supervised, seed: int, phase: Descent
    ) -> None:
        self._layout = _layout(network)
        self._network: nn.Module = network.to(memory_format=self._layout)  # type: ignore[call-overload]
        self.data, self.seed, self.phase = data, seed, phase
        self.theta, self._weights = weights, list(weights.values())
        self.sgd = uncompiled(torch.optim.SGD)(
            self._weights, lr=phase.lr, momentum=phase.momentum, weight_decay=phase.weight_decay
        )
        self.rows: list[EpochRow] = []

    @property
    def epochs(self) -> int:
        """Of the whole search, if it does not stop early."""
        return self.phase.epochs

    def step(self) -> EpochRow:
        """The next epoch.

        Raises:
            FphiError: θ diverges.
        """
        self.rows.append(self.epoch(len(self.rows)))
        return self.rows[-1]

    def epoch(self, number: int) -> EpochRow:
        """Epoch ``number``, from 0: what is learned from each training minibatch.

        Its row has the mean training loss, the network's accuracy on all validation examples, and `figures`.
        What the network itself draws comes from (seed, epoch) too.
        """
        generator = torch.Generator().manual_seed(Random(f"{self.seed}/{number}").getrandbits(63))
        size, layout = self.phase.batch_size, self._layout
        batches = _minibatches(self.data.train, size, generator, layout)
        validation = _endless(self.data.validation, size, generator, layout)
        lr = self.rate(number)
        self.sgd.param_groups[0]["lr"] = lr
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.initial_seed())  # for dropout
            losses = [self.learn(batch, next(validation), generator) for batch in batches]
        return {
            "epoch": number + 1,
            "train_loss": sum(losses) / len(losses),
            "validation_accuracy": accuracy(self._network, self.data.validation),
            **self.figures(),
        }

    @abstractmethod
    def learn(self, batch: Examples, validation: Examples, generator: torch.Generator) -> float:
        """A step of φ, then one of θ; the training loss before it."""

    @abstractmethod
    def figures(self) -> EpochRow:
        """More for the row of the epoch that was just done."""

    def rate(self, epoch: int) -> float:
        """The learning rate of θ in epoch ``epoch``, from 0."""
        p = self.phase
        return p.lr_end + (p.lr - p.lr_end) * (1 + math.cos(math.pi * epoch / p.epochs)) / 2

    def ahead(self) -> Step:
        """The step that θ is about to take."""
        group = self.sgd.param_groups[0]
        velocity = {
            name: self.sgd.state[w]["momentum_buffer"]
            for name, w in self.theta.items()
            if "momentum_buffer" in self.sgd.state[w]
        }
        return Step(group["lr"], group["momentum"], group["weight_decay"], velocity)

    def loss(self, batch: Examples, theta: Parameters, phi: Parameters) -> Tensor:
        """The mean loss with θ and φ in place of the network's own; it changes nothing.

        Nor the random state: until θ's step all losses are taken with the same masks of dropout.
        """
        # Batch norms write their running statistics into these copies.
        buffers = {name: b.clone() for name, b in self._network.named_buffers()}
        with torch.random.fork_rng(devices=[]):
            logits = functional_call(self._network, {**buffers, **theta, **phi}, (batch.x,))
        return cross_entropy(logits, batch.y)

    def weight_step(self, batch: Examples) -> float:
        """One step of θ with φ fixed; the loss before it."""
        self._network.train()
        loss = cross_entropy(self._network(batch.x), batch.y)
        slopes = torch.autograd.grad(loss, self._weights, materialize_grads=True)
        for w, slope in zip(self._weights, slopes, strict=True):
            w.grad = slope
        norm = torch.nn.utils.clip_grad_norm_(self._weights, self.phase.clip_norm)
        if not torch.isfinite(norm):
            raise FphiError(f"the shared weights diverge (loss {float(loss.detach())}); choose a smaller lr")
        self.sgd.step()
        self.sgd.zero_grad(set_to_none=True)
        return float(loss.detach())


def require_descent(phase: Descent) -> None:
    """Refuse settings with which θ learns nothing."""
    p = phase
    if min(p.epochs, p.batch_size) < 1 or not 0 <= p.lr_end <= p.lr:
        raise FphiError(
            f"epochs={p.epochs}, batch_size={p.batch_size}, lr={p.lr}, lr_end={p.lr_end}: the first two must "
            "be at least 1, and 0 <= lr_end <= lr"
        )
    if not (0 <= p.momentum < 1 and p.weight_decay >= 0 < p.clip_norm):
        raise FphiError(
            f"momentum={p.momentum}, weight_decay={p.weight_decay}, clip_norm={p.clip_norm}: a momentum from "
            "0 to below 1, a decay from 0, and a norm above 0"
        )


def _layout(network: nn.Module) -> torch.memory_format:
    """Channels last in memory, where filters of single channels are two to three times faster.

    Not with fewer than four channels: with two, torch 2.13 on two threads ends with a corrupted heap or gives
    another result each time; in the usual layout, and with four channels, it does neither.
    """
    fewest = min((p.shape[0] for p in network.parameters() if p.dim() == 4), default=0)
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
