"""Learned update rules: what they are at special weights, to the last bit; their derivatives; their inputs."""

import copy
import math
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from fphi.learnable import GradientLearner
from fphi.objective import meta_gradient
from fphi.tasks.types import Examples, Task
from fphi.within import (
    InnerOptimizer,
    LSTMMetaLearner,
    LSTMOptimizer,
    Parameters,
    State,
    UpdateRule,
    learned_momentum,
    sgd,
)
from fphi.within.coordinates import CoordinateLSTM, preprocessed
from fphi.within.lstm_meta_learner import gated
from learners import random_tasks


def network(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype)


def adapted(rule: UpdateRule, steps: int = 5) -> Parameters:
    """Where a rule leads to from one start on one task."""
    torch.manual_seed(1)
    tasks = random_tasks(1, dtype=torch.float32)
    learner = GradientLearner(network(), rule, steps, order=1)
    return learner.adapt(Examples(tasks.support.x[0], tasks.support.y[0]))


def same_bits(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(one[name], p) for name, p in other.items())


# Learned momentum.


@pytest.mark.parametrize("per", ["all", "tensor"])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_learned_momentum_begins_as_gradient_descent_to_the_last_bit(
    per: str, momentum: float, nesterov: bool
) -> None:
    learned = adapted(learned_momentum(0.3, momentum, per, nesterov))  # type: ignore[arg-type]
    assert same_bits(learned, adapted(sgd(0.3, momentum, nesterov=nesterov and momentum > 0)))


@pytest.mark.parametrize("per", ["all", "tensor", "parameter"])
def test_a_trained_rule_that_is_handed_on_keeps_what_it_learned_of_the_tensors_it_knows(per: str) -> None:
    def handed_on(rule: UpdateRule, last: nn.Linear) -> InnerOptimizer:
        own = GradientLearner(nn.Sequential(nn.Linear(4, 3), last), rule, 1).optimizer
        assert isinstance(own, InnerOptimizer)
        return own

    trained = handed_on(learned_momentum(0.3, 0.9, per), nn.Linear(3, 2))  # type: ignore[arg-type]
    with torch.no_grad():
        for number, p in enumerate(trained.parameters()):
            p.fill_(number)
    before = {name: p.clone() for name, p in trained.named_parameters()}
    same = handed_on(trained, nn.Linear(3, 2))
    assert same_bits(before, dict(same.named_parameters()))
    assert before.keys() == dict(same.named_parameters()).keys()
    # Of another network only what has the same name and shape; the rest begins anew, or is there no more.
    found = dict(handed_on(trained, nn.Linear(3, 5, bias=False)).named_parameters())
    shared = {name for name, p in found.items() if before[name].shape == p.shape}
    assert same_bits(found, {name: before[name] for name in shared})
    new = {"rates.1/weight": 0.3, "momenta.1/weight": 0.9} if per == "parameter" else {}
    assert shared == found.keys() - new.keys()
    assert all(torch.equal(found[name], torch.full((5, 3), value)) for name, value in new.items())
    assert not {"rates.1/bias", "momenta.1/bias"} & found.keys()


def test_learned_momentum_takes_the_steps_worked_by_hand() -> None:
    """On ½hx² with h = 2, μ = 0.9, λ = 0.1 from x = 1."""
    rule, x = learned_momentum(0.1, 0.9), {"x": torch.ones((), dtype=torch.float64)}
    rule.register(x)
    rule.double()
    with torch.no_grad():  # 0.9 and 0.1 to the last digit, which float32 did not hold
        rule.momenta["all"].fill_(0.9)
        rule.rates["all"].fill_(0.1)
    state, reached, velocities = rule.init(x), [], []
    for step in range(3):
        x, state = rule.update({"x": 2 * x["x"]}, state, x, step)
        reached.append(x["x"].item())
        velocities.append(state["velocity"]["x"].item())
    assert reached == pytest.approx([0.8, 0.46, 0.062], rel=1e-12)
    assert velocities == pytest.approx([2, 3.4, 3.98], rel=1e-12)


# The preprocessing of gradients.


