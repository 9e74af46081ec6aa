"""What a network holds beside its parameters stays as it was, in any thread, and what it draws is found."""

import os
import select
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from threading import Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fphi import Examples, GradientLearner, Task, evaluate, meta_gradient, sgd
from fphi.within.randomness import generators_of

looped = pytest.mark.filterwarnings("ignore:tasks are looped over")


def tasks(count: int = 4, seed: int = 0) -> Task:
    draw = torch.Generator().manual_seed(seed)

    def part() -> Examples:
        x = torch.randn(count, 6, 4, generator=draw, dtype=torch.float64)
        return Examples(x, (torch.arange(6) % 3).expand(count, -1))

    return Task(part(), part())


class Holding(nn.Module):
    """A linear layer, things of any kind, and a function that is called with both and the input."""

    held: Any

    def __init__(self, forward: Callable[["Holding", Tensor], Tensor], held: object = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3, dtype=torch.float64)
        self.function, self.held = forward, held

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


class Count:
    def __init__(self) -> None:
        self.value = 0


class Slotted:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Act:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        return torch.tanh(x) * self.calls


class Seen(nn.Module):
    """A layer that puts what it saw into a list, which its owner has too."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return x


def scaled(net: Holding, x: Tensor, by: float) -> Tensor:
    out: Tensor = net.layer(x) * (1 + 0.1 * by)
    return out


def counted(net: Holding, x: Tensor) -> Tensor:
    net.held.value += 1
    return scaled(net, x, net.held.value)


def by_entry(net: Holding, x: Tensor) -> Tensor:
    net.held["calls"] += 1
    return scaled(net, x, float(net.held["calls"]))


def by_length(net: Holding, x: Tensor) -> Tensor:
    net.held.append(1)
    return scaled(net, x, len(net.held))


def by_place(net: Holding, x: Tensor) -> Tensor:
    net.held[0] += 1
    return scaled(net, x, float(net.held[0]))


def running(net: Holding, x: Tensor) -> Tensor:
    with torch.no_grad():
        net.held.mul_(0.5).add_(x.mean(0))
    return net.layer(x + net.held)  # type: ignore[no-any-return]


def functional_norm(net: Holding, x: Tensor) -> Tensor:
    out = F.batch_norm(x, net.held[0], net.held[1], training=True)
    return net.layer(out) + net.held[0].sum()  # type: ignore[no-any-return]


def shared_list() -> Holding:
    layer = Seen()
    net = Holding(lambda n, x: scaled(n, n.held[0](x), len(n.held[1])), [layer, layer.seen])
    vars(net)["seen"] = layer.seen
    return net


def zeros() -> Tensor:
    return torch.zeros(4, dtype=torch.float64)


HELD: dict[str, Callable[[], Holding]] = {
    "an object": lambda: Holding(counted, Count()),
    "an object with slots": lambda: Holding(counted, Slotted()),
    "a namespace": lambda: Holding(counted, SimpleNamespace(value=0)),
    "a function object": lambda: Holding(lambda n, x: n.layer(n.held(x)), Act()),
    "a list of its own kind": lambda: Holding(by_length, type("Rows", (list,), {})()),
    "a list shared with a layer": shared_list,
    "a counter": lambda: Holding(by_entry, Counter(calls=0)),
    "an array": lambda: Holding(by_place, np.zeros(2)),
    "a tensor": lambda: Holding(running, zeros()),
    "statistics of a functional norm": lambda: Holding(functional_norm, (zeros(), zeros() + 1)),
}


def state(value: Any) -> object:
    """What is held, to compare."""
    if isinstance(value, Tensor | np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [state(each) for each in value]
    if isinstance(value, Slotted):
        return value.value
    if isinstance(value, nn.Module):
        return [state(v) for k, v in vars(value).items() if k in ("held", "seen")]
    return dict(vars(value)) if hasattr(value, "__dict__") and not isinstance(value, dict) else str(value)


@pytest.mark.parametrize("name", HELD)
@looped
def test_what_is_held_is_as_it_was(name: str) -> None:
    network = HELD[name]()
    held, before = network.held, state(network)
    learner = GradientLearner(network, sgd(0.3), 2)
    first = evaluate(learner, tasks()).losses
    one, two = (meta_gradient(learner, tasks(), threads=n, chunk_size=1)[1] for n in (1, 2))
    assert torch.equal(evaluate(learner, tasks()).losses, first)
    assert all(torch.equal(one[k], two[k]) for k in one)
    many = [tasks(2, seed) for seed in range(4)]
    alone = [learner.task_losses(each).detach() for each in many]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda each: learner.task_losses(each).detach(), many * 2))
    assert all(torch.equal(a, b) for a, b in zip(answers, alone * 2, strict=True))
    assert network.held is held
    assert state(network) == before


def test_a_mark_is_known_by_its_identity() -> None:
    mark = Count.__new__(Count)
    network = Holding(lambda n, x: n.layer(x) if n.held is mark else x.new_full((len(x), 3), torch.nan), mark)
    assert evaluate(GradientLearner(network, sgd(0.1), 1), tasks()).losses.isfinite().all()


@looped
def test_a_change_that_vmap_does_not_let_happen_is_undone_all_the_same() -> None:
    def normalised(net: Holding, x: Tensor) -> Tensor:
        net.layer.weight.data /= net.layer.weight.data.norm(dim=1, keepdim=True)
        return net.layer(x)  # type: ignore[no-any-return]

    network = Holding(normalised)
    before = network.layer.weight.detach().clone()
    losses = [
        evaluate(GradientLearner(network, sgd(0.3), 2, batching=batching), tasks()).losses
        for batching in ("auto", "loop", "auto")
    ]
    assert torch.equal(network.layer.weight, before)
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(losses[0], losses[2])


IN_THE_FILE = torch.Generator()
IN_A_LIST = [np.random.RandomState(0)]


def noise(x: Tensor) -> Tensor:
    return x + torch.randn(x.shape[-1:], generator=IN_THE_FILE, dtype=x.dtype)


def from_closure() -> tuple[Holding, Callable[[], object]]:
    own = torch.Generator()
    network = Holding(lambda n, x: n.layer(x) + torch.randn(3, generator=own, dtype=x.dtype))
    return network, lambda: own.manual_seed(3)


def from_object() -> tuple[Holding, Callable[[], object]]:
    held = Count()
    own = held.value = torch.Generator()  # type: ignore[assignment]
    network = Holding(lambda n, x: n.layer(x + torch.randn(4, generator=n.held.value, dtype=x.dtype)), held)
    return network, lambda: own.manual_seed(3)


def from_list() -> tuple[Holding, Callable[[], object]]:
    network = Holding(lambda n, x: n.layer(x + torch.from_numpy(n.held[0].randn(4))), IN_A_LIST)
    return network, lambda: IN_A_LIST[0].seed(3)


def from_file() -> tuple[Holding, Callable[[], object]]:
    return Holding(lambda n, x: n.layer(noise(x))), lambda: IN_THE_FILE.manual_seed(3)


@pytest.mark.parametrize("make", [from_closure, from_object, from_list, from_file])
@pytest.mark.parametrize("memory", ["stored", "recomputed"])
def test_a_generator_is_found_wherever_it_is(
    make: Callable[[], tuple[Holding, Callable[[], object]]], memory: str
) -> None:
    found = []
    for threads in (1, 2, 3):
        network, seed = make()
        assert len(generators_of(network)) == 1
        learner = GradientLearner(network, sgd(0.3), 3, batching="loop", memory=memory)  # type: ignore[arg-type]
        for _ in range(2):
            seed()
            found.append(meta_gradient(learner, tasks(12), threads=threads)[1])
    assert all(torch.equal(found[0][k], other[k]) for other in found for k in other)


def linear() -> GradientLearner:
    return GradientLearner(Holding(lambda n, x: n.layer(x)), sgd(0.3), 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_forked_process_works_in_threads_of_its_own() -> None:
    learner = linear()
    wanted = meta_gradient(learner, tasks(), threads=2, chunk_size=1)[0]
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        again = meta_gradient(learner, tasks(), threads=2, chunk_size=1)[0]
        os.write(write, b"same" if torch.equal(again, wanted) else b"other")
        os._exit(0)
    said = os.read(read, 9) if select.select([read], [], [], 60)[0] else b"nothing"
    if said == b"nothing":
        os.kill(child, 9)
    os.waitpid(child, 0)
    assert said == b"same"


def test_worker_threads_change_no_other_threads_number_of_threads() -> None:
    before, seen = torch.get_num_threads(), []
    try:
        torch.set_num_threads(3)
        meta_gradient(linear(), tasks(), threads=2, chunk_size=1)
        other = Thread(target=lambda: seen.append(torch.get_num_threads()))
        other.start()
        other.join()
        assert (torch.get_num_threads(), seen) == (3, [3])
    finally:
        torch.set_num_threads(before)


class Doubled(TorchFunctionMode):
    """Within it linear layers give twice their output."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        return 2 * out if function is F.linear else out


def test_what_surrounds_the_call_holds_in_worker_threads() -> None:
    scale: ContextVar[float] = ContextVar("scale", default=1.0)
    learner = GradientLearner(Holding(lambda n, x: n.layer(x) * scale.get()), sgd(0.3), 2)
    scale.set(2.0)
    one, two = (meta_gradient(learner, tasks(), threads=n, chunk_size=1)[0] for n in (1, 2))
    assert torch.equal(one, two)
    plain = meta_gradient(linear(), tasks(), chunk_size=1)[0]
    with Doubled():
        one, two = (meta_gradient(linear(), tasks(), threads=n, chunk_size=1)[0] for n in (1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, plain)
