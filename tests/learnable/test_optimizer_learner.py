"""Learning an optimizer over problems: random starts, losses along the way, stretches of steps."""

import pytest
import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable import OptimizerLearner
from fphi.learnable.optimizer import optimizer_learner
from fphi.methods.base import Setting
from fphi.methods.lstm_optimizer import LSTMOptimizerMethod
from fphi.methods.tuned_optimizer import TunedOptimizer
from fphi.objective import meta_gradient
from fphi.run.meta.evaluate import evaluate
from fphi.tasks import QuadraticTasks
from fphi.tasks.types import Examples, Task
from fphi.within import LSTMOptimizer, UpdateRule, adam, learned_rate, sgd
from fphi.within.adaptive import RMSprop
from fphi.within.progress import tell_progress
from fphi.within.tuned_rate import TunedRate
from graph_memory import held_at_most
from learners import conv, random_tasks

QUADRATICS = QuadraticTasks()


def problems(count: int = 3) -> Task:
    tasks = QUADRATICS.batch("train", range(count))
    return Task(*(Examples(e.x.double(), e.y.double()) for e in tasks))


def learner(rule: UpdateRule, steps: int = 6, **options: object) -> OptimizerLearner:
    torch.manual_seed(0)
    network = nn.Linear(10, 1, bias=False)
    made = OptimizerLearner(
        network,
        rule,
        steps,
        **{"start": 0.01, "loss": nn.functional.mse_loss, **options},  # type: ignore[arg-type]
    )
    return made.double()


def small_lstm() -> LSTMOptimizer:
    torch.manual_seed(4)
    return LSTMOptimizer(hidden=3, p=None, scale=0.1)


def value(tasks: Task, theta: Tensor) -> Tensor:
    """‖Wθ - y‖² of each problem ``[B]``, W and y as they were before their scaling by √10."""
    w, y = tasks.support.x / 10**0.5, tasks.support.y[..., 0] / 10**0.5
    return ((w @ theta[..., None])[..., 0] - y).square().sum(1)


def by_hand(tasks: Task, rule: LSTMOptimizer, start: Tensor, steps: int, unroll: int) -> list[Tensor]:
    """The gradient of the mean loss along the way, in plain loops: gradients constant, stretches apart."""
    now, state = {"weight": start}, rule.init({"weight": start})
    sums = [torch.zeros_like(p) for p in rule.parameters()]
    part = torch.zeros((), dtype=torch.float64)
    for step in range(steps):
        theta = now["weight"].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(value(tasks, theta[:, 0]).sum(), theta)
        now, state = rule.update({"weight": gradient}, state, now, step)
        part = part + value(tasks, now["weight"][:, 0]).mean() / steps
        if (step + 1) % unroll == 0 or step + 1 == steps:
            found = torch.autograd.grad(part, list(rule.parameters()))
            sums = [a + b for a, b in zip(sums, found, strict=True)]
            now = {k: p.detach() for k, p in now.items()}
            state = {k: {n: p.detach() for n, p in v.items()} for k, v in state.items()}
            part = torch.zeros((), dtype=torch.float64)
    return sums


@pytest.mark.parametrize("unroll", [1, 2, 4, 6, 9])
def test_the_meta_gradient_is_that_of_plain_loops(unroll: int) -> None:
    """Stretches of any length: parameters and state go on over their ends, derivatives do not."""
    tasks, own = problems(), learner(small_lstm(), unroll=unroll)
    _, found = meta_gradient(own, tasks, threads=1)
    assert isinstance(own.optimizer, LSTMOptimizer)
    start = own._begin(tasks.support)["weight"]
    expected = by_hand(tasks, own.optimizer, start, 6, unroll)
    for gradient, other in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-9, atol=1e-13)


def test_shorter_stretches_have_another_gradient_of_the_same_loss() -> None:
    tasks = problems()
    (loss, whole), (same, short) = (
        meta_gradient(learner(small_lstm(), unroll=u), tasks, threads=1) for u in (None, 2)
    )
    torch.testing.assert_close(loss, same, rtol=1e-12, atol=0)
    assert not torch.allclose(whole["optimizer.step.weight"], short["optimizer.step.weight"], rtol=1e-3)


def test_single_stretches_sum_to_all_of_them_and_each_comes_as_often() -> None:
    """Moments of a training draw stretches evenly; each, times 3, is on average the whole gradient."""
    tasks = problems()
    loss, whole = meta_gradient(learner(small_lstm(), unroll=2), tasks, threads=1)
    own = learner(small_lstm(), unroll=2, stretches="one")
    seen: dict[int, list[float]] = {}
    for step in range(300):
        tell_progress(own, step / 300)
        seen.setdefault(own._counted(3).start, []).append(step / 300)
    assert sorted(seen) == [0, 1, 2]
    assert all(60 < len(moments) < 140 for moments in seen.values())  # five deviations around 100
    losses, gradients = [], []
    for moments in seen.values():
        own.set_progress(moments[0])
        part, gradient = meta_gradient(own, tasks, threads=1)
        losses.append(part)
        gradients.append(gradient)
    torch.testing.assert_close(torch.stack(losses).mean(), loss, rtol=1e-12, atol=0)
    for name, expected in whole.items():
        mean = torch.stack([g[name] for g in gradients]).mean(0)
        torch.testing.assert_close(mean, expected, rtol=1e-9, atol=1e-14)
    assert len({float(part) for part in losses}) == 3
    torch.testing.assert_close(own.eval().task_losses(tasks).mean(), loss, rtol=1e-12, atol=0)