@pytest.mark.parametrize(
    ("g", "p", "expected"),
    [
        (1.0, 5, (0, 1)),
        (1.0, 10, (0, 1)),
        (1e-3, 5, (-1, 0.1484131591)),
        (1e-3, 10, (-0.6907755279, 1)),
        (-1e-8, 5, (-1, -1.4841315910e-6)),
        (-1e-8, 10, (-1, -2.2026465795e-4)),
        (0.0, 10, (-1, 0)),
    ],
)
def test_preprocessing_has_the_worked_values(g: float, p: float, expected: tuple[float, float]) -> None:
    found = preprocessed(torch.tensor(g, dtype=torch.float64), p).tolist()
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("p", [0.5, 10.0, 12.0, 88.0, 89.0, 100.0])
def test_preprocessing_is_finite_for_every_p_in_every_type(dtype: torch.dtype, p: float) -> None:
    """e^89 is infinite in float32, e^12 in half precision, where e^-18 is 0."""
    kinds = torch.finfo(dtype)
    g = torch.tensor([0.0, kinds.tiny, -1e-3, 1.0, kinds.max], dtype=dtype, requires_grad=True)
    found = preprocessed(g, p)
    exact = preprocessed(g.detach().double(), p)
    torch.testing.assert_close(found.double(), exact, rtol=0.02, atol=1e-6)
    nothing = torch.autograd.grad(found, g, torch.zeros_like(found))[0]
    assert torch.equal(nothing, torch.zeros_like(g))


def test_preprocessing_scales_numbers_that_are_smaller_than_usual_ones() -> None:
    found = preprocessed(torch.tensor([1e-39, -1e-39]), 89.0)
    second = math.exp(89) * 1e-39
    torch.testing.assert_close(found, torch.tensor([[-1.0, second], [-1.0, -second]]))


def test_preprocessing_has_a_finite_derivative_at_zero() -> None:
    g = torch.zeros(3, requires_grad=True)
    (gradient,) = torch.autograd.grad(preprocessed(g).sum(), g)
    torch.testing.assert_close(gradient, torch.full((3,), math.exp(10)))


# The LSTM optimizer.


def test_the_lstm_optimizer_has_the_paper_s_size_and_is_torch_s_lstm() -> None:
    """5,141 numbers; two torch cells with the same weights say the same steps."""
    torch.manual_seed(0)
    rule = LSTMOptimizer().double()
    assert sum(p.numel() for p in rule.parameters()) == 5141
    cells = [nn.LSTMCell(2, 20).double(), nn.LSTMCell(20, 20).double()]
    i, f, o, g = (torch.arange(20) + 20 * k for k in range(4))
    order = torch.cat((i, f, g, o))  # torch's order of the gates
    for cell, layer in zip(cells, rule.layers, strict=True):
        assert isinstance(layer, CoordinateLSTM)
        weight, bias = layer.weight[order], layer.bias[order]
        inputs = weight.shape[1] - 20
        state = {"weight_ih": weight[:, :inputs], "weight_hh": weight[:, inputs:], "bias_ih": bias}
        cell.load_state_dict({**state, "bias_hh": torch.zeros_like(bias)})
    now = {"a": torch.randn(4, 3, dtype=torch.float64), "b": torch.randn(5, dtype=torch.float64)}
    expected = torch.cat([p.flatten() for p in now.values()])
    state_now, states = rule.init(now), [(expected.new_zeros(17, 20),) * 2 for _ in cells]
    for step in range(3):
        gradients = {name: torch.randn_like(p) for name, p in now.items()}
        now, state_now = rule.update(gradients, state_now, now, step)
        x = preprocessed(torch.cat([g.flatten() for g in gradients.values()]))
        for k, cell in enumerate(cells):
            states[k] = cell(x, states[k])
            x = states[k][0]
        expected = expected + 0.01 * (x @ rule.step.weight[0] + rule.step.bias)
        torch.testing.assert_close(torch.cat([p.flatten() for p in now.values()]), expected)


