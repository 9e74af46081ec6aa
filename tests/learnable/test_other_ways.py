"""What networks and losses do beside answering: followed, undone, or refused in a line."""

import random
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from itertools import cycle
from types import MappingProxyType
from typing import Any, cast
from weakref import WeakMethod, WeakValueDictionary, proxy, ref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint

from fphi import (
    Examples,
    FphiError,
    GradientLearner,
    LearningAlgorithm,
    PrototypicalLearner,
    ReptileLearner,
    Task,
    evaluate,
    meta_gradient,
    sgd,
)

looped = pytest.mark.filterwarnings("ignore:tasks are looped over")
OPTIONS: list[dict[str, Any]] = [{}, {"order": 1}, {"batching": "loop"}, {"memory": "recomputed"}]


def tasks(count: int = 2) -> Task:
    draw = torch.Generator().manual_seed(0)

    def part() -> Examples:
        x = torch.randn(count, 6, 4, generator=draw, dtype=torch.float64)
        return Examples(x, (torch.arange(6) % 3).expand(count, -1))

    return Task(part(), part())


class Net(nn.Module):
    """Two linear layers, and a function that is called with both and the input."""

    def __init__(self, function: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 4, dtype=torch.float64), nn.Linear(4, 3, dtype=torch.float64)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def plain(net: Any, x: Tensor) -> Tensor:
    return cast(Tensor, net.b(torch.tanh(net.a(x))))


def maml(function: Callable[[Any, Tensor], Any] = plain, **options: Any) -> GradientLearner:
    return GradientLearner(Net(function), sgd(0.3), 2, **options)


def same(one: LearningAlgorithm, other: LearningAlgorithm) -> None:
    """Both answer and learn alike, and leave what they are given."""
    given, kept = tasks(), tasks()
    losses = [evaluate(learner, given).losses for learner in (one, other)]
    torch.testing.assert_close(*losses, rtol=1e-12, atol=1e-12)
    found, right = (meta_gradient(learner, given)[1] for learner in (one, other))
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, right[name], rtol=1e-10, atol=1e-12)
    for part, before in zip((*given.support, *given.query), (*kept.support, *kept.query), strict=True):
        assert torch.equal(part, before)


INPLACE: list[tuple[Callable[[Any, Tensor], Tensor], Callable[[Any, Tensor], Tensor]]] = [
    (lambda n, x: plain(n, x.sub_(0.5).div_(0.5)), lambda n, x: plain(n, (x - 0.5) / 0.5)),
    (lambda n, x: plain(n, F.relu(x, inplace=True)), lambda n, x: plain(n, F.relu(x))),
    (lambda n, x: plain(n, x.data.mul_(2)), lambda n, x: plain(n, x * 2)),
]


@pytest.mark.parametrize("functions", INPLACE)
@pytest.mark.parametrize("options", OPTIONS)
@looped
def test_what_a_network_does_to_its_input_is_gone_after_the_call(
    functions: tuple[Callable[[Any, Tensor], Tensor], ...], options: dict[str, Any]
) -> None:
    changing, right = functions
    same(maml(changing, **options), maml(right, **options))


@looped
def test_what_other_learners_networks_do_to_their_input_is_gone_too() -> None:
    for changing, right in INPLACE[:2]:
        same(*(ReptileLearner(Net(f), sgd(0.3), 2) for f in (changing, right)))
        same(*(PrototypicalLearner(Net(f)) for f in (changing, right)))


class Means(LearningAlgorithm):
    """Negative distances to means of classes."""

    def __init__(self, changes: bool) -> None:
        super().__init__()
        self.changes, self.rate = changes, nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, support: Examples, query_x: Tensor) -> Tensor:
        x = support.x.sub_(1).mul_(2) if self.changes else (support.x - 1) * 2
        return -self.rate * torch.cdist(
            query_x, torch.stack([x[0::3].mean(0), x[1::3].mean(0), x[2::3].mean(0)])
        )


@looped
def test_what_an_algorithm_does_to_its_tasks_is_gone_after_the_call() -> None:
    same(Means(True), Means(False))


