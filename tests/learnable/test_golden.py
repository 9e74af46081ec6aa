"""Worked numbers: each was derived by hand, so an agreement is no accident."""

from typing import Literal, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from fphi.learnable import GradientLearner, PrototypicalLearner, ReptileLearner
from fphi.learnable.initialization.minibatches import minibatch_rows
from fphi.objective import meta_gradient
from fphi.tasks.types import Examples, Task
from fphi.within import learned_rate, sgd

PHI = [2.0, 3.0, 5.0]
ORDERS: tuple[Literal[1], Literal[2]] = (1, 2)


class Dot(nn.Module):
    """f(x) = x·w with w = φ = [2, 3, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(PHI, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.w


def half_square(output: Tensor, _: Tensor) -> Tensor:
    return 0.5 * output.square().mean()


def output_itself(output: Tensor, _: Tensor) -> Tensor:
    return output.mean()


def task(*support: list[float], query: list[float]) -> Task:
    x = torch.tensor([support], dtype=torch.float64)
    q = torch.tensor([[query]], dtype=torch.float64)
    return Task(Examples(x, torch.zeros(x.shape[:2])), Examples(q, torch.zeros(1, 1)))


class G1(NamedTuple):
    name: str
    support: list[float]
    query: list[float]
    alpha: float
    steps: int
    reached: list[float]
    loss: float
    order2: list[float]
    order1: list[float]


CASES = [
    G1("A", [1, 2, 3], [4, 5, 6], 0.5, 1, [-9.5, -20, -29.5], 49612.5, [3780, 8505, 13230], [-1260, -1575, -1890]),
    G1("B", [4, 5, 6], [1, 2, 3], 0.5, 1, [-104, -129.5, -154], 340312.5, [51975, 64350, 76725], [-825, -1650, -2475]),
    G1("C", [1, 2, 3], [4, 5, 6], 1, 3, [-3609, -7219, -10828], 6670009500.5,
       [579804980, 1159956457, 1740107934], [-461996, -577495, -692994]),
    G1("D", [1, 0, 1], [0, 1, 2], 0.25, 2, [-0.625, 3, 2.375], 30.03125, [-5.8125, 7.75, 9.6875], [0, 7.75, 15.5]),
]  # fmt: skip


@pytest.mark.parametrize("memory", ["stored", "recomputed"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_maml_on_a_linear_model(case: G1, memory: str) -> None:
    tasks = task(case.support, query=case.query)
    for order, expected in ((2, case.order2), (1, case.order1)):
        learner = GradientLearner(
            Dot(),
            sgd(case.alpha),
            case.steps,
            order=order,  # type: ignore[arg-type]
            loss=half_square,
            memory=memory,  # type: ignore[arg-type]
        )
        loss, gradients = meta_gradient(learner, tasks)
        assert loss.item() == case.loss
        assert gradients["network.w"].tolist() == expected
        adapted = learner.adapt(Examples(tasks.support.x[0], tasks.support.y[0]))
        assert adapted["w"].tolist() == case.reached


def test_the_losses_on_the_way() -> None:
    tasks = task([1, 2, 3], query=[1, 2, 3])
    learner = GradientLearner(Dot(), sgd(1.0), 1, loss=half_square)
    answers = learner.answers_at_test(tasks.support, tasks.query.x, steps=2).by_step
    assert answers is not None
    assert (0.5 * answers.square()).flatten().tolist() == [264.5, 44700.5, 7554384.5]


def test_the_output_as_outer_objective() -> None:
    """Case C with x_Q·w' in place of the query loss; the inner loss stays ½(x_S·w)²."""
    tasks = task([1, 2, 3], query=[4, 5, 6])
    learner = GradientLearner(Dot(), sgd(1.0), 3, loss=half_square)
    output = learner.solve(tasks.support, tasks.query.x).sum()
    (gradient,) = torch.autograd.grad(output, list(learner.parameters()))
    assert output.item() == -115499
    assert gradient.tolist() == [-5020, -10043, -15066]