@pytest.mark.parametrize("rule", [LSTMOptimizer(), LSTMMetaLearner(), LSTMMetaLearner(stacked=True)])
def test_coordinates_share_weights_and_not_states(rule: InnerOptimizer) -> None:
    """Permuting the coordinates permutes the steps, and no coordinate's gradient moves another."""
    torch.manual_seed(0)
    order = torch.randperm(8)
    gradients = torch.randn(3, 8)
    other = gradients.clone()
    other[:, 0] += 1

    def path(gradients: Tensor, start: Tensor) -> Tensor:
        now, state = {"p": start}, rule.init({"p": start})
        for step, g in enumerate(gradients):
            state = rule.observe(torch.tensor(0.7), state)
            now, state = rule.update({"p": g}, state, now, step)
        return now["p"]

    start = torch.randn(8)
    reached = path(gradients, start)
    torch.testing.assert_close(path(gradients[:, order], start[order]), reached[order])
    moved = (path(other, start) != reached).nonzero().flatten()
    assert moved.tolist() == [0]


# The LSTM meta-learner.


def fixed(rule: LSTMMetaLearner, **biases: float) -> LSTMMetaLearner:
    """With constant gates: only the biases are not zero."""
    rule = copy.deepcopy(rule)
    with torch.no_grad():
        for name, gate in ((name, rule.gate(name)) for name in rule.gates):
            gate.linear.weight.zero_()
            gate.linear.bias.fill_(biases[name])
    return rule


OPEN = 50.0  # whose sigmoid is 1, and of minus it 0 beside any gradient


def test_a_cell_that_forgets_nothing_and_takes_a_share_is_gradient_descent_to_the_last_bit() -> None:
    """f = 1 and i = σ(0) = 1/2: the whole inner loop, and ``torch.optim.SGD(lr=0.5)`` on any gradients."""
    rule = fixed(LSTMMetaLearner(), forget=OPEN, take=0.0)
    assert same_bits(adapted(rule), adapted(sgd(0.5)))
    now = {"a": torch.randn(1003)}
    plain, state = now["a"].clone(), rule.init(now)
    optimizer = torch.optim.SGD([plain], lr=0.5)
    for step in range(5):
        plain.grad = torch.randn(1003)
        state = rule.observe(torch.rand(()), state)
        now, state = rule.update({"a": plain.grad}, state, now, step)
        optimizer.step()
    assert torch.equal(now["a"], plain)
    p, g = torch.randn(2, 1000)
    for rate in (0.01, 0.1, 0.3):
        assert torch.equal(gated(p, -g, torch.ones(1000), torch.full((1000,), rate)), p - rate * g)


def test_a_cell_that_forgets_a_little_is_gradient_descent_with_weight_decay() -> None:
    keep = 1 - 0.5 * 0.1  # 1 - ηλ
    reached = adapted(fixed(LSTMMetaLearner(), forget=math.log(keep / (1 - keep)), take=0.0))
    expected = adapted(sgd(0.5, weight_decay=0.1))
    for name, p in expected.items():
        torch.testing.assert_close(reached[name], p, rtol=1e-5, atol=1e-6)


def test_the_stacked_cell_gathers_momentum() -> None:
    """Lower cell m ← ½ m - ∇, upper θ ← θ + ½ m: momentum, to the last bit."""
    rule = LSTMMetaLearner(stacked=True)
    reached = adapted(fixed(rule, forget=OPEN, take=0.0, keep=0.0, gather=OPEN))
    assert same_bits(reached, adapted(sgd(0.5, momentum=0.5)))


def test_a_stacked_cell_whose_lower_cell_passes_all_on_is_the_single_one() -> None:
    torch.manual_seed(3)
    single, stacked = LSTMMetaLearner(rate=0.3), LSTMMetaLearner(rate=0.3, stacked=True)
    stacked.load_state_dict(single.state_dict(), strict=False)
    with torch.no_grad():
        for name, bias in (("keep", -200.0), ("gather", OPEN)):
            stacked.gate(name).linear.weight.zero_()
            stacked.gate(name).linear.bias.fill_(bias)
    one = adapted(single)
    assert same_bits(adapted(stacked), one)


def test_the_meta_learner_reads_the_loss() -> None:
    rule, p = LSTMMetaLearner(), {"p": torch.randn(2, 4)}
    with torch.no_grad():
        for weights in rule.parameters():
            weights.add_(torch.randn_like(weights))

    def step(losses: Tensor) -> Tensor:
        state = rule.observe(losses, rule.init(p))
        return rule.update({"p": torch.ones(2, 4)}, state, p, 0)[0]["p"]

    one, other = step(torch.tensor([0.1, 2.0])), step(torch.tensor([0.1, 3.0]))
    assert torch.equal(one[0], other[0])  # a task has its own loss
    assert not torch.equal(one[1], other[1])