def test_what_a_loss_does_to_its_targets_and_answers_is_gone_after_the_call() -> None:
    changing = [
        lambda answers, y: F.cross_entropy(answers, y.sub_(y // 2)),
        lambda answers, y: F.cross_entropy(answers.mul_(2), y),
    ]
    right = [
        lambda answers, y: F.cross_entropy(answers, y - y // 2),
        lambda answers, y: F.cross_entropy(answers * 2, y),
    ]
    for one, other in zip(changing, right, strict=True):
        same(maml(loss=one), maml(loss=other))


def test_a_change_that_begins_later_is_refused() -> None:
    begun: list[int] = []
    learner = maml(lambda n, x: plain(n, x.mul_(2) if begun else x))
    evaluate(learner, tasks())
    begun.append(1)
    with pytest.raises(FphiError, match="Net changed what it was given in place, and did not do so in its"):
        evaluate(learner, tasks())


def right(net: Any, x: Tensor) -> Tensor:
    return cast(Tensor, net.b(torch.tanh(net.a(x) + net.a(x).sum(1, keepdim=True))))


def by_hook() -> Net:
    net = Net(lambda n, x: n.b(torch.tanh(n.a(x) + n.seen["a"].sum(1, keepdim=True))))
    seen: dict[str, Tensor] = {}
    vars(net)["seen"] = seen
    net.a.register_forward_hook(lambda m, given, out: seen.__setitem__("a", out))
    return net


def by_list() -> Net:
    net = Net(lambda n, x: n.b(torch.tanh(n.a(x) + n.seen[-1].sum(1, keepdim=True))))
    seen: list[Tensor] = []
    vars(net)["seen"] = seen

    def hook(module: nn.Module, given: Any, out: Tensor) -> None:
        seen.append(out)

    net.a.register_forward_hook(hook)
    return net


def by_method_of_a_list() -> Net:
    net = by_list()
    net.a._forward_hooks.clear()
    vars(net)["keep"] = vars(net)["seen"].append

    def function(n: Any, x: Tensor) -> Tensor:
        n.keep(n.a(x))
        return cast(Tensor, n.b(torch.tanh(n.seen[-1] + n.seen[-1].sum(1, keepdim=True))))

    net.function = function
    return net


def by_hook_and_cycle() -> Net:
    """As with a hook, and something that cannot be copied knows the network too."""
    net = by_hook()
    net.known = WeakValueDictionary(net=net)  # type: ignore[assignment]
    return net


@pytest.mark.parametrize("make", [by_hook, by_list, by_method_of_a_list, by_hook_and_cycle])
@looped
def test_what_a_hook_writes_is_what_the_network_reads(make: Callable[[], Net]) -> None:
    net = make()
    same(GradientLearner(net, sgd(0.3), 2), maml(right))
    same(PrototypicalLearner(net), PrototypicalLearner(Net(right)))
    assert not net.seen


def of_closure(net: Net) -> None:
    w = net.a.weight
    net.function = lambda n, x: n.b(torch.tanh(F.linear(x, w, n.a.bias)))


def of_default(net: Net) -> None:
    def function(n: Any, x: Tensor, layer: Any = net.a, *, bias: Tensor = net.b.bias) -> Tensor:
        return F.linear(torch.tanh(layer(x)), n.b.weight, bias)

    net.function = function


def of_weak_reference(net: Net) -> None:
    net.a.up = ref(net)  # type: ignore[assignment]
    net.function = lambda n, x: n.a.up().b(torch.tanh(n.a(x)))


def of_weak_reference_in_closure(net: Net) -> None:
    up = ref(net)
    net.function = lambda n, x: plain(up(), x)


def of_weak_method(net: Net) -> None:
    net.a.up = WeakMethod(net.b.forward)  # type: ignore[assignment]
    net.function = lambda n, x: n.a.up()(torch.tanh(n.a(x)))


def of_proxy(net: Net) -> None:
    vars(net.a)["up"] = proxy(net)
    net.function = lambda n, x: n.a.up.b(torch.tanh(n.a(x)))


def of_mapping(net: Net) -> None:
    net.layers = MappingProxyType({"a": net.a, "b": net.b})  # type: ignore[assignment]
    net.function = lambda n, x: n.layers["b"](torch.tanh(n.layers["a"](x)))


IN_THE_FILE = Net(plain)


def of_file(net: Net) -> None:
    net.a, net.b = IN_THE_FILE.a, IN_THE_FILE.b
    net.function = lambda n, x: plain(IN_THE_FILE, x)


WAYS = [
    of_closure, of_default, of_weak_reference, of_weak_reference_in_closure, of_weak_method, of_proxy,
    of_mapping, of_file,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@looped
def test_a_parameter_is_adapted_whichever_way_it_is_reached(way: Callable[[Net], None]) -> None:
    net = Net(plain)
    way(net)
    same(GradientLearner(net, sgd(0.3), 2), maml())
    one, two = (meta_gradient(GradientLearner(net, sgd(0.3), 2), tasks(), threads=n)[0] for n in (1, 2))
    assert torch.equal(one, two)


def of_iterator(net: Net) -> None:
    net.layers = cycle([net.a.weight])  # type: ignore[assignment]
    net.layers = (w for w in net.layers)  # type: ignore[assignment, union-attr]
    net.function = lambda n, x: n.b(torch.tanh(F.linear(x, next(n.layers))))


def of_class(net: Net) -> None:
    w = net.a.weight

    class Other(Net):
        def forward(self, x: Tensor) -> Tensor:
            return cast(Tensor, self.b(torch.tanh(x @ w)))

    net.__class__ = Other


@pytest.mark.parametrize("way", [of_iterator, of_class])
@looped
def test_a_parameter_that_would_not_be_adapted_is_told(way: Callable[[Net], None]) -> None:
    net = Net(plain)
    way(net)
    with pytest.raises(
        FphiError, match="reaches a parameter in a way that cannot be followed, and would not"
    ):
        evaluate(GradientLearner(net, sgd(0.3), 2), tasks())
    assert evaluate(PrototypicalLearner(net), tasks()).losses.isfinite().all()


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * gradient  # type: ignore[no-any-return]


class Later(nn.Module):
    """Takes another path once it is ``deep``."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 3)
        self.words = nn.Embedding(5, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.normed = weight_norm(nn.Linear(4, 4))
        self.deep = ""
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        out = torch.tanh(self.a(x))
        if self.deep == "padding":
            tokens = x[:, :3].abs().long().clamp(max=4)
            out = out + F.embedding(tokens, self.words.weight, padding_idx=0).sum(1)
        elif self.deep == "attention":
            out = out + self.attention(out[:, None], out[:, None], out[:, None], need_weights=False)[0][:, 0]
        elif self.deep == "normed":
            out = out + self.normed(out)
        elif self.deep == "once":
            out = cast(Tensor, Once.apply(out))  # type: ignore[no-untyped-call]
        elif self.deep == "clamped":
            self.a.weight.data.clamp_(-0.1, 0.1)
            out = torch.tanh(self.a(x))
        return cast(Tensor, self.b(out))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("deep", ["padding", "attention", "normed", "clamped"])
@looped
def test_a_path_that_is_taken_later_is_looked_at_anew(deep: str) -> None:
    one, other = Later(), Later()
    used = GradientLearner(one, sgd(0.3), 2)
    evaluate(used, tasks()), meta_gradient(used, tasks())
    one.deep = other.deep = deep
    before = one.a.weight.detach().clone()
    same(used, GradientLearner(other, sgd(0.3), 2))
    assert torch.equal(one.a.weight, before)


@looped
def test_a_function_without_second_derivative_that_is_used_later_is_refused() -> None:
    learner = GradientLearner(network := Later(), sgd(0.3), 2)
    meta_gradient(learner, tasks())
    network.deep = "once"
    with pytest.raises(FphiError, match="marked as once_differentiable and has no second derivative"):
        meta_gradient(learner, tasks())


@looped
def test_a_parameter_that_changes_only_when_it_is_large_stays_as_it_is() -> None:
    def clamped(net: Any, x: Tensor) -> Tensor:
        net.a.weight.data.clamp_(-1, 1)
        return plain(net, x)

    net = Net(clamped)
    learners = [GradientLearner(net, sgd(0.3), 2), PrototypicalLearner(net)]
    for learner in learners:
        evaluate(learner, tasks())
    with torch.no_grad():
        net.a.weight.mul_(10)
    before = net.a.weight.detach().clone()
    for learner in learners:
        first = evaluate(learner, tasks()).losses
        assert torch.equal(net.a.weight, before)
        assert torch.equal(evaluate(learner, tasks()).losses, first)


@pytest.mark.parametrize("draw", [random.random, np.random.rand])
def test_noise_that_begins_later_is_the_same_with_any_number_of_threads(draw: Callable[[], float]) -> None:
    begun: list[int] = []
    learner = maml(lambda n, x: plain(n, x + draw() if begun else x))
    meta_gradient(learner, tasks(8), threads=2, chunk_size=1)
    begun.append(1)
    found = []
    for threads in (1, 2):
        random.seed(0)
        np.random.seed(0)
        found.append(meta_gradient(learner, tasks(8), threads=threads, chunk_size=1)[0])
    assert torch.equal(*found)


class Cached(nn.Module):
    """Uses a parametrised layer twice, within torch's cache or without it."""

    def __init__(self, cached: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = weight_norm(nn.Linear(4, 4, dtype=torch.float64))
        self.b = nn.Linear(4, 3, dtype=torch.float64)
        self.cached = cached

    def forward(self, x: Tensor) -> Tensor:
        with parametrize.cached() if self.cached else nullcontext():
            return cast(Tensor, self.b(torch.tanh(self.a(torch.tanh(self.a(x))))))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@looped
def test_torchs_cache_of_parametrizations_changes_nothing() -> None:
    given = tasks(8)

    def found(cached: bool, threads: int) -> tuple[Tensor, dict[str, Tensor]]:
        torch.manual_seed(0)
        return meta_gradient(
            GradientLearner(Cached(cached), sgd(0.3), 2), given, threads=threads, chunk_size=1
        )

    loss, gradients = found(False, 1)
    losses = evaluate(GradientLearner(Cached(False), sgd(0.3), 2), given).losses
    for cached, threads, around in [(True, 1, False), (True, 2, False), (False, 2, True), (True, 2, True)]:
        with parametrize.cached() if around else nullcontext():
            again, others = found(cached, threads)
            assert torch.equal(evaluate(GradientLearner(Cached(cached), sgd(0.3), 2), given).losses, losses)
        torch.testing.assert_close(again, loss, rtol=1e-12, atol=1e-12)
        for name, gradient in gradients.items():  # summed in another order
            torch.testing.assert_close(others[name], gradient, rtol=1e-10, atol=1e-12)


def test_torchs_cache_that_is_used_later_ends_the_work_in_threads() -> None:
    learner = GradientLearner(network := Cached(False), sgd(0.3), 2, batching="loop")
    loss = meta_gradient(learner, tasks(8), threads=2, chunk_size=1)[0]
    network.cached = True
    for _ in range(3):
        assert torch.equal(meta_gradient(learner, tasks(8), threads=2, chunk_size=1)[0], loss)


def detached(answers: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(answers.detach(), y)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: maml(loss=detached), "the support loss does not depend on the parameters to adapt"),
        (
            lambda: maml(lambda n, x: plain(n, x).detach()),
            "the support loss does not depend on the parameters",
        ),
        (lambda: maml(lambda n, x: {"out": plain(n, x)}), "Net answers with a dict; it must be one tensor"),
        (lambda: maml(lambda n, x: (plain(n, x), x)), "Net answers with a tuple; it must be one tensor"),
        (
            lambda: PrototypicalLearner(Net(lambda n, x: [x])),
            "Net answers with a list; it must be one tensor",
        ),
        (
            lambda: maml(loss=nn.CrossEntropyLoss(reduction="none")),
            r"the loss of a task is \[6\]; it must be one",
        ),
        (lambda: maml(loss=lambda answers, y: 1.0), "the loss of a task is float; it must be one number"),
        (
            lambda: maml(order=1, loss=lambda a, y: F.mse_loss(a, a, reduction="none")),
            r"is \[6, 3\]; it must",
        ),
    ],
)
@pytest.mark.parametrize("call", [evaluate, meta_gradient])
@looped
def test_what_gives_no_derivative_or_no_number_is_told(
    make: Callable[[], LearningAlgorithm], message: str, call: Callable[[LearningAlgorithm, Task], object]
) -> None:
    with pytest.raises(FphiError, match=message):
        call(make(), tasks())


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("kind", [maml, lambda f: maml(f, order=1), lambda f: PrototypicalLearner(Net(f))])
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@looped
def test_a_reentrant_checkpoint_is_refused_at_any_depth(
    deep: bool, kind: Callable[[Callable[[Any, Tensor], Tensor]], LearningAlgorithm]
) -> None:
    def again(net: Any, x: Tensor) -> Tensor:
        out = net.a(x) if deep else checkpoint(net.a, x, use_reentrant=True)
        return cast(Tensor, net.b(checkpoint(torch.tanh, out, use_reentrant=True) if deep else out.tanh()))

    with pytest.raises(FphiError, match="take use_reentrant=False, or the learner's memory='recomputed'"):
        meta_gradient(kind(again), tasks())


@pytest.mark.parametrize("make", [lambda: nn.Linear(4, 3), lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh())])
def test_a_network_made_in_inference_mode_is_told_so(make: Callable[[], nn.Module]) -> None:
    with torch.inference_mode():
        learner = GradientLearner(make().double(), sgd(0.3), 2)
    with pytest.raises(
        FphiError, match=r"made within torch\.inference_mode\(\), whose tensors have no derivat"
    ):
        meta_gradient(learner, tasks())


def numbers(shape: tuple[int, ...]) -> Task:
    given = tasks()
    return Task(*(Examples(part.x, part.x.abs().sum(-1).reshape(2, 6, *shape)) for part in given))


@pytest.mark.parametrize(
    "loss",
    [
        nn.MSELoss(), nn.L1Loss(), nn.SmoothL1Loss(), nn.HuberLoss(), F.poisson_nll_loss, nn.PoissonNLLLoss(),
        partial(F.mse_loss, reduction="sum"), partial(partial(F.huber_loss), delta=2.0),
    ],
)  # fmt: skip
def test_one_answer_each_is_not_compared_with_every_number(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    learner = GradientLearner(nn.Linear(4, 1).double(), sgd(0.01), 2, loss=loss)
    with pytest.raises(FphiError, match=r"answers are \[6, 1\] and targets \[6\]; a regression needs both"):
        evaluate(learner, numbers(()))
    given = numbers((1,))
    answers = learner.solve(given.support, given.query.x)
    right = torch.stack([loss(a, y) for a, y in zip(answers, given.query.y, strict=True)])
    torch.testing.assert_close(evaluate(learner, given).losses, right.detach())
