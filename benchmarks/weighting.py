"""What a step with learned weights of examples costs, as a multiple of a plain training step.

``OMP_NUM_THREADS=1 python benchmarks/weighting.py`` trains LeNet on minibatches of 100 images of 28x28, or
``--network resnet8`` on 100 of 32x32 RGB, with as many clean ones. Meta-Weight-Net stands beside the same
step by a loop with higher, and by betty's problems in the form of its own example, where the step that looks
ahead is the model's step itself. Systems take turns; what is printed are medians.
"""

import argparse
import statistics
from collections.abc import Callable
from copy import deepcopy
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fphi.networks.supervised import network_for
from fphi.weighting import MetaWeightNet, Reweight, Weighting, WeightNet
from timing import interleaved

Step = Callable[[], object]
Pair = tuple[Tensor, Tensor]

_RATE = 0.01


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), _RATE, momentum=0.9, weight_decay=5e-4)


def plain(model: nn.Module, batch: Pair, clean: Pair) -> Step:
    """An ordinary step."""
    optimizer = sgd(model)

    def step() -> None:
        loss = cross_entropy(model(batch[0]), batch[1])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def weighed(make: Callable[[nn.Module, torch.optim.Optimizer], Weighting], halved: bool = False) -> Any:
    """A step of `fphi.weighting`; ``halved``: with half of the clean examples."""

    def begin(model: nn.Module, batch: Pair, clean: Pair) -> Step:
        weighting = make(model, sgd(model))
        own = (clean[0][: len(clean[0]) // 2], clean[1][: len(clean[1]) // 2]) if halved else clean
        return lambda: weighting.step(batch, own)

    return begin


def by_higher(model: nn.Module, batch: Pair, clean: Pair) -> Step:
    """Meta-Weight-Net's step as its authors' code has it: a copy of the model that is unrolled."""
    higher: Any = import_module("higher")
    optimizer, net = sgd(model), WeightNet()
    adam = torch.optim.Adam(net.parameters(), 1e-3, weight_decay=1e-4)
    plain_descent = torch.optim.SGD(model.parameters(), _RATE)

    def step() -> None:
        with higher.innerloop_ctx(model, plain_descent) as (copy, descent):
            losses = cross_entropy(copy(batch[0]), batch[1], reduction="none")
            descent.step((net(losses.detach()) * losses).mean())
            adam.zero_grad()
            cross_entropy(copy(clean[0]), clean[1]).backward()  # type: ignore[no-untyped-call]
            adam.step()
        losses = cross_entropy(model(batch[0]), batch[1], reduction="none")
        with torch.no_grad():
            weights = net(losses)
        optimizer.zero_grad()
        (weights * losses).mean().backward()
        optimizer.step()

    return step


def by_betty(model: nn.Module, batch: Pair, clean: Pair) -> Step:
    """The same with betty: finite differences, as in its example."""
    engine, problems, configs = (import_module(f"betty.{name}") for name in ("engine", "problems", "configs"))
    net = WeightNet()

    class Outer(problems.ImplicitProblem):  # type: ignore[name-defined,misc]
        def training_step(self, data: Pair) -> Tensor:
            return cross_entropy(self.inner(data[0]), data[1])

    class Inner(problems.ImplicitProblem):  # type: ignore[name-defined,misc]
        def training_step(self, data: Pair) -> Tensor:
            losses = cross_entropy(self.module(data[0]), data[1], reduction="none")
            weights: Tensor = self.outer(losses.detach())
            return (weights * losses).mean()

    adam = torch.optim.Adam(net.parameters(), 1e-3, weight_decay=1e-4)
    settings = {"config": configs.Config(type="darts", unroll_steps=1)}
    outer = Outer(name="outer", module=net, optimizer=adam, train_data_loader=[clean], **settings)
    inner = Inner(name="inner", module=model, optimizer=sgd(model), train_data_loader=[batch], **settings)
    run = engine.Engine(
        config=configs.EngineConfig(train_iters=1),
        problems=[outer, inner],
        dependencies={"u2l": {outer: [inner]}, "l2u": {inner: [outer]}},
    )

    def step() -> None:
        run.global_step += 1
        run.train_step()

    return step


SYSTEMS: dict[str, Callable[[nn.Module, Pair, Pair], Step]] = {
    "plain step": plain,
    "fphi, learning to reweight": weighed(Reweight),
    "fphi, learning to reweight, unrolled": weighed(lambda m, o: Reweight(m, o, form="unrolled")),
    "fphi, Meta-Weight-Net": weighed(MetaWeightNet),
    "fphi, Meta-Weight-Net, by difference": weighed(
        lambda m, o: MetaWeightNet(m, o, derivative="difference")
    ),
    "the same, half the clean examples": weighed(
        lambda m, o: MetaWeightNet(m, o, derivative="difference"), halved=True
    ),
    "higher, Meta-Weight-Net": by_higher,
    "betty, Meta-Weight-Net by difference": by_betty,
}


def main() -> None:
    """Print the milliseconds of each step, and how many plain ones they are."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--network", default="lenet")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    shape = (1, 28, 28) if options.network == "lenet" else (3, 32, 32)
    torch.manual_seed(0)
    model = network_for(options.network, shape, 10)

    def examples() -> Pair:
        return torch.randn(options.batch, *shape), torch.randint(10, (options.batch,))

    batch, clean, steps = examples(), examples(), {}
    for name, begin in SYSTEMS.items():
        try:
            steps[name] = begin(deepcopy(model), batch, clean)
        except ImportError as error:
            print(f"{name}: {error}")
    seconds = {name: statistics.median(t) for name, t in interleaved(steps, options.rounds).items()}
    for name, median in seconds.items():
        print(f"{name:<38}{1000 * median:8.1f} ms{median / seconds['plain step']:7.2f} x")


if __name__ == "__main__":
    main()