def test_meta_sgd_learns_its_rates_by_the_product_of_two_gradients() -> None:
    learner = GradientLearner(Dot(), learned_rate(0.5), 1, loss=half_square)
    _, gradients = meta_gradient(learner, task([1, 2, 3], query=[4, 5, 6]))
    assert gradients["network.w"].tolist() == [3780, 8505, 13230]
    assert gradients["optimizer.rates.w"].tolist() == [28980, 72450, 130410]


def test_one_learned_rate_for_all_has_the_summed_gradient() -> None:
    learner = GradientLearner(Dot(), learned_rate(0.5, per="tensor"), 1, loss=half_square)
    _, gradients = meta_gradient(learner, task([1, 2, 3], query=[4, 5, 6]))
    assert gradients["optimizer.rates.w"].item() == 28980 + 72450 + 130410


def test_one_learned_rate_for_all_tensors_has_the_summed_gradient_of_theirs() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 2)).double()
    examples = Examples(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]).double(), torch.tensor([[0, 1]]))
    found = {}
    for per in ("tensor", "all"):
        learner = GradientLearner(network, learned_rate(0.5, per=per), 2)
        found[per] = meta_gradient(learner, Task(examples, examples))[1]
    single = [gradient for name, gradient in found["tensor"].items() if name.startswith("optimizer.rates.")]
    assert len(single) == 4
    torch.testing.assert_close(found["all"]["optimizer.rates.all"], torch.stack(single).sum())
    assert [name for name in found["all"] if name.startswith("optimizer.")] == ["optimizer.rates.all"]


def test_frozen_equal_rates_are_maml_bit_for_bit() -> None:
    tasks = task([1, 2, 3], query=[4, 5, 6])
    frozen = GradientLearner(Dot(), learned_rate(0.3, learnable=False), 3, loss=half_square)
    plain = GradientLearner(Dot(), sgd(0.3), 3, loss=half_square)
    a, b = meta_gradient(frozen, tasks), meta_gradient(plain, tasks)
    assert list(a[1]) == list(b[1]) == ["network.w"]
    assert torch.equal(a[0], b[0])
    torch.testing.assert_close(a[1], b[1], rtol=1e-14, atol=0)


def reptile(steps: int, alpha: float = 0.01) -> ReptileLearner:
    return ReptileLearner(Dot(), sgd(alpha), steps, order=1, loss=half_square, minibatch=1)


def test_reptile_is_the_sum_of_the_inner_gradients() -> None:
    """G2. The shuffle decides which example comes first, so the examples are put in its order."""
    first, second = [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]
    rows = [int(minibatch_rows(i, 2, 1)) for i in range(2)]
    placed = [first, second] if rows == [0, 1] else [second, first]
    _, gradients = meta_gradient(reptile(2), task(*placed, query=[0, 0, 0]))
    torch.testing.assert_close(
        gradients["network.w"], torch.tensor([205.56, 274.2, 342.84], dtype=torch.float64), rtol=1e-12, atol=0
    )


def test_reptile_with_one_step_is_joint_training() -> None:
    x = [1.0, 2.0, 3.0]
    _, gradients = meta_gradient(reptile(1), task(x, query=x))
    torch.testing.assert_close(
        gradients["network.w"], torch.tensor([23.0, 46.0, 69.0], dtype=torch.float64), rtol=1e-12, atol=0
    )


def test_reptile_of_equal_tasks_is_that_of_one() -> None:
    one = task([1, 2, 3], [4, 5, 6], query=[0, 0, 0])
    many = Task(*(Examples(e.x.expand(4, -1, -1), e.y.expand(4, -1)) for e in one))
    a, b = meta_gradient(reptile(2), one), meta_gradient(reptile(2), many)
    torch.testing.assert_close(a, b, rtol=1e-12, atol=0)


