"""Inner optimizers against torch's, step by step, and the meta-gradient against a hand-written loop."""

from collections.abc import Callable
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jvp, vmap
from torch.utils._pytree import tree_leaves

from fphi.errors import FphiError
from fphi.learnable import GradientLearner
from fphi.networks import BatchNorm, Conv4
from fphi.objective import meta_gradient
from fphi.optimize import GradientDescent
from fphi.tasks.types import Examples, Task
from fphi.within import InnerOptimizer, Parameters, State, adam, learned_rate, sgd
from fphi.within.adaptive import RMSprop
from learners import TorchNorms, conv, random_tasks

OPTIMIZERS: list[tuple[InnerOptimizer, Callable[[list[Tensor]], torch.optim.Optimizer]]] = [
    (sgd(0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
    (sgd(0.1, weight_decay=0.01), lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.01)),
    (sgd(0.1, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    (
        sgd(0.1, momentum=0.9, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    ),
    (adam(0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
    (adam(0.01, (0.0, 0.999)), lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.0, 0.999))),
    (adam(0.01, (0.5, 0.9), 1e-3), lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.5, 0.9), eps=1e-3)),
]


@pytest.mark.parametrize(
    ("ours", "theirs"), OPTIMIZERS, ids=lambda o: str(o) if isinstance(o, nn.Module) else ""
)
def test_inner_optimizers_equal_torch_step_by_step(
    ours: InnerOptimizer, theirs: Callable[[list[Tensor]], torch.optim.Optimizer]
) -> None:
    start = {"a": torch.randn(3, 2, dtype=torch.float64), "b": torch.randn(4, dtype=torch.float64)}
    copies = {k: p.clone() for k, p in start.items()}
    optimizer, state, now = theirs(list(copies.values())), ours.init(start), start
    for step in range(6):
        gradients = {k: torch.randn_like(p) for k, p in start.items()}
        now, state = ours.update(gradients, state, now, step)
        for k, p in copies.items():
            p.grad = gradients[k]
        optimizer.step()
        for k, p in copies.items():
            torch.testing.assert_close(now[k], p, rtol=1e-12, atol=1e-14)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize(
    "rule", [adam(0.01), adam(0.01, (0.0, 0.9)), RMSprop(0.01), sgd(0.1, momentum=0.9)], ids=str
)
def test_a_step_is_the_same_without_derivatives(rule: InnerOptimizer) -> None:
    """Alone, where work is saved, and where the gradient alone is batched; where it is 0 too."""
    start, several = {"a": torch.randn(5)}, torch.randn(3, 5)
    several[:, 0] = 0

    def moved(g: Tensor) -> tuple[Tensor, State]:
        now, state = rule.update({"a": g}, rule.init(start), start, 0)
        now, state = rule.update({"a": g}, state, now, 1)
        return now["a"], state

    wanted = [moved(g) for g in several]
    with torch.no_grad():
        assert_same_bits([moved(g) for g in several], wanted)
        batched, states = vmap(moved)(several)
        at = [(batched[i], {k: {"a": v["a"][i]} for k, v in states.items()}) for i in range(3)]
        assert_same_bits(at, wanted)
        slope = jvp(lambda g: moved(g)[0], (several[0],), (torch.ones(5),))[1]
    assert bool(slope.isfinite().all())


def assert_same_bits(found: list[tuple[Tensor, State]], wanted: list[tuple[Tensor, State]]) -> None:
    for ours, theirs in zip(tree_leaves(found), tree_leaves(wanted), strict=True):
        assert torch.equal(ours, theirs)


def test_adam_s_second_derivative_is_finite_where_a_gradient_is_zero() -> None:
    """A conv bias before batch norm has gradient 0; √0 must not poison the meta-gradient."""
    tasks = random_tasks()
    _, gradients = meta_gradient(GradientLearner(conv(), adam(0.01), 3).double(), tasks, threads=1)
    assert all(bool(g.isfinite().all()) for g in gradients.values())


class TorchConv4(nn.Module):
    """Conv4 of torch's own layers, as a user would write it."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (1, 16, 16, 16):
            layers += [nn.Conv2d(inputs, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)]
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


def by_hand(network: nn.Module, tasks: Task, lr: float, steps: int, order: int) -> dict[str, Tensor]:
    """MAML as a textbook loop over tasks with torch.autograd.grad."""
    phi = dict(network.named_parameters())
    total = torch.zeros((), dtype=torch.float64)
    for sx, sy, qx, qy in zip(*tasks.support, *tasks.query, strict=True):
        theta: dict[str, Tensor] = dict(phi)
        for _ in range(steps):
            loss = F.cross_entropy(functional_call(network, theta, (sx,)), sy)
            gradients = torch.autograd.grad(
                loss, list(theta.values()), create_graph=order == 2, materialize_grads=True
            )
            theta = {k: p - lr * g for (k, p), g in zip(theta.items(), gradients, strict=True)}
        total = total + F.cross_entropy(functional_call(network, theta, (qx,)), qy) / len(tasks.query.x)
    found = torch.autograd.grad(total, list(phi.values()), materialize_grads=True)
    return dict(zip(phi, found, strict=True))


def relative(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    difference = sum(float((found["network." + k] - g).square().sum()) for k, g in expected.items())
    return float((difference / sum(float(g.square().sum()) for g in expected.values())) ** 0.5)


MODES = {
    "vmapped": ({"batching": "vmap"}, {"threads": 1}),
    "looped": ({"batching": "loop"}, {"threads": 1}),
    "chunked": ({"batching": "vmap"}, {"threads": 1, "chunk_size": 2}),
    "threaded": ({"batching": "vmap"}, {"threads": 2, "chunk_size": 1}),
    "recomputed": ({"batching": "vmap", "memory": "recomputed"}, {"threads": 1}),
}


@pytest.mark.parametrize("steps", [1, 3, 5])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("mode", MODES)
def test_conv4_meta_gradient_equals_a_hand_written_loop(mode: str, order: int, steps: int) -> None:
    """With batch norm whose scale and shift are adapted, in every mode, within 1e-8 in float64."""
    ours, theirs = Conv4(3, filters=16).double(), TorchConv4().double()
    theirs.load_state_dict(
        dict(zip((n for n, _ in theirs.named_parameters()), ours.state_dict().values(), strict=True)),
        strict=False,
    )
    tasks = Task(*(examples(3, 3) for _ in range(2)))
    expected = by_hand(theirs, tasks, 0.4, steps, order)
    learner_options, options = MODES[mode]
    for network in (ours, theirs):
        learner = GradientLearner(network, sgd(0.4), steps, order=order, **learner_options)  # type: ignore[arg-type]
        _, found = meta_gradient(learner, tasks, **options)
        renamed = dict(zip(expected, found.values(), strict=True))
        assert relative({"network." + k: g for k, g in renamed.items()}, expected) < 1e-8


def examples(batch: int, count: int) -> Examples:
    return Examples(
        torch.rand(batch, count, 1, 28, 28, dtype=torch.float64), torch.arange(count).expand(batch, -1)
    )


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_torch_s_own_norm_layers_are_differentiated_rightly_under_vmap(steps: int) -> None:
    """Batch, instance, group, layer and RMS norm with adapted scales: where vmap(grad) goes wrong silently."""
    network, tasks = TorchNorms().double(), random_tasks()
    learner = GradientLearner(network, sgd(0.3), steps, batching="vmap")
    _, found = meta_gradient(learner, tasks, threads=1)
    assert relative(found, by_hand(network, tasks, 0.3, steps, 2)) < 1e-8


def test_anil_is_maml_with_the_body_s_rate_at_zero() -> None:
    """Exact, and the adapted body is bitwise the body of φ."""
    network, tasks = conv().double(), random_tasks()
    anil = GradientLearner(network, sgd(0.4), 3, adapts="head")

    class HeadOnly(InnerOptimizer):
        def update(self, gradients, state, parameters, step):  # type: ignore[no-untyped-def]
            rate = {k: 0.4 * k.startswith("head.") for k in parameters}
            return {k: p - rate[k] * gradients[k] for k, p in parameters.items()}, state

    full = GradientLearner(network, HeadOnly(), 3)
    a, b = meta_gradient(anil, tasks, threads=1)[1], meta_gradient(full, tasks, threads=1)[1]
    for name, g in a.items():
        torch.testing.assert_close(g, b[name], rtol=1e-10, atol=1e-13)
    adapted = anil.adapt(Examples(tasks.support.x[0], tasks.support.y[0]))
    for name, p in network.body.named_parameters():
        assert torch.equal(adapted["body." + name], p)


def test_fomaml_is_the_gradient_of_a_fresh_copy_at_the_adapted_parameters() -> None:
    network, tasks = conv().double(), random_tasks(1)
    learner = GradientLearner(network, sgd(0.4), 3, order=1)
    _, found = meta_gradient(learner, tasks, threads=1)
    fresh = conv().double()
    adapted = learner.adapt(Examples(tasks.support.x[0], tasks.support.y[0]))
    fresh.load_state_dict(adapted)
    loss = F.cross_entropy(fresh(tasks.query.x[0]), tasks.query.y[0])
    expected = torch.autograd.grad(loss, list(fresh.parameters()), materialize_grads=True)
    assert relative(found, dict(zip((n for n, _ in fresh.named_parameters()), expected, strict=True))) < 1e-8


def test_adapt_and_predict_are_forward() -> None:
    learner, tasks = GradientLearner(conv(), sgd(0.4), 2), random_tasks(1, dtype=torch.float32)
    support = Examples(tasks.support.x[0], tasks.support.y[0])
    answers = learner.predict(learner.adapt(support), tasks.query.x[0])
    torch.testing.assert_close(answers, learner(support, tasks.query.x[0]))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_forward_mode_agrees_with_reverse_mode() -> None:
    """The directional derivative along φ by dual numbers, against the meta-gradient."""
    network, tasks = conv().double(), random_tasks(1)
    names = [k for k, _ in network.named_parameters()]

    def loss_at(*phi: Tensor) -> Tensor:
        theta = dict(zip(names, phi, strict=True))
        g = torch.func.grad(lambda t: F.cross_entropy(functional_call(network, t, (tasks.support.x[0],)), tasks.support.y[0]))(theta)  # fmt: skip
        theta = {k: p - 0.4 * g[k] for k, p in theta.items()}
        return F.cross_entropy(functional_call(network, theta, (tasks.query.x[0],)), tasks.query.y[0])

    primals = tuple(p.detach() for p in network.parameters())
    tangents = tuple(torch.randn_like(p) for p in primals)
    _, slope = torch.func.jvp(loss_at, primals, tangents)[:2]
    _, found = meta_gradient(GradientLearner(network, sgd(0.4), 1), tasks, threads=1)
    dot = sum(float((g * t).sum()) for g, t in zip(found.values(), tangents, strict=True))
    assert dot == pytest.approx(float(slope), rel=1e-9)


class Signs:
    """An update rule of two pure functions and nothing besides: steps of one size, by the gradient's sign."""

    def init(self, parameters: Parameters) -> State:
        return {}

    def update(
        self, gradients: Parameters, state: State, parameters: Parameters, step: int
    ) -> tuple[Parameters, State]:
        return {name: p - 0.1 * gradients[name].sign() for name, p in parameters.items()}, state


class LearnedSigns(Signs, nn.Module):
    """The same as a module whose step size is learned, though it is no `InnerOptimizer`."""

    def __init__(self) -> None:
        super().__init__()
        self.size = nn.Parameter(torch.tensor(0.1, dtype=torch.float64))

    def update(
        self, gradients: Parameters, state: State, parameters: Parameters, step: int
    ) -> tuple[Parameters, State]:
        return {name: p - self.size * gradients[name].sign() for name, p in parameters.items()}, state


def test_an_update_rule_is_any_object_with_init_and_update() -> None:
    tasks = random_tasks()
    learner = GradientLearner(conv(), Signs(), 2).double()
    moved = learner.adapt(Examples(tasks.support.x[0], tasks.support.y[0]))
    for name, p in learner.network.named_parameters():
        by = (moved[name] - p).detach().abs()
        steps = (by / 0.1).round()
        assert float((by - 0.1 * steps).abs().max()) < 1e-12
        assert set(steps.flatten().tolist()) <= {0.0, 1.0, 2.0}
    loss, _ = meta_gradient(learner, tasks, threads=1)
    learned = GradientLearner(conv(), LearnedSigns(), 2).double()
    same, gradients = meta_gradient(learned, tasks, threads=1)
    assert loss == same
    assert gradients["optimizer.size"] != 0


def test_a_per_step_norm_gets_a_scale_for_each_inner_step_of_its_learner() -> None:
    learner = GradientLearner(conv(norm="per-step"), sgd(0.1), 3).double()
    norms = [m for m in learner.modules() if isinstance(m, BatchNorm)]
    assert len(norms) == 4
    plain = GradientLearner(conv(), sgd(0.1), 3).double()
    tasks = random_tasks()
    loss, gradients = meta_gradient(learner, tasks, threads=1)
    # They begin as one, so that the answers are those of a single scale that only the last step adapts.
    assert all(m.weight is not None and m.weight.shape == (4, 4) for m in norms)
    first = learner.answers_at_test(tasks.support, tasks.query.x).by_step
    expected = plain.answers_at_test(tasks.support, tasks.query.x).by_step
    assert first is not None and expected is not None  # noqa: PT018
    torch.testing.assert_close(first[0], expected[0])
    # In training each of the three steps, and the queries' pass, has a scale of its own with a gradient.
    weight = gradients["network.body.0.norm.weight"]
    assert bool((weight.abs().sum(1) > 0).all())
    assert bool(loss.isfinite())


def test_a_second_learner_of_another_number_of_steps_leaves_the_scales_of_the_first() -> None:
    network, tasks = conv(norm="per-step"), random_tasks(dtype=torch.float32)
    first = GradientLearner(network, sgd(0.1), 1)
    outer = GradientDescent(torch.optim.SGD(first.parameters(), lr=0.5))
    outer.step(first, meta_gradient(first, tasks, threads=1)[1])
    trained = {name: p.detach().clone() for name, p in first.named_parameters()}
    answers = first.solve(tasks.support, tasks.query.x)
    second = GradientLearner(network, sgd(0.1), 3)
    assert all(torch.equal(p[: len(trained[name])], trained[name]) for name, p in first.named_parameters())
    assert torch.equal(first.solve(tasks.support, tasks.query.x), answers)
    assert torch.equal(GradientLearner(network, sgd(0.1), 1).solve(tasks.support, tasks.query.x), answers)
    name = "network.body.0.norm.weight"
    before = second.get_parameter(name).detach().clone()
    outer.step(first, meta_gradient(first, tasks, threads=1)[1])  # its optimizer moves what they share
    assert not torch.equal(second.get_parameter(name)[:2], before[:2])
    assert torch.equal(second.get_parameter(name)[2:], before[2:])


@pytest.mark.parametrize("order", [1, 2])
def test_recomputed_steps_of_the_head_alone_have_the_gradient_of_stored_ones(order: Literal[1, 2]) -> None:
    tasks, found = random_tasks(), {}
    memories: tuple[Literal["stored", "recomputed"], ...] = ("stored", "recomputed")
    for memory in memories:
        learner = GradientLearner(conv(), sgd(0.4), 3, adapts="head", order=order, memory=memory).double()
        found[memory] = meta_gradient(learner, tasks, threads=1)
    assert found["stored"][0] == found["recomputed"][0]
    for name, gradient in found["stored"][1].items():
        torch.testing.assert_close(found["recomputed"][1][name], gradient, rtol=1e-10, atol=1e-13)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(FphiError, match="per is 'layer'; it must be one of all, tensor, parameter"):
        learned_rate(0.1, per="layer")  # type: ignore[arg-type]
    with pytest.raises(FphiError, match=r"needs a network with \.body and \.head, not Linear"):
        GradientLearner(nn.Linear(2, 2), sgd(0.1), 1, adapts="head")
    with pytest.raises(FphiError, match="order is 3; it must be one of 1, 2"):
        GradientLearner(nn.Linear(2, 2), sgd(0.1), 1, order=3)  # type: ignore[arg-type]
    with pytest.raises(FphiError, match="test_steps is -1; it must be at least 0"):
        GradientLearner(nn.Linear(2, 2), sgd(0.1), 1, test_steps=-1)
    with pytest.raises(FphiError, match="nesterov=True needs a momentum"):
        sgd(0.1, nesterov=True)
    learner = GradientLearner(conv(), sgd(0.1), 1)
    for options in ({"chunk_size": 0}, {"threads": 0}, {"chunk_size": -3}):
        with pytest.raises(FphiError, match="must be at least 1"):
            meta_gradient(learner, random_tasks(dtype=torch.float32), **options)


@pytest.mark.parametrize("optimizer", [sgd(0.3), sgd(0.1, momentum=0.9), learned_rate(0.3)])
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 7, 20, 33])
def test_many_recomputed_steps_have_the_gradient_of_stored_ones(
    optimizer: InnerOptimizer, steps: int
) -> None:
    """And no step is computed more than three times."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    sets = (Examples(torch.randn(2, n, 3, dtype=torch.float64), torch.randint(2, (2, n))) for n in (5, 4))
    tasks = Task(*sets)
    seen: list[None] = []

    def counted(answers: Tensor, labels: Tensor) -> Tensor:
        seen.append(None)
        return F.cross_entropy(answers, labels)

    found = {}
    memories: tuple[Literal["stored", "recomputed"], ...] = ("stored", "recomputed")
    for memory in memories:
        seen.clear()
        learner = GradientLearner(network, optimizer, steps, loss=counted, memory=memory)
        found[memory] = meta_gradient(learner, tasks, threads=1, chunk_size=2)
    assert len(seen) <= 3 * steps + 1  # the loss of the queries comes once
    assert found["stored"][0] == found["recomputed"][0]
    for name, gradient in found["stored"][1].items():
        assert torch.allclose(found["recomputed"][1][name], gradient, rtol=1e-10, atol=1e-14)


def test_a_gradient_of_recomputed_steps_is_no_constant_but_says_that_it_has_no_derivative() -> None:
    learner = GradientLearner(nn.Linear(4, 3).double(), sgd(0.1), 2, memory="recomputed")
    x, y = torch.rand(1, 6, 4, dtype=torch.float64), torch.arange(6).remainder(3)[None]
    loss = learner.task_losses(Task(Examples(x, y), Examples(x + 1, y))).sum()
    found = torch.autograd.grad(loss, list(learner.parameters()), create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        torch.autograd.backward(loss + found[0].square().sum())
