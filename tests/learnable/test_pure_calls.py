"""No call of a learner changes it or its network, whatever the network does to itself, in any thread."""

import functools
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi import (
    Examples,
    FphiError,
    GradientLearner,
    LearningAlgorithm,
    PrototypicalLearner,
    ReptileLearner,
    Task,
    evaluate,
    learned_rate,
    meta_gradient,
    sgd,
)
from fphi.networks import BatchNorm
from fphi.within import Batching


def tasks(count: int = 4, seed: int = 0) -> Task:
    draw = torch.Generator().manual_seed(seed)

    def part() -> Examples:
        x = torch.randn(count, 6, 4, generator=draw, dtype=torch.float64)
        return Examples(x, (torch.arange(6) % 3).expand(count, -1))

    return Task(part(), part())


def maml(network: nn.Module, batching: Batching = "auto", **options: object) -> GradientLearner:
    return GradientLearner(network.double(), sgd(0.3), 2, batching=batching, **options)  # type: ignore[arg-type]


class Named(nn.Module):
    """A network in one line: its parts, and what it does with them and its input."""

    def __init__(self, forward: Callable[..., Tensor], **parts: object) -> None:
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def __getattr__(self, name: str) -> Any:  # its parts are of any kind
        return super().__getattr__(name)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


class Itself(nn.Module):
    """A network that a lambda of its own refers to, so that a copy of it would not do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 3)
        self.act: Callable[[Tensor], Tensor] = lambda x: torch.tanh(self.first(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.act(x))  # type: ignore[no-any-return]


class Hooked(nn.Module):
    """A network whose hook, a method of its own, keeps what passes by."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 3)
        self.seen: list[Tensor] = []
        self.first.register_forward_hook(self.keep)

    def keep(self, layer: nn.Module, inputs: object, output: Tensor) -> None:
        self.seen.append(output)

    def forward(self, x: Tensor) -> Tensor:
        self.first(x)
        return self.last(self.seen[-1])  # type: ignore[no-any-return]


def clamped(net: Named, x: Tensor) -> Tensor:
    with torch.no_grad():
        net.layer.weight.clamp_(-0.2, 0.2)
    return net.layer(x)  # type: ignore[no-any-return]


def clamped_data(net: Named, x: Tensor) -> Tensor:
    net.layer.weight.data = net.layer.weight.data.clamp(-0.2, 0.2)
    return net.layer(x)  # type: ignore[no-any-return]


def made_when_called(net: Named, x: Tensor) -> Tensor:
    if not hasattr(net, "shift"):
        net.shift = nn.Parameter(torch.ones(3, dtype=x.dtype))
    net.calls.append(len(net.calls))
    return net.layer(x) + net.shift * len(net.calls)  # type: ignore[no-any-return]


def to_training(net: Named, x: Tensor) -> Tensor:
    net.layer.train(not net.layer.training)
    return net.layer(x)  # type: ignore[no-any-return]


def three(net: Named, x: Tensor) -> Tensor:
    for layer in net.layers:
        x = torch.tanh(layer(x))
    return net.head(x)  # type: ignore[no-any-return]


def tied() -> nn.Module:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), nn.Linear(4, 3))


def repeated() -> nn.Module:
    layer = nn.Linear(4, 4)
    return Named(three, layers=nn.ModuleList([layer, layer, layer]), head=nn.Linear(4, 3))


def under_two_names() -> nn.Module:
    layer = nn.Linear(4, 4)
    return Named(lambda n, x: n.head(n.b(torch.tanh(n.a(x)))), a=layer, b=layer, head=nn.Linear(4, 3))


def old_weight_norm() -> nn.Module:
    with pytest.warns(FutureWarning):
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "under two names": under_two_names,
    "repeated": repeated,
    "tied": tied,
    "in a plain list": lambda: Named(
        lambda n, x: n.head(n.held[0](x)), held=[nn.BatchNorm1d(4, dtype=torch.float64)], head=nn.Linear(4, 3)
    ),
    "clamps its weight": lambda: Named(clamped, layer=nn.Linear(4, 3)),
    "replaces its data": lambda: Named(clamped_data, layer=nn.Linear(4, 3)),
    "makes a parameter": lambda: Named(made_when_called, layer=nn.Linear(4, 3), calls=[]),
    "changes its mode": lambda: Named(to_training, layer=nn.Linear(4, 3)),
    "moves buffers": lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)),
    "a partial of a method": lambda: Named(
        lambda n, x: n.act(n.layer(x)), layer=nn.Linear(4, 3), act=functools.partial(F.leaky_relu)
    ),
    "refers to itself": Itself,
    "a hook of its own": Hooked,
    "old weight norm": old_weight_norm,
    "recurrent": lambda: Named(
        lambda n, x: n.head(n.rnn(x.reshape(-1, 2, 2))[0][:, -1]),
        rnn=nn.GRU(2, 3, batch_first=True), head=nn.Linear(3, 3),
    ),
    "ours": lambda: nn.Sequential(nn.Linear(4, 5), BatchNorm(5, "support"), nn.Tanh(), nn.Linear(5, 3)),
}  # fmt: skip
every_network = pytest.mark.parametrize("name", NETWORKS)
looped = pytest.mark.filterwarnings("ignore:tasks are looped over", "ignore:There is a performance drop")