def test_fomaml_and_maml_on_two_minibatches() -> None:
    """G2: FOMAML with minibatch 1 as support and 2 as query is g₂; MAML adds the curvature."""
    tasks = task([1, 2, 3], query=[4, 5, 6])
    expected = {1: [182.56, 228.2, 273.84], 2: [167.9552, 198.9904, 230.0256]}
    for order, numbers in expected.items():
        learner = GradientLearner(Dot(), sgd(0.01), 1, order=order, loss=half_square)  # type: ignore[arg-type]
        _, gradients = meta_gradient(learner, tasks)
        torch.testing.assert_close(
            gradients["network.w"], torch.tensor(numbers, dtype=torch.float64), rtol=1e-12, atol=0
        )


def test_without_a_step_the_gradient_is_the_pooled_one() -> None:
    """α = 0, and no steps: ∇ = the query gradient at φ."""
    tasks = task([1, 2, 3], query=[4, 5, 6])
    at_phi = 53 * torch.tensor([4.0, 5.0, 6.0], dtype=torch.float64)
    for learner in (
        GradientLearner(Dot(), sgd(0.0), 3, loss=half_square),
        GradientLearner(Dot(), sgd(0.5), 0, loss=half_square),
    ):
        assert torch.equal(meta_gradient(learner, tasks)[1]["network.w"], at_phi)


def test_a_linear_loss_has_no_curvature_and_maml_is_fomaml() -> None:
    tasks = task([1, 2, 3], query=[4, 5, 6])
    a, b = (
        meta_gradient(GradientLearner(Dot(), sgd(0.5), 3, order=order, loss=output_itself), tasks)
        for order in ORDERS
    )
    assert torch.equal(a[1]["network.w"], b[1]["network.w"])


def test_prototypical_probability() -> None:
    """G14: prototypes (1, 0) and (0, 3); the query (1, 1) is 1 and 5 away, squared."""
    support = Examples(
        torch.tensor([[0.0, 0], [2, 0], [0, 4], [0, 2]], dtype=torch.float64), torch.tensor([0, 0, 1, 1])
    )
    logits = PrototypicalLearner(nn.Identity())(support, torch.tensor([[1.0, 1.0]], dtype=torch.float64))
    assert logits.tolist() == [[-1.0, -5.0]]
    assert logits.softmax(-1)[0, 0].item() == pytest.approx(0.9820137900, abs=1e-10)
    unsquared = (-(-logits).sqrt()).softmax(-1)[0, 0].item()
    assert unsquared == pytest.approx(0.7748788473, abs=1e-10)


def test_prototypical_is_a_linear_classifier() -> None:
    """Up to what all classes share, -|q - c|² is q·2c - |c|²."""
    centers, queries = torch.randn(4, 6, dtype=torch.float64), torch.randn(7, 6, dtype=torch.float64)
    logits = PrototypicalLearner(nn.Identity())(Examples(centers, torch.arange(4)), queries)
    linear = queries @ (2 * centers).T - centers.square().sum(1)
    torch.testing.assert_close(logits.softmax(-1), linear.softmax(-1))


def test_momentum_on_a_parabola() -> None:
    """G6: ½hx² with h = 2, μ = 0.9, λ = 0.1 from x = 1."""
    optimizer, x = sgd(0.1, momentum=0.9), {"x": torch.tensor(1.0, dtype=torch.float64)}
    state, seen = optimizer.init(x), []
    for step in range(3):
        x, state = optimizer.update({"x": 2 * x["x"]}, state, x, step)
        seen.append((x["x"].item(), state["velocity"]["x"].item()))
    torch.testing.assert_close(torch.tensor(seen), torch.tensor([(0.8, 2.0), (0.46, 3.4), (0.062, 3.98)]))


def test_minibatches_use_every_example_once_a_pass() -> None:
    for examples, size in ((50, 10), (6, 4), (5, 5), (7, 3)):
        stream = torch.cat([minibatch_rows(i, examples, size) for i in range(examples)])
        for p in range(size):
            assert sorted(stream[p * examples : (p + 1) * examples].tolist()) == list(range(examples))
    assert len(minibatch_rows(0, 3, 10)) == 3