# Derivatives.

RULES: dict[str, Callable[[], InnerOptimizer]] = {
    "momentum": lambda: learned_momentum(0.1, 0.5, "tensor"),
    "nesterov": lambda: learned_momentum(0.1, 0.5, "parameter", nesterov=True),
    "lstm": lambda: LSTMOptimizer(hidden=2, scale=1.0),
    "lstm, as it is": lambda: LSTMOptimizer(hidden=4, layers=1, p=None),
    "meta-learner": lambda: LSTMMetaLearner(hidden=2, rate=0.2),
    "stacked": lambda: LSTMMetaLearner(hidden=2, rate=0.2, stacked=True, memory=0.5),
}


@pytest.mark.parametrize("name", RULES)
def test_three_steps_pass_a_gradient_check(name: str) -> None:
    """By all that is learned and by the start; in float64, gradients and losses being constants."""
    torch.manual_seed(0)
    rule, start = RULES[name](), {"a": torch.randn(2, 1).double(), "b": torch.randn(1).double()}
    rule.register(start)
    rule.double()
    with torch.no_grad():
        for weights in rule.parameters():
            weights.add_(0.1 * torch.randn_like(weights))
    gradients = [{k: torch.randn_like(p) for k, p in start.items()} for _ in range(3)]
    names, learned = zip(*rule.named_parameters(), strict=True)

    def reached(*inputs: Tensor) -> tuple[Tensor, ...]:
        own = dict(zip(names, inputs, strict=False))
        return tuple(torch.func.functional_call(_Path(rule, gradients), {f"rule.{k}": p for k, p in own.items()}, (dict(zip(start, inputs[len(own):], strict=True)),)).values())  # fmt: skip

    inputs = [t.detach().requires_grad_() for t in (*learned, *start.values())]
    assert torch.autograd.gradcheck(reached, inputs)


class _Path(nn.Module):
    def __init__(self, rule: InnerOptimizer, gradients: list[Parameters]) -> None:
        super().__init__()
        self.rule, self.gradients = rule, gradients

    def forward(self, now: Parameters) -> Parameters:
        state: State = self.rule.init(now)
        for step, gradient in enumerate(self.gradients):
            state = self.rule.observe(torch.tensor(0.3 + step).double(), state)
            now, state = self.rule.update(gradient, state, now, step)
        return now


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("order", [1, 2])
def test_recomputed_steps_have_the_gradient_of_stored_ones(name: str, order: int) -> None:
    torch.manual_seed(0)
    sets = (Examples(torch.randn(2, n, 3).double(), torch.randint(2, (2, n))) for n in (5, 4))
    tasks, found = Task(*sets), {}
    for memory in ("stored", "recomputed"):
        torch.manual_seed(1)
        learner = GradientLearner(nn.Linear(3, 2), RULES[name](), 4, order=order, memory=memory).double()  # type: ignore[arg-type]
        found[memory] = meta_gradient(learner, tasks, threads=1)
    assert found["stored"][0] == found["recomputed"][0]
    for key, gradient in found["stored"][1].items():
        torch.testing.assert_close(found["recomputed"][1][key], gradient, rtol=1e-9, atol=1e-13)


def test_many_coordinates_step_in_blocks_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no derivative is taken through them."""
    rule = LSTMOptimizer(hidden=3).double()
    now = {"a": torch.randn(2, 5, 7, dtype=torch.float64), "b": torch.randn(2, 4, dtype=torch.float64)}
    state = rule.init(now)
    state = {part: {k: torch.randn_like(t) for k, t in own.items()} for part, own in state.items()}
    gradients = {name: torch.randn_like(p) for name, p in now.items()}
    moved, after = rule.update(gradients, state, now, 0)
    monkeypatch.setattr("fphi.within.lstm_optimizer._BLOCK", 16)
    with torch.no_grad():
        in_blocks, carried = rule.update(gradients, state, now, 0)
    for name in now:
        torch.testing.assert_close(in_blocks[name], moved[name].detach(), rtol=1e-12, atol=0)
        for part in after:
            torch.testing.assert_close(carried[part][name], after[part][name].detach(), rtol=1e-12, atol=0)
