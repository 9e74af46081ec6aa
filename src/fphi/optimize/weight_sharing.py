"""Weight sharing: children train in turn in one set of shared weights ω, and a controller learns from them.

Pham et al., ICML 2018, arXiv 1802.03268. An epoch has two phases: ω learns with the controller fixed, one
sampled child for each minibatch; then the controller learns with ω fixed, from rewards that are accuracies on
one validation minibatch each. All randomness of epoch e comes from (seed, e).
"""

import math
from collections.abc import Sequence
from random import Random
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fphi.errors import FphiError
from fphi.learnable.controller import LSTMController, skip_divergence
from fphi.learnable.policy import Policy
from fphi.learnable.space import Tokens
from fphi.optimize.epochs import EpochRow, rows_of
from fphi.optimize.policy_gradient import MovingBaseline, PolicyUpdate
from fphi.optimize.restored import restore_optimizer
from fphi.optimize.sharing_phases import ControllerPhase, SharedPhase, cosine_restarts
from fphi.tasks.supervised import Supervised
from fphi.tasks.types import Examples
from fphi.within.answers import are_right
from fphi.within.uncompiled import uncompiled

__all__ = ["WeightSharing", "minibatch_accuracy", "shared_accuracy"]


@torch.no_grad()
def minibatch_accuracy(supernet: nn.Module, tokens: Tokens, batch: Examples) -> float:
    """A child's accuracy on one minibatch; the supernet stays as it is."""
    _set_mode(supernet, training=False)
    return float(are_right(supernet(batch.x, tokens), batch.y).float().mean())


def _set_mode(supernet: nn.Module, training: bool) -> None:
    """Only if it is in the other one: to tell all of its thousands of parts takes as long as a child."""
    if supernet.training != training:
        supernet.train(training)


def shared_accuracy(supernet: nn.Module, tokens: Tokens, examples: Examples, batch_size: int = 500) -> float:
    """A child's accuracy on all examples, in batches."""
    parts = [
        Examples(examples.x[i : i + batch_size], examples.y[i : i + batch_size])
        for i in range(0, len(examples.y), batch_size)
    ]
    right = sum(minibatch_accuracy(supernet, tokens, part) * len(part.y) for part in parts)
    return right / len(examples.y)


def _minibatch(examples: Examples, size: int, generator: torch.Generator) -> Examples:
    chosen = torch.randperm(len(examples.y), generator=generator)[:size]
    return Examples(examples.x[chosen], examples.y[chosen])


class _Baseline(MovingBaseline):
    """A moving baseline that can be kept in a checkpoint."""

    def state(self) -> list[float]:
        return [self._sum, self._weight]

    def load(self, state: list[float]) -> None:
        total, weight = state
        if not math.isfinite(total) or not 0 <= weight < math.inf:
            raise ValueError("its baseline is none")
        self._sum, self._weight = total, weight


