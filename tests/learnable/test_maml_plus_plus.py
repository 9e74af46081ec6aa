"""MAML++: each of its five changes, alone and together, and what is left of it without them."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable import GradientLearner
from fphi.learnable.initialization.step_weights import AnnealedWeights
from fphi.methods.anil import ANIL
from fphi.methods.base import Setting
from fphi.methods.fomaml import FOMAML
from fphi.methods.maml import MAML
from fphi.methods.maml_plus_plus import MAMLPlusPlus
from fphi.methods.meta_sgd import MetaSGD
from fphi.networks import BatchNorm, calibrate
from fphi.objective import meta_gradient
from fphi.tasks.types import Examples, Task
from fphi.within import learned_rate, sgd
from fphi.within.progress import tell_progress
from learners import conv, random_tasks

Gradients = dict[str, Tensor]


def gradient(learner: GradientLearner, tasks: Task, progress: float = 0.0) -> tuple[Tensor, Gradients]:
    tell_progress(learner, progress)
    return meta_gradient(learner, tasks, threads=1)


def assert_equal(one: tuple[Tensor, Gradients], other: tuple[Tensor, Gradients]) -> None:
    """To the last bit, in what both learn."""
    assert torch.equal(one[0], other[0])
    names = one[1].keys() & other[1].keys()
    assert "network.head.weight" in names
    for name in names:
        assert torch.equal(one[1][name], other[1][name]), name


# Multi-step loss.


@pytest.mark.parametrize(
    ("epoch", "others", "last"), [(0, 0.2, 0.2), (5, 0.1, 0.6), (9, 0.02, 0.92), (9.9, 0.006, 0.976)]
)
def test_the_weights_of_five_steps_in_the_first_of_ten_epochs(
    epoch: float, others: float, last: float
) -> None:
    """Of a hundred; the least weights are 0.03 / 5 and 1 - 4 * 0.03 / 5."""
    weights = AnnealedWeights(until=0.1)(5, epoch / 100)
    assert weights == pytest.approx([others] * 4 + [last], abs=1e-12)


def test_weights_sum_to_one_and_end_at_the_last_step() -> None:
    for steps in (2, 3, 5, 12):
        weights = [AnnealedWeights(until=0.25)(steps, i / 400) for i in range(100)]
        known = [w for w in weights if w is not None]
        assert len(known) == 100
        assert all(len(w) == steps and sum(w) == pytest.approx(1, abs=1e-12) for w in known)
        assert all(a[-1] <= b[-1] and a[0] >= b[0] for a, b in pairwise(known))
        assert AnnealedWeights(until=0.25)(steps, 0.25) is None
    assert AnnealedWeights(until=0.25)(1, 0.0) is None
    assert AnnealedWeights(until=0)(5, 0.0) is None
    with pytest.raises(FphiError, match="until is 2; it must be at most 1"):
        AnnealedWeights(until=2)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("adapts", ["all", "head"])
def test_the_loss_is_the_weighted_sum_of_those_of_learners_with_fewer_steps(
    order: Literal[1, 2], adapts: Literal["all", "head"]
) -> None:
    tasks, weights, settings = random_tasks(), (0.5, 0.2, 0.3), {"order": order, "adapts": adapts}
    parts = [
        gradient(GradientLearner(conv(), sgd(0.2, momentum=0.5), m, **settings).double(), tasks)  # type: ignore[arg-type]
        for m in (1, 2, 3)
    ]
    memories: tuple[Literal["stored", "recomputed"], ...] = ("stored", "recomputed")
    for memory in memories:
        rule = sgd(0.2, momentum=0.5)
        learner = GradientLearner(
            conv(), rule, 3, step_weights=lambda steps, progress: weights, memory=memory, **settings  # type: ignore[arg-type]
        ).double()  # fmt: skip
        loss, found = gradient(learner, tasks)
        expected = sum(w * part[0] for w, part in zip(weights, parts, strict=True))
        torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
        for name, g in found.items():
            whole = sum(w * part[1][name] for w, part in zip(weights, parts, strict=True))
            torch.testing.assert_close(g, whole, rtol=1e-9, atol=1e-13)


def test_all_weight_on_the_last_step_is_maml_to_the_last_bit() -> None:
    def last(steps: int, progress: float) -> Sequence[float]:
        return [0.0] * (steps - 1) + [1.0]

    tasks = random_tasks(dtype=torch.float32)
    alone = GradientLearner(conv(filters=16), sgd(0.4), 3)
    weighted = GradientLearner(conv(filters=16), sgd(0.4), 3, step_weights=last)
    annealed = GradientLearner(conv(filters=16), sgd(0.4), 3, step_weights=AnnealedWeights(0.1))
    assert_equal(gradient(alone, tasks), gradient(weighted, tasks))
    assert_equal(gradient(alone, tasks), gradient(annealed, tasks, progress=0.1))
    assert gradient(annealed, tasks)[0] != gradient(alone, tasks)[0]
    # At test there is one loss, whatever the training has come to.
    assert torch.equal(weighted.eval().task_losses(tasks), annealed.eval().task_losses(tasks))


@pytest.mark.parametrize(("steps", "weights"), [(3, [1.0]), (2, [0.2] * 5), (3, []), (2, [0.5, math.nan])])
def test_weights_are_one_for_each_step_that_is_taken(steps: int, weights: list[float]) -> None:
    """Else there would be as many steps as weights, whatever was asked for."""
    learner = GradientLearner(conv(), sgd(0.4), steps, step_weights=lambda steps, progress: weights).double()
    wrong = "nan" if len(weights) == steps else f"length {len(weights)}, and training takes {steps} inner"
    with pytest.raises(FphiError, match=wrong):
        gradient(learner, random_tasks())
    learner.eval().task_losses(random_tasks())  # has no weights


# Derivative-order annealing.


def test_the_order_is_first_before_a_part_of_the_training_and_second_after_it() -> None:
    tasks = random_tasks(dtype=torch.float32)
    learner = GradientLearner(conv(filters=16), sgd(0.4), 2, first_order_until=0.5)
    orders: tuple[tuple[Literal[1, 2], float], ...] = ((1, 0.0), (1, 0.499), (2, 0.5), (2, 0.999))
    for order, progress in orders:
        plain = GradientLearner(conv(filters=16), sgd(0.4), 2, order=order)
        assert_equal(gradient(learner, tasks, progress), gradient(plain, tasks, progress))


# Learned rates for each step.


def test_constant_rates_of_each_step_are_maml_to_the_last_bit() -> None:
    """With a power of two as rate, which rounds nothing."""
    tasks = random_tasks(dtype=torch.float32)
    plain = gradient(GradientLearner(conv(filters=16), sgd(0.25), 3), tasks)
    for learnable in (True, False):
        rule = learned_rate(0.25, per="tensor", learnable=learnable, steps=3)
        rates = gradient(GradientLearner(conv(filters=16), rule, 3), tasks)
        assert_equal(plain, rates)
        assert any("optimizer" in name for name in rates[1]) == learnable


class Dot(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([2.0, 3.0, 5.0], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.w


def test_each_step_s_rate_has_the_derivative_of_its_own_step() -> None:
    """½(x·w)² with x_S = [1, 0, 1] and x_Q = [0, 1, 2], two steps of 0.25 from w = [2, 3, 5].

    They lead to [0.25, 3, 3.25] and [-0.625, 3, 2.375], with gradients 7 x_S and 3.5 x_S on the way and
    7.75 x_Q at the end. So the second rate has -3.5 * 7.75 * (x_S·x_Q) = -54.25, and the first, through the
    second step (1 - 0.25 * 2), -7 * 7.75 * 2 * 0.5 = -54.25.
    """
    support, query = (torch.tensor([[x]], dtype=torch.float64) for x in ([1.0, 0, 1], [0.0, 1, 2]))
    tasks = Task(Examples(support, torch.zeros(1, 1)), Examples(query, torch.zeros(1, 1)))
    learner = GradientLearner(
        Dot(), learned_rate(0.25, per="tensor", steps=2), 2, loss=lambda out, _: 0.5 * out.square().mean()
    )
    _, found = meta_gradient(learner, tasks)
    assert found["optimizer.rates.w"].tolist() == [-54.25, -54.25]
    assert found["network.w"].tolist() == [-5.8125, 7.75, 9.6875]


def test_steps_beyond_those_with_a_rate_take_the_last() -> None:
    rule = learned_rate(0.0, per="parameter", steps=2)
    learner = GradientLearner(nn.Linear(3, 2), rule, 2, test_steps=4).double()
    with torch.no_grad():
        for rates in rule_of(learner).rates.values():
            assert rates.shape[0] == 2
            rates[1] = 0.1
    plain = GradientLearner(learner.network, sgd(0.1), 3).double().eval()
    support = Examples(torch.randn(4, 3, dtype=torch.float64), torch.tensor([0, 0, 1, 1]))
    for name, reached in learner.eval().adapt(support).items():
        torch.testing.assert_close(reached, plain.adapt(support)[name])


def rule_of(learner: GradientLearner) -> Any:
    return learner.optimizer


# Norms of each step.


def test_scales_of_each_step_are_learned_and_not_adapted() -> None:
    learner = GradientLearner(conv(norm="per-step"), sgd(0.4), 2).double()
    tasks = random_tasks(1)
    reached = learner.adapt(Examples(tasks.support.x[0], tasks.support.y[0]))
    own = dict(learner.network.named_parameters())
    for name, value in own.items():
        assert torch.equal(reached[name], value) == ("norm" in name or "conv.bias" in name), name
    _, found = gradient(learner, tasks)
    assert all(bool((g.abs().sum(1) > 0).all()) for name, g in found.items() if "norm" in name)


def test_stored_statistics_of_a_step_are_those_of_the_queries_after_it() -> None:
    def network() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 3), BatchNorm(3, "per-step-running"), nn.Linear(3, 2)).double()

    draw = torch.Generator().manual_seed(0)
    learner = GradientLearner(network(), sgd(0.5), 2)
    x = torch.randn(10, 4, dtype=torch.float64, generator=draw)
    task = Task(Examples(x[:4], torch.tensor([0, 0, 1, 1])), Examples(x[4:], torch.tensor([0, 1] * 3)))
    calibrate(learner, [task], learner.observe)
    norm = learner.network.get_submodule("1")
    assert isinstance(norm, BatchNorm)
    for step in range(3):
        reached = GradientLearner(network(), sgd(0.5), step).adapt(task.support)
        seen = task.query.x @ reached["0.weight"].T + reached["0.bias"]
        torch.testing.assert_close(norm.running_mean[step], seen.mean(0))
        torch.testing.assert_close(norm.running_var[step], seen.var(0, correction=0))


def test_stored_statistics_of_a_network_that_is_called_by_itself_serve_for_all_steps() -> None:
    norm, x = BatchNorm(3, "per-step-running"), torch.randn(8, 3)
    norm.set_steps(2)
    calibrate(norm, [x])
    assert torch.equal(norm.running_mean, x.mean(0).expand(3, 3))


# All of them.

SETTING = Setting(3, 1, (1, 28, 28))
OFF: dict[str, Any] = {
    "multi_step": 0.0,
    "first_order": 0.0,
    "norm": "query-batch",
    "learned_rates": "none",
    "schedule": "constant",
}
ON: dict[str, Any] = {
    "multi_step": 0.5,
    "first_order": 0.5,
    "norm": "per-step",
    "learned_rates": "tensor+step",
    "schedule": "cosine",
}
STEPS: dict[str, Any] = {"inner_lr": 0.1, "inner_steps": 2, "network": "conv4-stride"}


def images(batch: int) -> Task:
    def examples() -> Examples:
        return Examples(torch.rand(batch, 3, 1, 28, 28), torch.arange(3).expand(batch, 3))

    return Task(examples(), examples())


def after_training(method: MAML | MetaSGD, tasks: Task) -> dict[str, Tensor]:
    torch.manual_seed(0)
    learner = method.learner(SETTING)
    optimizer = method.optimizer(learner)
    for progress in (0.0, 0.4, 0.8):
        tell_progress(learner, progress)
        optimizer.step(learner, meta_gradient(learner, tasks, threads=1)[1], progress)
    return learner.state_dict()


def test_without_its_five_changes_it_is_maml_to_the_last_bit() -> None:
    tasks = images(2)
    plain = after_training(MAML(schedule="constant", **STEPS), tasks)
    off = after_training(MAMLPlusPlus(**OFF, **STEPS), tasks)
    assert plain.keys() == off.keys()
    assert all(torch.equal(plain[name], off[name]) for name in plain)


@pytest.mark.parametrize(
    ("method", "change"),  # a body that is not adapted has no steps to tell apart
    [(MAML, change) for change in ON] + [(ANIL, change) for change in ON if change != "norm"],
)
def test_each_change_alone_makes_another_training(method: type[MAML], change: str) -> None:
    tasks = images(1)
    off = after_training(method(**OFF, **STEPS), tasks)
    on = after_training(method(**{**OFF, change: ON[change]}, **STEPS), tasks)
    alike = [name for name in off if off[name].shape == on[name].shape]
    assert any(not torch.equal(off[name], on[name]) for name in alike)
    assert (off.keys() != on.keys()) == (change == "learned_rates")


BUILD: list[Callable[..., MAML | MetaSGD]] = [MAMLPlusPlus, FOMAML, MetaSGD]


@pytest.mark.parametrize("build", BUILD, ids=lambda b: b.title)
def test_learned_rates_and_multi_step_losses_go_with_every_inner_loop(
    build: Callable[..., MAML | MetaSGD],
) -> None:
    by_step = {"rates_by_step": True} if build is MetaSGD else {"learned_rates": "tensor+step"}
    learner = build(inner_steps=3, multi_step=0.5, network="conv4-stride", **by_step).learner(SETTING)
    assert isinstance(learner, GradientLearner)
    _, found = gradient(learner, images(1))
    rates = found["optimizer.rates.head/weight"]
    assert rates.shape[0] == 3
    assert bool((rates.flatten(1) if rates.dim() > 1 else rates[:, None]).abs().sum(1).gt(0).all())


def test_learned_rates_begin_as_the_inner_rate_of_the_kind_of_loss() -> None:
    for setting, rate in ((SETTING, 0.1), (Setting(None, 10, (1,)), 0.01)):
        for choice, shape in (("all", ()), ("tensor", ()), ("tensor+step", (5,))):
            learner = MAMLPlusPlus(learned_rates=choice).learner(setting)  # type: ignore[arg-type]
            rates = [p for name, p in learner.named_parameters() if name.startswith("optimizer")]
            assert (len(rates) == 1) == (choice == "all")
            assert all(p.shape == shape and bool((p == rate).all()) for p in rates)
