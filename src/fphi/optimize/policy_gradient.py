"""Policy gradient: REINFORCE and PPO over a policy that emits architectures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.learnable.policy import Policy
from fphi.learnable.space import Candidate
from fphi.optimize.ask_tell import Growth, SearchOptimizer
from fphi.ranges import SEED, Range, checked

__all__ = ["MovingBaseline", "PolicyGradient", "PolicyUpdate"]

Rule = Literal["reinforce", "ppo"]


class MovingBaseline:
    """b, an exponential moving average of the rewards.

    Args:
        decay: share of the old average that stays.
        corrected: divide by the weights so far (as in Adam); else the average starts at the first reward.
        includes_current: whether an update's own rewards are in its baseline. That is a bias, since b then
            depends on the action; the protocol of NAS-Bench-201 has it.
    """

    @checked(decay=Range(0, 1, below=True))
    def __init__(self, decay: float = 0.95, corrected: bool = False, includes_current: bool = False) -> None:
        self.decay, self.corrected, self.includes_current = decay, corrected, includes_current
        self._sum, self._weight = 0.0, 0.0

    def advantages(self, rewards: list[float]) -> list[float]:
        """R - b of each reward; b then knows of them."""
        if self.includes_current:
            self._take(rewards)
            return [reward - self.value for reward in rewards]
        # With nothing to compare with, the first rewards are compared with their mean.
        before = self.value if self._weight else sum(rewards) / len(rewards)
        self._take(rewards)
        return [reward - before for reward in rewards]

    @property
    def value(self) -> float:
        """b; 0 before any reward."""
        return self._sum / self._weight if self._weight else 0.0

    def _take(self, rewards: list[float]) -> None:
        for reward in rewards:
            share = 1 - self.decay if self.corrected or self._weight else 1.0
            self._sum = self.decay * self._sum + share * reward
            self._weight = self.decay * self._weight + share


@dataclass(frozen=True)
class PolicyUpdate:
    """How a policy learns from a batch of rewarded architectures.

    Args:
        rule: ``reinforce`` takes one step along Σ (R - b) ∇log π; ``ppo`` several on the clipped ratio of
            the new to the old probability (Schulman et al. 2017, arXiv 1707.06347).
        batch: architectures for each update.
        entropy: weight of the entropy in the objective.
        clip: ε, how far ``ppo`` lets the ratio count; None: any distance.
        epochs: steps of ``ppo`` on each batch.
    """

    rule: Rule = "reinforce"
    batch: int = 1
    entropy: float = 0.0
    clip: float | None = 0.2
    epochs: int = 1

    def __post_init__(self) -> None:
        """Refuse what updates nothing."""
        if self.rule not in get_args(Rule):
            raise FphiError(f"unknown rule {self.rule!r}: choose one of {', '.join(get_args(Rule))}")
        if self.batch < 1 or self.epochs < 1 or not (self.clip is None or self.clip > 0):
            raise FphiError(
                f"batch={self.batch}, epochs={self.epochs}, clip={self.clip}: batch and epochs must be at "
                "least 1, and clip above 0 or none"
            )

    def objective(self, log_p: Tensor, old_log_p: Tensor, advantages: Tensor, entropy: Tensor) -> Tensor:
        """What is maximised, a scalar, from values ``[batch]`` of each architecture."""
        if self.rule == "reinforce":
            gain = advantages * log_p
        else:
            ratio = (log_p - old_log_p).exp()
            near = ratio if self.clip is None else ratio.clamp(1 - self.clip, 1 + self.clip)
            gain = torch.minimum(ratio * advantages, near * advantages)
        return (gain + self.entropy * entropy).mean()


@dataclass(frozen=True)
class _Rewarded:
    candidate: Candidate
    old_log_p: float
    reward: float


class PolicyGradient(SearchOptimizer):
    """Sample from a policy, and make likelier what earned more than usual.

    Args:
        policy: over the architectures of its space.
        optimizer: torch's, over the policy's parameters.
        seed: of the samples.
        update: the rule and its settings.
        baseline: b; a `MovingBaseline` with its defaults if not given.
        reward: of a loss; by default the accuracy 1 - loss.
        growth: the space that a candidate is drawn from, by its number, where the policy's grows: what is
            asked in a space is the beginning of what is asked in those after it.
    """

    @checked(seed=SEED)
    def __init__(
        self,
        policy: Policy,
        optimizer: torch.optim.Optimizer,
        seed: int = 0,
        *,
        update: PolicyUpdate | None = None,
        baseline: MovingBaseline | None = None,
        reward: Callable[[float], float] = lambda loss: 1 - loss,
        growth: Growth | None = None,
    ) -> None:
        super().__init__(policy.space, seed)
        self.policy, self.optimizer = policy, optimizer
        self.update = update or PolicyUpdate()
        self.baseline = baseline or MovingBaseline()
        self.reward, self.growth = reward, growth
        self._old_log_p: dict[int, float] = {}
        self._rewarded: list[_Rewarded] = []
        self._entropy = 0.0

    def propose(self, number: int, rng: Random) -> Candidate:
        if self.growth is not None:
            # By the number, not by what has been told: a replay then draws from the same space.
            self.space = self.policy.space = self.growth(number)
        generator = torch.Generator().manual_seed(rng.getrandbits(63))
        candidate = Candidate(number, self.policy.sample(1, generator)[0])
        if self.update.rule == "ppo":
            with torch.no_grad():
                self._old_log_p[number] = float(self.policy.score([candidate.tokens])[0])
        return candidate

    def learn(self, candidate: Candidate, loss: float) -> None:
        old = self._old_log_p.pop(candidate.number, 0.0)
        self._rewarded.append(_Rewarded(candidate, old, self.reward(loss)))
        if len(self._rewarded) == self.update.batch:
            self._update(self._rewarded)
            self._rewarded = []

    def _update(self, rewarded: list[_Rewarded]) -> None:
        gains = self.baseline.advantages([r.reward for r in rewarded])
        for _ in range(self.update.epochs if self.update.rule == "ppo" else 1):
            log_p, entropy = self.policy.score([r.candidate.tokens for r in rewarded])
            old = log_p.new_tensor([r.old_log_p for r in rewarded])
            advantages = log_p.new_tensor(gains)
            self._take_on_new_parameters()
            self.optimizer.zero_grad()
            (-self.update.objective(log_p, old, advantages, entropy)).backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        self._entropy = float(entropy.detach().mean())

    def _take_on_new_parameters(self) -> None:
        """A policy may make some when a question comes up that was not foreseen."""
        known = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        new = [p for p in self.policy.parameters() if id(p) not in known]
        if new:
            self.optimizer.add_param_group({"params": new})

    def standing(self) -> Mapping[str, float]:
        return {"baseline": self.baseline.value, "entropy": self._entropy}