def test_the_loss_is_the_mean_along_the_way() -> None:
    """One step of gradient descent on ‖Wθ - y‖², and another, by hand."""
    tasks, own = problems(2), learner(sgd(0.01), steps=2)
    theta = own._begin(tasks.support)["weight"][:, 0]
    w, y = tasks.support.x / 10**0.5, tasks.support.y[..., 0] / 10**0.5
    losses = []
    for _ in range(2):
        residual = (w @ theta[..., None])[..., 0] - y
        theta = theta - 0.01 * 2 * (w.transpose(1, 2) @ residual[..., None])[..., 0]
        losses.append(value(tasks, theta))
    torch.testing.assert_close(own.task_losses(tasks), torch.stack(losses).mean(0), rtol=1e-10, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(own.task_losses(tasks), torch.stack(losses).mean(0), rtol=1e-10, atol=0)


def test_a_start_is_a_function_of_the_task_alone() -> None:
    tasks = problems(4)
    own, other = learner(sgd(0.01)), learner(small_lstm())
    starts = own._begin(tasks.support)["weight"]
    torch.manual_seed(99)
    assert torch.equal(other._begin(tasks.support)["weight"], starts)
    alone = own._begin(Examples(tasks.support.x[2:3], tasks.support.y[2:3]))["weight"]
    assert torch.equal(alone[0], starts[2])
    assert len({tuple(p.flatten().tolist()) for p in starts}) == 4
    many = learner(sgd(0.01), start=0.5)._begin(QUADRATICS.batch("test", range(400)).support)["weight"]
    assert abs(float(many.mean())) < 4 * 0.5 / 4000**0.5
    assert float(many.std()) == pytest.approx(0.5, rel=0.05)


def test_without_a_deviation_each_tensor_starts_as_the_network_s_own() -> None:
    network = nn.Sequential(nn.Linear(256, 30), nn.LayerNorm(30), nn.Linear(30, 1, bias=False))
    own = OptimizerLearner(network, sgd(0.1), 1)
    starts = own._begin(Examples(torch.rand(50, 2, 256), torch.zeros(50, 2)))
    assert torch.equal(starts["1.weight"], torch.ones(50, 30))  # a scale is 1 in all of a tensor
    assert torch.equal(starts["1.bias"], torch.zeros(50, 30))
    for name in ("0.weight", "2.weight"):
        drawn = float(starts[name].std())
        assert drawn == pytest.approx(float(network.state_dict()[name].std()), rel=0.1)


def test_the_network_is_no_part_of_what_is_learned() -> None:
    own = learner(small_lstm())
    assert all(name.startswith("optimizer.") for name in own.state_dict())
    assert {name for name, _ in own.named_parameters()} == set(own.state_dict())
    assert own.network.weight.dtype == torch.float64  # it goes where the learner goes
    assert not own.eval().network.training


def test_more_steps_at_test_than_in_training_and_none_at_all() -> None:
    tasks = problems()
    longer = evaluate(learner(sgd(0.01), steps=3, test_steps=8), tasks, inductive=False)
    assert [row["step"] for row in longer.by_step] == list(range(9))
    assert longer.by_step[8]["loss"] < longer.by_step[3]["loss"]
    none = learner(sgd(0.01), steps=0)
    torch.testing.assert_close(
        none.task_losses(tasks), value(tasks, none._begin(tasks.support)["weight"][:, 0])
    )


def test_inductive_answers_of_a_norm_layer_do_not_see_other_queries() -> None:
    own = OptimizerLearner(conv(), sgd(0.1), 1).double()
    tasks = random_tasks(1)
    answers = own.answers_at_test(tasks.support, tasks.query.x)
    assert own.shares_queries(tasks.support, tasks.query.x)
    assert answers.alone is not None
    first = own.answers_at_test(tasks.support, tasks.query.x[:, :1]).alone
    assert first is not None
    torch.testing.assert_close(answers.alone[:, :1], first)


def test_rules_made_by_hand_are_torch_s() -> None:
    for rule, theirs in (
        (RMSprop(0.01), torch.optim.RMSprop),
        (TunedRate(adam(0.01)), torch.optim.Adam),
        (TunedRate(RMSprop(0.01)), torch.optim.RMSprop),
    ):
        now = {"a": torch.randn(7, dtype=torch.float64)}
        plain, state = now["a"].clone(), rule.init(now)
        optimizer = theirs([plain], lr=0.01)
        for step in range(5):
            plain.grad = torch.randn(7, dtype=torch.float64)
            now, state = rule.update({"a": plain.grad}, state, now, step)
            optimizer.step()
        torch.testing.assert_close(now["a"].detach(), plain, rtol=1e-11, atol=1e-13)


def test_tuning_moves_a_rate_that_is_too_small_up_and_one_too_large_down() -> None:
    """The derivative of lⁿ by the logarithm of the rate, as for a rate that is learned itself."""
    tasks = problems(8)
    for rate, sign in ((1e-4, -1), (0.045, 1)):
        _, gradients = meta_gradient(learner(TunedRate(sgd(rate)), unroll=None), tasks, threads=1)
        _, direct = meta_gradient(learner(learned_rate(rate, per="all"), unroll=None), tasks, threads=1)
        slope = float(gradients["optimizer.logarithm"])
        assert slope == pytest.approx(float(direct["optimizer.rates.all"]) * rate, rel=1e-6)
        assert slope * sign > 0


def test_methods_fit_their_networks_to_the_problem() -> None:
    shapes = {
        (10,): {"weight": [1, 10]},
        (1, 8, 8): {"2.weight": [20, 64], "2.bias": [20], "4.weight": [10, 20], "4.bias": [10]},
        (1, 28, 28): {"2.weight": [20, 64], "2.bias": [20], "4.weight": [10, 20], "4.bias": [10]},
    }
    for shape, expected in shapes.items():
        made = LSTMOptimizerMethod().learner(Setting(None if len(shape) == 1 else 10, 1, shape))
        assert isinstance(made, OptimizerLearner)
        assert {name: list(p.shape) for name, p in made.adaptable.items()} == expected
    waves = TunedOptimizer(rule="sgd").learner(Setting(None, 5, (1,)))
    assert isinstance(waves, OptimizerLearner)
    assert len(waves.adaptable) == 6
    with pytest.raises(FphiError, match="rule is 'lion'; it must be one of sgd, momentum"):
        TunedOptimizer(rule="lion")  # type: ignore[arg-type]


def test_a_short_training_beats_every_rate_of_gradient_descent() -> None:
    """On quadratics, by the mean loss along the way of problems that it has not seen."""
    torch.manual_seed(0)
    rule = LSTMOptimizer(hidden=8, layers=1, p=None, scale=0.3)
    made = OptimizerLearner(
        nn.Linear(10, 1, bias=False), rule, 10, unroll=10, start=0.01, loss=nn.functional.mse_loss
    )
    descent = torch.optim.Adam(made.parameters(), lr=0.03)
    for step in range(60):
        tasks = QUADRATICS.batch("train", range(16 * step, 16 * (step + 1)))
        for (name, p), gradient in zip(made.named_parameters(), meta_gradient(made, tasks, threads=1)[1].values(), strict=True):  # fmt: skip
            assert name
            p.grad = gradient
        descent.step()
    unseen = QUADRATICS.batch("test", range(100))
    with torch.no_grad():
        reached = float(made.task_losses(unseen).mean())
        rates = [0.002, 0.004, 0.008, 0.012, 0.016, 0.02, 0.03]
        best = min(float(learner(sgd(rate), steps=10).float().task_losses(unseen).mean()) for rate in rates)
    assert reached < best


@pytest.mark.parametrize("unroll", [2, 4, None])
@pytest.mark.parametrize("stretches", ["all", "one"])
@pytest.mark.parametrize("order", [1, 2])
def test_a_stretch_that_is_computed_again_has_the_same_gradient(
    unroll: int | None, stretches: str, order: int
) -> None:
    stored, again = (
        learner(small_lstm(), memory=memory, unroll=unroll, stretches=stretches, order=order)
        for memory in ("stored", "recomputed")
    )
    for own in (stored, again):
        tell_progress(own, 0.0)
    loss, gradients = meta_gradient(stored, problems(), threads=1)
    loss_again, gradients_again = meta_gradient(again, problems(), threads=1)
    torch.testing.assert_close(loss_again, loss, rtol=1e-12, atol=0)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradients_again[name], gradient, rtol=1e-9, atol=1e-14)


def test_what_would_take_gigabytes_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An LSTM's graph holds some hundred numbers for each weight and each step."""
    own = learner(small_lstm(), steps=40, unroll=None)
    stored = held_at_most(own, problems(1))
    carried = 10 * (1 + 4 * 3)  # of ten numbers, each with two layers' output and cell
    monkeypatch.setattr(optimizer_learner, "_STORED", 40 * carried)
    assert held_at_most(own, problems(1)) == stored
    monkeypatch.setattr(optimizer_learner, "_STORED", 40 * carried - 1)
    assert held_at_most(own, problems(1)) < stored / 10


def test_the_usual_stretch_is_stored() -> None:
    """That of the problems that a rule is learned on is small, and computing it again would take longer."""
    stored, usual = (learner(small_lstm(), memory=m) for m in ("stored", "auto"))
    gradients = [meta_gradient(own, problems(), threads=1)[1] for own in (stored, usual)]
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])