def seeded(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name]()


def snapshot(network: nn.Module) -> list[tuple[object, object]]:
    """Every attribute of every part, by identity; of lists and dicts their entries too."""
    kept: list[tuple[object, object]] = []
    for module in network.modules():
        for name, value in vars(module).items():
            kept.append((name, value))
            entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
            kept += [(name, entry) for entry in entries]
    return kept


@every_network
@pytest.mark.parametrize("kind", ["maml", "prototypes"])
@looped
def test_every_call_leaves_the_network_as_it_was(name: str, kind: str) -> None:
    network = seeded(name).double()
    learner: LearningAlgorithm = maml(network) if kind == "maml" else PrototypicalLearner(network)
    before, values = snapshot(network), {k: v.clone() for k, v in network.state_dict().items()}
    first = evaluate(learner, tasks()).losses
    gradients = meta_gradient(learner, tasks(), threads=2, chunk_size=1)[1]
    again = meta_gradient(learner, tasks(), threads=1, chunk_size=1)[1]
    assert torch.equal(evaluate(learner, tasks()).losses, first)
    assert all(torch.equal(gradients[k], again[k]) for k in again)
    after = snapshot(network)
    assert [n for n, _ in before] == [n for n, _ in after]
    assert all(a is b for (_, a), (_, b) in zip(before, after, strict=True))
    assert all(torch.equal(v, values[k]) for k, v in network.state_dict().items())


@every_network
@looped
def test_threads_that_call_one_learner_get_what_each_alone_gets(name: str) -> None:
    learner, many = maml(seeded(name), "loop"), [tasks(2, seed) for seed in range(6)]
    alone = [learner.task_losses(each).detach() for each in many]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda each: learner.task_losses(each).detach(), many * 3))
    assert all(torch.equal(a, b) for a, b in zip(answers, alone * 3, strict=True))


def test_one_thread_evaluates_while_another_trains() -> None:
    network = nn.Sequential(nn.Linear(4, 5), BatchNorm(5, "query-batch"), nn.Dropout(0.5), nn.Linear(5, 3))
    learner = maml(network, test_steps=4)
    alone = evaluate(learner, tasks()).losses
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(evaluate, learner, tasks()) for _ in range(6)]
        training = [learner.training for _ in range(100)]
        assert all(torch.equal(job.result().losses, alone) for job in jobs)
    assert all(training)


@pytest.mark.parametrize("kind", [GradientLearner, ReptileLearner])
@pytest.mark.parametrize("rule", [sgd(0.5), sgd(0.1, momentum=0.9, weight_decay=0.1), learned_rate(0.1)])
@pytest.mark.parametrize("frozen", ["0", "2", "0.weight"])
def test_what_is_frozen_stays_as_it_is(kind: type[GradientLearner], rule: nn.Module, frozen: str) -> None:
    network = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    learner = kind(network, rule, 2)  # type: ignore[arg-type]
    still = {k for k, _ in network.named_parameters() if f"{k}.".startswith(f"{frozen}.")}
    for name in still:
        network.get_parameter(name).requires_grad_(False)
    adapted = learner.adapt(Examples(tasks().support.x[0], tasks().support.y[0]))
    for name, p in network.named_parameters():
        assert torch.equal(adapted[name], p) == (name in still), name


