"""REINFORCE and PPO: hand-computed baselines and clipping, what they reach, what they must not, and replays."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import fmean

import pytest
import torch

from fphi.errors import FphiError
from fphi.learnable.architecture import ArchitectureSpace
from fphi.learnable.controller import LSTMController
from fphi.learnable.policy import IndependentPolicy, Policy
from fphi.learnable.space import Candidate, Tokens
from fphi.methods.zoph_le import ZophLe
from fphi.objective.outcome import Outcome
from fphi.optimize import MovingBaseline, PolicyGradient, PolicyUpdate
from fphi.run.search.history import History
from fphi.run.search.loop import Budget, search
from policy_helpers import SMALL, everything, loss_of

EVERYTHING = list(everything(SMALL))
REINFORCE, PPO = PolicyUpdate(batch=10), PolicyUpdate("ppo", batch=10, epochs=3)


def searching(policy: Policy, update: PolicyUpdate, lr: float = 0.03, seed: int = 0) -> PolicyGradient:
    return PolicyGradient(policy, torch.optim.Adam(policy.parameters(), lr=lr), seed, update=update)


def small_lstm(space: ArchitectureSpace, seed: int) -> LSTMController:
    return LSTMController(space, seed, hidden=12)


def run(optimizer: PolicyGradient, evaluations: int, loss: Callable[[Tokens], float] = loss_of) -> None:
    for _ in range(evaluations):
        candidate = optimizer.ask()
        optimizer.tell(candidate, loss(candidate.tokens))


def expected_reward(policy: Policy) -> float:
    with torch.no_grad():
        p = policy.score(EVERYTHING)[0].exp()
    return float((p * torch.tensor([1 - loss_of(tokens) for tokens in EVERYTHING])).sum())


# The baseline.


def test_the_baseline_does_not_know_the_rewards_it_is_for() -> None:
    baseline = MovingBaseline(0.5)
    assert baseline.value == 0
    assert baseline.advantages([1.0]) == [0.0]  # nothing to compare with but itself
    assert baseline.value == 1
    assert baseline.advantages([3.0]) == [2.0]
    assert baseline.value == 2  # (1 + 3) / 2
    assert baseline.advantages([4.0, 6.0]) == [2.0, 4.0]
    assert baseline.value == 4.5  # (2 + 4) / 2 = 3, (3 + 6) / 2
    assert MovingBaseline(0.9).advantages([1.0, 3.0]) == [-1.0, 1.0]


def test_the_corrected_baseline_weighs_as_adam_does_and_may_include_the_current_reward() -> None:
    corrected = MovingBaseline(0.5, corrected=True)
    corrected.advantages([1.0])
    assert corrected.value == 1  # 0.5 / 0.5
    assert corrected.advantages([3.0]) == [2.0]
    assert corrected.value == pytest.approx(1.75 / 0.75)  # 0.5 * 0.5 + 0.5 * 3, of 1 - 0.5²
    including = MovingBaseline(0.5, corrected=True, includes_current=True)
    assert including.advantages([1.0]) == [0.0]
    assert including.advantages([3.0]) == [pytest.approx(3 - 1.75 / 0.75)]
    assert MovingBaseline(0.9, includes_current=True).advantages([1.0, 3.0]) == [
        pytest.approx(-0.2),
        pytest.approx(1.8),
    ]


# PPO.


def test_clipping_stops_the_gradient_where_the_ratio_has_gone_far_enough() -> None:
    """Of min(r·A, clip(r, 0.8, 1.2)·A) by log π, with r = π / π_old: r·A, or 0 where the clipped is less."""
    ratios = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1, 0.9])
    advantages = torch.tensor([2.0, -2.0, 2.0, -2.0, 3.0, -3.0])
    old = torch.full((6,), -1.0)
    log_p = (old + ratios.log()).requires_grad_()
    objective = PolicyUpdate("ppo", clip=0.2).objective(log_p, old, advantages, torch.zeros(6))
    values = torch.tensor([1.2 * 2, -1.5 * 2, 0.5 * 2, -0.8 * 2, 1.1 * 3, -0.9 * 3])
    torch.testing.assert_close(objective.detach(), values.mean())
    (gradient,) = torch.autograd.grad(objective, log_p)
    torch.testing.assert_close(6 * gradient, torch.tensor([0.0, -3.0, 1.0, 0.0, 3.3, -2.7]))


def test_the_entropy_counts_with_its_weight() -> None:
    entropy = torch.tensor([2.0, 4.0])
    for rule, gain in (("reinforce", -1.0), ("ppo", 1.0)):
        update = PolicyUpdate(rule, entropy=0.1)  # type: ignore[arg-type]
        value = update.objective(
            torch.tensor([-1.0, -1.0]), torch.tensor([-1.0, -1.0]), torch.ones(2), entropy
        )
        assert value.item() == pytest.approx(gain + 0.3)


@pytest.mark.parametrize("make", [IndependentPolicy, small_lstm])
def test_ppo_with_one_epoch_and_no_clipping_is_reinforce(make: Callable[..., Policy]) -> None:
    found = []
    for update in (REINFORCE, PolicyUpdate("ppo", batch=10, clip=None)):
        optimizer = searching(make(SMALL, 0).double(), update)
        run(optimizer, 30)
        found.append(torch.cat([p.detach().flatten() for p in optimizer.policy.parameters()]))
    start = torch.cat([p.detach().flatten() for p in make(SMALL, 0).double().parameters()])
    assert (found[0] - start).abs().max() > 0.05
    torch.testing.assert_close(found[0], found[1], atol=1e-9, rtol=0)


@pytest.mark.parametrize("values", [{"batch": 0}, {"epochs": 0}, {"clip": 0.0}, {"clip": -1.0}])
def test_updates_of_nothing_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(FphiError, match="must be at least 1, and clip above 0"):
        PolicyUpdate(**values)  # type: ignore[arg-type]
    with pytest.raises(FphiError, match="decay is 1"):
        MovingBaseline(1.0)


# What is reached.


@pytest.mark.parametrize("update", [REINFORCE, PPO], ids=["reinforce", "ppo"])
@pytest.mark.parametrize("make", [IndependentPolicy, small_lstm])
def test_the_optimum_of_a_space_enumerated_in_full_is_reached(
    make: Callable[..., Policy], update: PolicyUpdate
) -> None:
    policy = make(SMALL, 0)
    run(searching(policy, update, lr=0.1 if make is IndependentPolicy else 0.03), 500)
    log_p = policy.score(EVERYTHING)[0]
    best = min(EVERYTHING, key=loss_of)
    assert EVERYTHING[int(log_p.argmax())] == best
    assert log_p.max().exp() > 0.9


@pytest.mark.parametrize("update", [REINFORCE, PPO], ids=["reinforce", "ppo"])
@pytest.mark.parametrize("make", [IndependentPolicy, small_lstm])
def test_rewards_that_belong_to_other_architectures_teach_nothing(
    make: Callable[..., Policy], update: PolicyUpdate
) -> None:
    def gain(seed: int, loss: Callable[[Tokens], float]) -> float:
        policy = make(SMALL, seed)
        before = expected_reward(policy)
        optimizer = searching(policy, update, lr=0.02 if make is IndependentPolicy else 5e-3, seed=seed)
        run(optimizer, 240 // update.epochs, loss)
        return expected_reward(policy) - before

    def another(_: Tokens) -> float:
        return loss_of(rng.choice(EVERYTHING))

    rng = Random(0)
    learned, not_learned = (fmean(gain(seed, loss) for seed in range(3)) for loss in (loss_of, another))
    assert learned > 0.1
    assert not_learned < learned / 4


# Zoph and Le.


def test_the_reward_is_the_cube_of_the_accuracy() -> None:
    optimizer = ZophLe(batch=1).optimizer(SMALL, 0)
    optimizer.tell(optimizer.ask(), 0.5)
    assert optimizer.standing()["baseline"] == 0.125
    shapes = [tuple(p.shape) for p in optimizer.policy.get_submodule("cells").parameters()]
    assert shapes == [(140, 35), (140, 35), (140,), (140,)] * 2
    assert all(p.abs().max() <= 0.08 for p in LSTMController(SMALL, spread=0.08).parameters())
    with pytest.raises(FphiError, match="power is 0"):
        ZophLe(power=0)


def test_depth_grows_by_the_schedule_and_the_controller_keeps_its_weights() -> None:
    method = ZophLe(batch=4, depth_step=2, depth_every=5, max_depth=6, lr=0.01)
    optimizer = method.optimizer(SMALL, 0)
    names = [name for name, _ in optimizer.policy.named_parameters()]
    asked = [optimizer.ask() for _ in range(22)]
    assert [SMALL.like(c.tokens).depth for c in asked] == [3] * 5 + [5] * 5 + [6] * 12
    # Each is an architecture of the space that the search began with, though deeper.
    assert all(SMALL.check(c.tokens) == c.tokens == SMALL.parse(SMALL.text(c.tokens)) for c in asked)
    # A batch of three depths, told last first: each has the probability that its own questions give it.
    with torch.no_grad():
        together = optimizer.policy.score([c.tokens for c in asked])[0]
        for candidate, log_p in zip(asked, together, strict=True):
            alone = LSTMController(SMALL.like(candidate.tokens), 0, hidden=35, layers=2, spread=0.08)
            torch.testing.assert_close(alone.score([candidate.tokens])[0][0], log_p)
    for candidate in reversed(asked):
        optimizer.tell(candidate, loss_of(candidate.tokens))
    assert [name for name, _ in optimizer.policy.named_parameters()] == names
    assert method.growth(replace(SMALL, depth=9))(10**6) == replace(SMALL, depth=9)  # type: ignore[misc]
    assert ZophLe(depth_every=0).growth(SMALL) is None


def test_a_search_that_broke_off_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    method = ZophLe(batch=3, depth_every=6, lr=0.01)

    def evaluate(candidate: Candidate) -> Outcome:
        return Outcome(loss_of(candidate.tokens), 1.0)

    whole = search(method.optimizer(SMALL, 7), evaluate, Budget(evaluations=20))
    path = tmp_path / "history.jsonl"
    for evaluations in (5, 13, 20):
        history = History(path)
        optimizer = method.optimizer(SMALL, 7)
        search(optimizer, evaluate, Budget(evaluations=evaluations), history=history)
        history.close()
    assert history.records == whole.records
    replayed = method.optimizer(SMALL, 7)
    history = History(path)
    history.replay(replayed)
    history.close()
    for one, other in zip(replayed.policy.parameters(), optimizer.policy.parameters(), strict=True):
        assert torch.equal(one, other)
    assert replayed.ask() == optimizer.ask()
    assert {type(t) for record in whole.records for t in record.candidate.tokens} == {int}
