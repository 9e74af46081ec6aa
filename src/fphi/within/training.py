"""Training one network on one large task: from its first weights to its accuracy on validation data."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from fphi.errors import FphiError
from fphi.ranges import count, number, rate, require_ranges, share, weight
from fphi.tasks.supervised import Supervised
from fphi.tasks.types import Examples
from fphi.within.distorting import cut_out, mirrored, shifted
from fphi.within.minibatches import rows_of_minibatches
from fphi.within.progress import tell_progress
from fphi.within.randomness import own_randomness
from fphi.within.trained import TrainedNetwork, accuracy
from fphi.within.uncompiled import uncompiled

__all__ = [
    "OUT_OF_TIME",
    "Augment",
    "BatchLoss",
    "NetworkTraining",
    "Objective",
    "Stretch",
    "TrainingFailedError",
]

# Of a minibatch, and of where its examples stand among the training examples: what the step lowers, a scalar.
# One without a graph has nothing to step along, and there is no step.
BatchLoss = Callable[[Examples, Tensor], Tensor]

# Of a minibatch [n, *input_shape], the number of its epoch from 0, and what its random numbers come from: the
# minibatch to train on.
Augment = Callable[[Tensor, int, torch.Generator], Tensor]

# Of a network that is about to be trained, and its optimizer.
Objective = Callable[[nn.Module, torch.optim.Optimizer], BatchLoss]


OUT_OF_TIME = "out of time"
"""How the message of a `TrainingFailedError` begins where a limit was passed."""


class TrainingFailedError(Exception):
    """A network has no accuracy, and the message says why: training diverged, or its time was up."""


@dataclass(frozen=True)
class Stretch:
    """Some epochs of a training, which goes on with what those before have left.

    Args:
        first: number of the first one, from 0.
        end: number of the first one that is none of them.
        velocity: of the gradient descent, by parameter name; empty: it begins here.
    """

    first: int
    end: int
    velocity: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkTraining:
    """How a network is trained: minibatch gradient descent with momentum.

    Args:
        epochs: passes over the training examples.
        batch_size: examples of a minibatch, at most: those of an epoch are of one size, give or take one.
        lr: of the first step.
        momentum: of the gradients; 0: none.
        nesterov: look ahead, as in Zoph and Le.
        weight_decay: added to the gradients, times the weights.
        schedule: "cosine": the rate falls to ``lr_end`` along half a cosine; "constant": it stays.
        lr_end: see ``schedule``.
        clip_norm: longest gradient; None: any.
        augment: shift training images by up to an eighth of their side, filling up with 0, the mean, and
            mirror every second one if they are coloured.
        cutout: side of a square of each training image that is set to 0; 0: none.
        last_epochs: the accuracy that counts is taken of the last ones; 5 in Zoph and Le.
        of_last: their highest accuracy, or the mean.
        limit_seconds: a training that takes longer fails; None: any time. It depends on the machine.
        threads: torch's meanwhile; more of them may change the last digit.
    """

    epochs: int = count(10, 100_000)
    batch_size: int = count(128)
    lr: float = rate(0.05)
    momentum: float = share(0.9)
    nesterov: bool = True
    weight_decay: float = weight(1e-4)
    schedule: Literal["cosine", "constant"] = "cosine"
    lr_end: float = weight(0.0, 1000)
    clip_norm: float | None = number(5.0, 0, 1e9, open=True)
    augment: bool = False
    cutout: int = count(0, 10_000, least=0)
    last_epochs: int = count(1, 100_000)
    of_last: Literal["max", "mean"] = "max"
    limit_seconds: float | None = number(None, 0, 1e9, open=True)
    threads: int = count(1, 1024)

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        require_ranges(type(self), vars(self))
        for name in ("epochs", "batch_size", "last_epochs", "threads"):
            if getattr(self, name) < 1:
                raise FphiError(f"{name} is {getattr(self, name)}; give at least 1")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise FphiError(f"clip_norm is {self.clip_norm}; it must be above 0, or none")
        if self.lr <= 0 or not 0 <= self.momentum < 1 or min(self.weight_decay, self.lr_end, self.cutout) < 0:
            raise FphiError(
                f"lr {self.lr}, momentum {self.momentum}, weight_decay {self.weight_decay}, lr_end "
                f"{self.lr_end}, cutout {self.cutout}: give a rate above 0, a momentum from 0 to below 1, "
                "and the others from 0"
            )

    def train(
        self,
        module: nn.Module,
        data: Supervised,
        seed: int,
        lr: float | None = None,
        objective: Objective | None = None,
        augment: Augment | None = None,
        stretch: Stretch | None = None,
    ) -> TrainedNetwork:
        """Train ``module``, in place.

        The statistics that its batch norms keep for validation are means over the second half of an epoch.
        What changes in the course of it, as the dropping of paths, hears `fphi.within.progress` before each
        step, and 1 at the end. All that is random (the order, the
        augmentation, dropout) comes from ``seed``; the state of torch's own generator is left as it was.

        Args:
            module: ``[n, *input_shape]`` to ``[n, classes]``, with its first weights.
            data: trained on ``train``, its accuracy taken on ``validation``.
            seed: of everything random.
            lr: in place of the option of that name: spaces may hold one for each architecture.
            objective: in place of the mean cross-entropy of a minibatch.
            augment: what else changes training images, before the options that do; it has random numbers of
                its own, so that minibatches and first weights are the same without it.
            stretch: the epochs to train now; None: all.

        Raises:
            TrainingFailedError: the loss is not finite, or the time was up.
        """
        first_rate = self.lr if lr is None else lr
        with own_randomness(seed, self.threads):
            generator, images = torch.Generator().manual_seed(seed), _another(seed)
            changed = augment or _unchanged
            return self._train(
                module,
                data,
                generator,
                first_rate,
                objective or _mean_cross_entropy,
                lambda x, epoch: changed(x, epoch, images),
                stretch or Stretch(0, self.epochs),
            )

    def _train(
        self,
        module: nn.Module,
        data: Supervised,
        generator: torch.Generator,
        first_rate: float,
        objective: Objective,
        augment: Callable[[Tensor, int], Tensor],
        stretch: Stretch,
    ) -> TrainedNetwork:
        trained = TrainedNetwork(module, data, [], [], {}, self.last_epochs, self.of_last)
        named = {name: p for name, p in module.named_parameters() if p.requires_grad}
        parameters = list(named.values())
        optimizer = self._optimizer(parameters, first_rate)
        for name, velocity in stretch.velocity.items():
            optimizer.state[named[name]]["momentum_buffer"] = velocity.clone()
        loss_of = objective(module, optimizer)
        count = -(-len(data.train.y) // self.batch_size)
        start = time.monotonic()
        for epoch in range(stretch.first, stretch.end):
            module.train()
            total = 0.0
            for i, rows in enumerate(rows_of_minibatches(len(data.train.y), count, generator)):
                done = (epoch + i / count) / self.epochs
                tell_progress(module, done)
                if i == count // 2:
                    _average_statistics_from_here(module)
                optimizer.param_groups[0]["lr"] = self.rate(first_rate, done)
                x = self._augmented(augment(data.train.x[rows], epoch), generator)
                loss = loss_of(Examples(x, data.train.y[rows]), rows)
                total += self._step(loss, parameters, optimizer)
                self._check(total, epoch, time.monotonic() - start)
            trained.losses.append(total / count)
            trained.validation.append(accuracy(module, data.validation))
        if stretch.end == self.epochs:
            tell_progress(module, 1.0)
        for name, p in named.items():
            if (velocity := optimizer.state[p].get("momentum_buffer")) is not None:
                trained.velocity[name] = velocity
        return trained

    def rate(self, first: float, done: float) -> float:
        """The learning rate after a fraction ``done`` of the training."""
        if self.schedule == "constant":
            return first
        return self.lr_end + (first - self.lr_end) * (1 + math.cos(math.pi * done)) / 2

    def _optimizer(self, parameters: list[nn.Parameter], rate: float) -> torch.optim.SGD:
        # A network may have no parameters at all: its accuracy is that of a constant answer.
        return uncompiled(torch.optim.SGD)(
            parameters or [nn.Parameter(torch.zeros(()))],
            rate,
            self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov and self.momentum > 0,
        )

    def _step(self, loss: Tensor, parameters: list[nn.Parameter], optimizer: torch.optim.SGD) -> float:
        if loss.requires_grad:
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if self.clip_norm is not None:
                nn.utils.clip_grad_norm_(parameters, self.clip_norm)
            optimizer.step()
        return loss.item()

    def _check(self, total: float, epoch: int, seconds: float) -> None:
        if not math.isfinite(total):
            raise TrainingFailedError(
                f"diverged: the training loss is {total} in epoch {epoch + 1} of {self.epochs}"
            )
        if self.limit_seconds is not None and seconds > self.limit_seconds:
            raise TrainingFailedError(
                f"{OUT_OF_TIME}: {self.limit_seconds:g} s were over in epoch {epoch + 1} of {self.epochs}"
            )

    def _augmented(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if self.augment:
            x = shifted(x, max(x.shape[-2:]) // 8, generator)
            if x.shape[1] == 3:
                x = mirrored(x, generator)
        if self.cutout:
            x = cut_out(x, self.cutout, generator)
        return x


def _average_statistics_from_here(module: nn.Module) -> None:
    """Let torch's batch norms average what they see from now on, with equal weights.

    Their usual moving average takes some fifty steps to forget its start, and a short training has no more.
    """
    for part in module.modules():
        if isinstance(part, _BatchNorm) and part.track_running_stats:
            part.reset_running_stats()
            part.momentum = None


def _mean_cross_entropy(module: nn.Module, optimizer: torch.optim.Optimizer) -> BatchLoss:
    return lambda batch, rows: cross_entropy(module(batch.x), batch.y)


def _another(seed: int) -> torch.Generator:
    """A generator apart from that of the seed itself."""
    own = torch.randint(2**62, (), generator=torch.Generator().manual_seed(seed))
    return torch.Generator().manual_seed(int(own))


def _unchanged(x: Tensor, epoch: int, generator: torch.Generator) -> Tensor:
    return x