def drawing(kind: str) -> nn.Module:
    own = torch.Generator().manual_seed(0)
    noises: dict[str, Callable[[Any, Tensor], Tensor]] = {
        "dropout": lambda n, x: F.dropout(x, 0.5, n.training),
        "torch": lambda n, x: x + torch.randn(x.shape, dtype=x.dtype),
        "own": lambda n, x: x + torch.randn(x.shape[-1:], generator=n.own, dtype=x.dtype),
        "numpy": lambda n, x: x + torch.from_numpy(np.random.randn(x.shape[-1])),
        "python": lambda n, x: x * random.random(),
    }
    noise = noises[kind]
    torch.manual_seed(0)
    head = nn.Linear(4, 3)
    return Named(
        lambda n, x: n.head(noise(n, torch.tanh(n.body(x)))), body=nn.Linear(4, 4), head=head, own=own
    )


def seed_all(learner: GradientLearner, seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    learner.network.own.manual_seed(seed)  # type: ignore[union-attr,operator]


@pytest.mark.parametrize("kind", ["dropout", "torch", "own", "numpy", "python"])
def test_a_seed_decides_in_any_number_of_threads(kind: str) -> None:
    results = []
    for threads in (2, 1, 3, 2):
        learner = maml(drawing(kind), "loop")
        for _ in range(2):
            seed_all(learner, 3)
            results.append(meta_gradient(learner, tasks(12), threads=threads)[1])
    seed_all(learner, 4)
    other = meta_gradient(learner, tasks(12))[1]
    for name, gradient in results[0].items():
        assert all(torch.equal(gradient, result[name]) for result in results)
    assert not torch.equal(other["network.body.weight"], results[0]["network.body.weight"])


@pytest.mark.parametrize("kind", ["dropout", "torch", "own", "numpy", "python"])
@pytest.mark.parametrize("order", [1, 2])
def test_recomputed_steps_draw_what_they_drew(kind: str, order: Literal[1, 2]) -> None:
    found = []
    memories: tuple[Literal["stored", "recomputed"], ...] = ("stored", "recomputed")
    for memory in memories:
        learner = GradientLearner(
            drawing(kind).double(),
            sgd(0.3),
            5,
            order=order,
            memory=memory,
            batching="loop",
        )
        seed_all(learner, 3)
        found.append(meta_gradient(learner, tasks(), threads=1)[1])
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("memory", ["stored", "recomputed"])
def test_mixed_precision_counts_in_threads_and_in_steps_computed_again(memory: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))
    learner = GradientLearner(network, sgd(0.5), 3, memory=memory)  # type: ignore[arg-type]
    narrow = Task(*(Examples(part.x.float(), part.y) for part in tasks()))
    with torch.autocast("cpu", torch.bfloat16):
        (loss, one), (again, two) = (meta_gradient(learner, narrow, threads=n, chunk_size=1) for n in (1, 2))
    assert torch.equal(loss, again)
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not torch.equal(loss, meta_gradient(learner, narrow, chunk_size=1)[0])


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_it_learns_where_no_gradients_are_wanted(mode: Callable[[], object]) -> None:
    learner = maml(tied())
    expected, wanted = evaluate(learner, tasks()).losses, meta_gradient(learner, tasks())[1]
    one = Examples(tasks().support.x[0], tasks().support.y[0])
    answers = learner(one, tasks().query.x[0]).detach()
    with mode():  # type: ignore[attr-defined]
        assert torch.equal(evaluate(learner, tasks()).losses, expected)
        found = meta_gradient(learner, tasks())[1]
        inside = Examples(tasks().support.x[0], tasks().support.y[0])
        torch.testing.assert_close(learner(inside, tasks().query.x[0]), answers, rtol=1e-12, atol=1e-12)
    assert all(torch.equal(found[k], wanted[k]) for k in wanted)


def test_parameters_without_a_shape_are_refused() -> None:
    with pytest.raises(FphiError, match="LazyLinear has parameters without a shape yet: pass a batch"):
        evaluate(PrototypicalLearner(nn.LazyLinear(3)), tasks())


def test_eval_answers_as_evaluate_does_and_uses_statistics_that_were_brought_along() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(5)
    learner = maml(nn.Sequential(nn.Linear(4, 5), norm, nn.Tanh(), nn.Linear(5, 3)))
    fresh = evaluate(learner, tasks()).losses
    assert torch.equal(learner.eval().task_losses(tasks()).detach(), fresh)
    norm.running_mean.fill_(0.3)  # type: ignore[union-attr]
    brought = evaluate(learner, tasks()).losses
    assert torch.equal(learner.train().eval().task_losses(tasks()).detach(), brought)
    assert not torch.equal(brought, fresh)
    assert not learner.shares_queries(tasks().support, tasks().query.x)