class WeightSharing:
    """A search that stands somewhere: ω, the controller, and how far they are.

    Args:
        supernet: ω; called with ``[n, C, H, W]`` and tokens it gives ``[n, outputs]`` of one child.
        policy: the controller, over the space of the supernet.
        data: ω learns from ``data.train``, the controller from ``data.validation``.
        seed: of everything random.
        epochs: of both phases.
        derived: children that are sampled in the end, the best of which is the result.
        shared: settings of the first phase.
        controller: settings of the second.
    """

    def __init__(
        self,
        supernet: nn.Module,
        policy: Policy,
        data: Supervised,
        seed: int = 0,
        *,
        epochs: int = 10,
        derived: int = 10,
        shared: SharedPhase | None = None,
        controller: ControllerPhase | None = None,
    ) -> None:
        self.supernet, self.policy, self.data, self.seed = supernet, policy, data, seed
        self.shared, self.controller = shared or SharedPhase(), controller or ControllerPhase()
        if self.controller.skip_target is not None and not isinstance(policy, LSTMController):
            raise FphiError("a target for skip connections needs the LSTM controller; give none")
        self.sgd = uncompiled(torch.optim.SGD)(
            supernet.parameters(),
            lr=self.shared.lr,
            momentum=self.shared.momentum,
            weight_decay=self.shared.weight_decay,
            nesterov=self.shared.momentum > 0,
        )
        self.adam = uncompiled(torch.optim.Adam)(policy.parameters(), lr=self.controller.lr)
        self.baseline = _Baseline(self.controller.decay)
        self.epochs, self.derived = epochs, derived
        self.rows: list[EpochRow] = []

    @property
    def children_per_epoch(self) -> int:
        """Children that an epoch samples in both phases."""
        batches = max(1, len(self.data.train.y) // self.shared.batch_size)
        return batches + self.controller.steps * self.controller.samples

    @property
    def ended(self) -> bool:
        """Whether all epochs are done."""
        return len(self.rows) >= self.epochs

    @property
    def module(self) -> nn.Module:
        """What a checkpoint has the parameters and buffers of."""
        return nn.ModuleDict({"supernet": self.supernet, "policy": self.policy})

    def step(self) -> EpochRow:
        """The next epoch.

        Raises:
            FphiError: the shared weights diverge.
        """
        self.rows.append(self.epoch(len(self.rows)))
        return self.rows[-1]

    def result(self) -> Tokens:
        """The best of some sampled children, see `derive`."""
        return self.derive(self.derived)[0]

    def epoch(self, number: int) -> EpochRow:
        """Both phases of epoch ``number``, from 0."""
        with torch.random.fork_rng(devices=[]):
            generator = self._randomness(str(number))
            torch.manual_seed(generator.initial_seed())  # for dropout
            loss = self.train_shared(number, generator)
            figures = [self.controller_step(generator) for _ in range(self.controller.steps)]
        return {
            "epoch": number + 1,
            "train_loss": loss,
            "reward": sum(f["reward"] for f in figures) / len(figures),
            "accuracy": sum(f["accuracy"] for f in figures) / len(figures),
            "baseline": self.baseline.value,
            "entropy": figures[-1]["entropy"],
            "best": max(f["best"] for f in figures),
        }

    def train_shared(self, epoch: int, generator: torch.Generator) -> float:
        """One epoch of ω with the controller fixed; the mean training loss."""
        batches = self._batches(generator)
        children = self.policy.sample(len(batches), generator)
        losses = []
        for i, (batch, child) in enumerate(zip(batches, children, strict=True)):
            s = self.shared
            lr = cosine_restarts(epoch + i / len(batches), s.lr, s.lr_min, s.period, s.factor)
            self.sgd.param_groups[0]["lr"] = lr
            losses.append(self.shared_step(child, batch))
        return sum(losses) / len(losses)

    def shared_step(self, child: Tokens, batch: Examples) -> float:
        """One step of ω along one child; weights that the child does not use stay as they are."""
        _set_mode(self.supernet, training=True)
        # To none, not to zero: momentum and weight decay would move what has a gradient of zero.
        self.sgd.zero_grad(set_to_none=True)
        loss = cross_entropy(self.supernet(batch.x, child), batch.y)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.supernet.parameters(), self.shared.clip_norm)
        if not torch.isfinite(norm):
            raise FphiError(f"the shared weights diverge (loss {float(loss.detach())}); choose a smaller lr")
        self.sgd.step()
        return float(loss.detach())

    def controller_step(self, generator: torch.Generator) -> EpochRow:
        """One step of the controller with ω fixed; figures of the sampled children."""
        c = self.controller
        children = self.policy.sample(c.samples, generator)
        accuracies = [self._accuracy(child, generator) for child in children]
        log_p, entropy = self.policy.score(children)
        rewards = [r + c.entropy * h for r, h in zip(accuracies, entropy.tolist(), strict=True)]
        advantages = torch.tensor(self.baseline.advantages(rewards))
        loss = -PolicyUpdate(batch=c.samples).objective(log_p, log_p.detach(), advantages, entropy)
        if c.skip_target is not None and isinstance(self.policy, LSTMController):
            loss = loss + c.skip_weight * skip_divergence(self.policy, children, c.skip_target)
        self.adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        return {
            "reward": sum(rewards) / len(rewards),
            "accuracy": sum(accuracies) / len(accuracies),
            "entropy": float(entropy.detach().mean()),
            "best": max(accuracies),
        }

    def derive(self, count: int = 10) -> tuple[Tokens, float]:
        """The best of ``count`` sampled children on one validation minibatch, and its accuracy there."""
        generator = self._randomness("derive")
        children = self.policy.sample(count, generator)
        batch = _minibatch(self.data.validation, self.controller.batch_size, generator)
        scores = [minibatch_accuracy(self.supernet, child, batch) for child in children]
        best = max(range(count), key=lambda i: (scores[i], -i))
        return children[best], scores[best]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the parameters."""
        return {
            "shared": self.sgd.state_dict(),
            "controller": self.adam.state_dict(),
            "baseline": self.baseline.state(),
            "rows": self.rows,
        }

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go on from a state of such a search; a `ValueError`, `KeyError` or `TypeError` if it is none."""
        rows = rows_of(state["rows"])
        restore_optimizer(self.sgd, state["shared"], stepped=bool(rows), some=True)
        restore_optimizer(self.adam, state["controller"], stepped=bool(rows), some=True)
        self.baseline.load(state["baseline"])
        self.rows = rows

    def _accuracy(self, child: Tokens, generator: torch.Generator) -> float:
        batch = _minibatch(self.data.validation, self.controller.batch_size, generator)
        return minibatch_accuracy(self.supernet, child, batch)

    def _batches(self, generator: torch.Generator) -> Sequence[Examples]:
        """Minibatches of an epoch; a last one that is not full is left out, its statistics are too noisy."""
        order = torch.randperm(len(self.data.train.y), generator=generator)
        size = min(self.shared.batch_size, len(order))
        full = [order[i : i + size] for i in range(0, len(order) - size + 1, size)]
        return [Examples(self.data.train.x[part], self.data.train.y[part]) for part in full]

    def _randomness(self, what: str) -> torch.Generator:
        return torch.Generator().manual_seed(Random(f"{self.seed}/{what}").getrandbits(63))

    @property
    def fingerprint(self) -> str:
        """Two searches with the same one take the same course, but for the number of epochs."""
        return f"{self.policy.space} {self.shared} {self.controller} seed={self.seed}"
