"""Implicit MAML: closed forms, the limit of unrolled steps, and a memory that does not grow with them."""

import weakref
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Literal

import pytest
import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable import GradientLearner, ImplicitLearner, ReptileLearner
from fphi.methods.base import Setting
from fphi.methods.imaml import IMAML
from fphi.networks import MLP
from fphi.objective import meta_gradient
from fphi.tasks.types import Examples, Task
from fphi.within import InnerOptimizer, Parameters, UpdateRule, adam, learned_momentum, learned_rate, sgd
from fphi.within.implicit import conjugate_gradient, neumann
from fphi.within.optimizers import SGD, State
from graph_memory import held_at_most


class Linear(nn.Module):
    """f(x) = x·w."""

    def __init__(self, *w: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.w


def half_square(answers: Tensor, targets: Tensor) -> Tensor:
    return 0.5 * (answers - targets).square().sum()


def exactly(steps: int) -> partial[Parameters]:
    return partial(conjugate_gradient, steps=steps, tasks=True)


def test_the_linear_model_by_hand() -> None:
    """½(x·θ)² at x_S = [1, 2, 3] with λ = 2 and φ = [2, 3, 5]: one step of 1/16 reaches the minimum."""
    support, query = (torch.tensor([[x]], dtype=torch.float64) for x in ([1.0, 2, 3], [4.0, 5, 6]))
    tasks = Task(Examples(support, torch.zeros(1, 1)), Examples(query, torch.zeros(1, 1)))
    learner = ImplicitLearner(
        Linear(2, 3, 5), sgd(1 / 16), 1, strength=2.0, inverse=exactly(2), loss=half_square
    )
    reached = learner.adapt(Examples(support[0], torch.zeros(1)))["w"]
    assert reached.tolist() == [9 / 16, 1 / 8, 11 / 16]
    loss, gradients = meta_gradient(learner, tasks)
    assert loss.item() == 24.5
    torch.testing.assert_close(
        gradients["network.w"], torch.tensor([14.0, 7.0, 0.0], dtype=torch.float64), rtol=0, atol=1e-12
    )


def ridge_tasks() -> Task:
    """Three tasks of regression, four numbers to five examples and six queries."""
    sets = []
    for n in (5, 6):
        sets.append(
            Examples(torch.randn(3, n, 4, dtype=torch.float64), torch.randn(3, n, dtype=torch.float64))
        )
    return Task(*sets)


@pytest.mark.parametrize(
    ("strength", "rule"),
    [(0.5, sgd(0.03, momentum=0.9)), (2.0, sgd(0.03)), (10.0, learned_rate(0.02, per="all"))],
)
def test_ridge_regression_in_closed_form(strength: float, rule: UpdateRule) -> None:
    """θ* = (AᵀA + λ)⁻¹ (Aᵀy + λφ), and the gradient is λ (AᵀA + λ)⁻¹ ∇l_Q(θ*)."""
    tasks, network = ridge_tasks(), Linear(1.0, -2.0, 0.5, 3.0)
    learner = ImplicitLearner(
        network, rule, 400, strength=strength, inverse=exactly(4), loss=half_square
    ).double()
    loss, gradients = meta_gradient(learner, tasks, threads=1)
    losses, expected = [], []
    for a, y, q, t in zip(*tasks.support, *tasks.query, strict=True):
        matrix = a.T @ a + strength * torch.eye(4, dtype=torch.float64)
        theta = torch.linalg.solve(matrix, a.T @ y + strength * network.w.detach())
        losses.append(half_square(q @ theta, t))
        expected.append(strength * torch.linalg.solve(matrix, q.T @ (q @ theta - t)))
    torch.testing.assert_close(loss, torch.stack(losses).mean(), rtol=1e-6, atol=0)
    torch.testing.assert_close(gradients["network.w"], torch.stack(expected).mean(0), rtol=1e-6, atol=1e-9)
    assert all(not g.any() for name, g in gradients.items() if name.startswith("optimizer"))


def test_held_fast_it_is_the_pooled_gradient_at_the_initial_parameters() -> None:
    tasks = ridge_tasks()
    held = ImplicitLearner(
        Linear(1, 2, 3, 4), sgd(1e-9), 3, strength=1e9, inverse=exactly(4), loss=half_square
    )
    pooled = GradientLearner(Linear(1, 2, 3, 4), sgd(0.1), 0, loss=half_square)
    found, expected = (meta_gradient(learner, tasks)[1]["network.w"] for learner in (held, pooled))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


RULES: list[tuple[Callable[[float], InnerOptimizer], float]] = [
    (sgd, 2),
    (lambda lr: sgd(lr, momentum=0.5), 3),
    (lambda lr: sgd(lr, momentum=0.5, nesterov=True), 1.5),
    (lambda lr: learned_rate(lr, per="all"), 2),
    (lambda lr: learned_rate((lr / 2, lr), steps=3), 2),
    (lambda lr: learned_momentum(lr, 0.5, "tensor"), 3),
    (lambda lr: learned_momentum(lr, 0.5, "tensor", nesterov=True), 1.5),
]


@pytest.mark.parametrize(("rule", "bound"), RULES)
def test_a_strength_at_which_steps_grow_without_end_is_refused(
    rule: Callable[[float], InnerOptimizer], bound: float
) -> None:
    """On λ/2 (θ - φ)² itself: just below the bound steps arrive, just above it they would not."""
    for share in (0.98, 1.02):
        own, now = rule(0.1), {"w": torch.ones(1, dtype=torch.float64)}
        own.register(now)
        with torch.no_grad():
            for rate in getattr(own, "rates", {}).values():
                rate.fill_(0.1)
            state = own.init(now)
            for step in range(600):
                gradients = {"w": share * 10 * bound * now["w"]}
                now, state = own.update(gradients, state, now, step)
        assert (now["w"].abs().item() < 1e-3) == (share < 1)
        strength = share * 10 * bound
        if share < 1:
            ImplicitLearner(Linear(1), own, 3, strength=strength)
            continue
        message = f"strength is {strength:g}, .* from {10 * bound:g} on: .* below 0.98 times this"
        with pytest.raises(FphiError, match=message):
            ImplicitLearner(Linear(1), own, 3, strength=strength)


def test_the_command_refuses_it_too() -> None:
    setting = Setting(5, 1, (1, 28, 28))
    IMAML(strength=19.9).learner(setting)
    with pytest.raises(FphiError, match=r"strength is 20, and inner steps .* from 20 on"):
        IMAML(strength=20).learner(setting)


def test_the_series_of_neumann_tends_to_the_conjugate_gradient() -> None:
    tasks, found = ridge_tasks(), []
    for inverse in (exactly(4), partial(neumann, steps=2000, lr=0.03)):
        learner = ImplicitLearner(
            Linear(1, 2, 3, 4), sgd(0.03), 5, strength=1.0, inverse=inverse, loss=half_square
        )
        found.append(meta_gradient(learner, tasks)[1]["network.w"])
    torch.testing.assert_close(*found, rtol=1e-8, atol=0)


def smooth(steps: int, adapts: Literal["all", "head"] = "all") -> ImplicitLearner:
    torch.manual_seed(1)
    network = nn.Sequential()
    network.add_module("body", nn.Sequential(nn.Linear(4, 3), nn.Tanh()))
    network.add_module("head", nn.Linear(3, 2))
    return ImplicitLearner(
        network, sgd(0.5), steps, strength=1.0, inverse=exactly(40), adapts=adapts
    ).double()


def labelled_tasks() -> Task:
    sets = (
        Examples(torch.randn(2, n, 4, dtype=torch.float64), torch.arange(2).repeat(2, n // 2)) for n in (6, 4)
    )
    return Task(*sets)


@pytest.mark.parametrize("adapts", ["all", "head"])
def test_derivatives_through_the_steps_tend_to_it(adapts: Literal["all", "head"]) -> None:
    """Of all that is learned: of the body too, where it is not adapted."""
    tasks = labelled_tasks()
    _, implicit = meta_gradient(smooth(60, adapts), tasks, threads=1)
    errors = []
    for steps in (2, 10, 60):
        learner = smooth(steps, adapts)
        parameters = dict(learner.named_parameters())
        through = torch.autograd.grad(learner.task_losses(tasks).mean(), list(parameters.values()))
        pairs = zip(through, implicit.values(), strict=True)
        errors.append(max(float((a - b).abs().max()) for a, b in pairs))
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    assert errors[2] < 1e-9


def test_each_task_s_system_is_solved_as_it_would_be_alone() -> None:
    """After two of the many products that the inverse takes: a joint system would end elsewhere."""
    tasks = labelled_tasks()
    learner = smooth(3)
    learner.inverse = exactly(2)
    _, together = meta_gradient(learner, tasks, chunk_size=2, threads=1)
    _, alone = meta_gradient(learner, tasks, chunk_size=1, threads=1)
    for name, gradient in together.items():
        torch.testing.assert_close(alone[name], gradient, rtol=1e-12, atol=1e-15)


def test_a_task_whose_system_is_solved_does_not_end_the_others() -> None:
    """The first curves down, the second has nothing on the right side, the third is solved."""
    matrices = torch.tensor([[-1.0, 1.0], [2.0, 3.0], [2.0, 4.0]], dtype=torch.float64)
    v = {"a": torch.tensor([[3.0, 1.0], [0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)}
    found = conjugate_gradient(lambda q: {"a": matrices * q["a"]}, v, steps=5, tasks=True)["a"]
    torch.testing.assert_close(
        found, torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.5, 0.25]], dtype=torch.float64)
    )


def test_a_system_without_a_step_is_refused() -> None:
    """Its answer would be 0, and nothing would be learned."""
    with pytest.raises(FphiError, match="steps is 0; it must be at least 1"):
        conjugate_gradient(lambda q: q, {"a": torch.ones(2)}, steps=0)
    with pytest.raises(FphiError, match="solver_steps is 0; it must be at least 1"):
        IMAML(solver_steps=0)


def test_the_memory_does_not_depend_on_the_number_of_steps() -> None:
    def at(kind: type[GradientLearner], steps: int) -> int:
        return held_at_most(
            kind(MLP(4, (8,), 2), sgd(0.1), steps, batching="loop").double(), labelled_tasks()
        )

    assert at(ImplicitLearner, 40) == at(ImplicitLearner, 4) > 0
    assert at(GradientLearner, 40) > 8 * at(GradientLearner, 4)


def test_adam_inside_and_nothing_to_adapt() -> None:
    tasks = labelled_tasks()
    learner = ImplicitLearner(MLP(4, (8,), 2), adam(0.01), 5).double()
    assert all(bool(g.isfinite().all()) for g in meta_gradient(learner, tasks, threads=1)[1].values())
    frozen = smooth(3, "head")
    for p in frozen.network.get_submodule("head").parameters():
        p.requires_grad_(False)
    with pytest.warns(UserWarning, match="inner steps change nothing"):
        _, gradients = meta_gradient(frozen, tasks, threads=1)
    assert gradients.keys() == {"network.body.0.weight", "network.body.0.bias"}
    with pytest.raises(FphiError, match="strength is 0; it must be above 0"):
        ImplicitLearner(MLP(4, (8,), 2), sgd(0.1), 1, strength=0)


class Watching(SGD):
    """Gradient descent that counts the steps before this one whose parameters are still somewhere."""

    steps: ClassVar[list[weakref.ref[Tensor]]] = []
    most: ClassVar[list[int]] = []

    def update(
        self, gradients: Parameters, state: State, parameters: Parameters, step: int
    ) -> tuple[Parameters, State]:
        self.most.append(sum(seen() is not None for seen in self.steps))
        after = super().update(gradients, state, parameters, step)
        self.steps.append(weakref.ref(next(iter(after[0].values()))))
        return after


@pytest.mark.parametrize("kind", [ImplicitLearner, ReptileLearner])
def test_no_parameters_are_kept_but_those_of_the_last_step(
    kind: type[GradientLearner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watching, "steps", [])
    monkeypatch.setattr(Watching, "most", [])
    meta_gradient(kind(MLP(4, (8,), 2), Watching(0.1), 30).double(), labelled_tasks(), threads=1)
    assert len(Watching.most) >= 30
    assert max(Watching.most) <= 2
