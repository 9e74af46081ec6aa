"""A learned optimizer as a drop-in, beside Adam: four ordinary trainings that it was not learned on.

``python benchmarks/drop_in.py RUN`` takes the update rule that ``fphi train`` left in RUN (of lstm-optimizer,
learned-momentum, …) for a torch optimizer, and trains: a layer of sigmoid units on the 8x8 digits, a small
CNN on MNIST, a bag of words on the 77 intents of BANKING77, and ReLU layers on a table (breast cancer).
MNIST and the intents are read from the folder that ``FPHI_DATA`` names, and left out without it.

Adam's rate is tuned on each problem, by the validation loss at the end of a training from another start; so
is the factor ``lr`` of the rule, over fewer values. What is printed is of test examples, means over starts:
the loss and accuracy after equal steps, and Adam's when it has computed as long as the rule did. The last
line is what a step on a million parameters costs, beside one of Adam.
"""

import argparse
import csv
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.feature_extraction.text import CountVectorizer
from torch import Tensor, nn
from torch.optim import Optimizer

import fphi
from fphi.tasks.idx import read_idx

ADAM = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
FACTORS = (0.1, 0.3, 1.0, 3.0)
BATCH = 64
_MNIST = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")

Make = Callable[[list[nn.Parameter]], Optimizer]


@dataclass(frozen=True)
class Problem:
    """What is trained, and on which examples: ``x`` and ``y`` of each part."""

    network: Callable[[], nn.Module]
    parts: Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Reached:
    """By a training: loss and accuracy on one part, steps, and the seconds that they took."""

    loss: float
    accuracy: float
    steps: int
    seconds: float


def divided(x: Tensor, y: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Three fifths to train on, a fifth to choose by, a fifth to test on."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    bounds = [0, len(x) * 3 // 5, len(x) * 4 // 5, len(x)]
    rows = [order[a:b] for a, b in itertools.pairwise(bounds)]
    return {part: (x[own], y[own]) for part, own in zip(("train", "validation", "test"), rows, strict=True)}


def problems(data: Path | None) -> Iterator[tuple[str, Problem]]:
    """The four, or those whose data are there."""
    digits = load_digits()
    x = torch.from_numpy(digits.data).float() / 16
    yield (
        "digits, sigmoid MLP",
        Problem(
            lambda: nn.Sequential(nn.Linear(64, 30), nn.Sigmoid(), nn.Linear(30, 10)),
            divided(x, torch.from_numpy(digits.target)),
        ),
    )
    table = load_breast_cancer()
    x = torch.from_numpy(table.data).float()
    yield (
        "breast cancer, ReLU MLP",
        Problem(
            lambda: nn.Sequential(
                nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2)
            ),
            divided((x - x.mean(0)) / x.std(0), torch.from_numpy(table.target)),
        ),
    )
    if data is None:
        print("MNIST and the intents are left out: FPHI_DATA names no folder")
        return
    images, labels = (torch.from_numpy(read_idx(data / "mnist" / name).copy()) for name in _MNIST)
    yield (
        "MNIST, CNN",
        Problem(
            lambda: nn.Sequential(
                *(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()),
                *(nn.Flatten(), nn.Linear(16 * 7 * 7, 10)),
            ),
            divided(images[:10_000, None].float() / 255, labels[:10_000].long()),
        ),
    )
    with (data / "intents" / "banking77_train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    words = CountVectorizer(max_features=1000).fit_transform(row["text"] for row in rows)
    names = sorted({row["category"] for row in rows})
    intents = torch.tensor([names.index(row["category"]) for row in rows])
    yield (
        "intents, bag of words",
        Problem(
            lambda: nn.Sequential(nn.Linear(1000, 64), nn.ReLU(), nn.Linear(64, 77)),
            divided(torch.from_numpy(words.toarray()).float(), intents),
        ),
    )


def trained(
    problem: Problem,
    make: Make,
    seed: int,
    part: str,
    *,
    steps: int | None = None,
    seconds: float | None = None,
) -> Reached:
    """Train for so many steps, or so long, and test on ``part``."""
    torch.manual_seed(seed)
    network = problem.network()
    optimizer = make(list(network.parameters()))
    x, y = problem.parts["train"]
    draws = torch.Generator().manual_seed(seed)
    spent, done = 0.0, 0
    while (steps is None or done < steps) and (seconds is None or spent < seconds):
        rows = torch.randint(len(x), (BATCH,), generator=draws)
        start = time.perf_counter()
        loss = F.cross_entropy(network(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        spent += time.perf_counter() - start
        done += 1
    x, y = problem.parts[part]
    with torch.no_grad():
        answers = network(x)
    accuracy = (answers.argmax(1) == y).float().mean()
    return Reached(float(F.cross_entropy(answers, y)), float(accuracy), done, spent)


def best(problem: Problem, kinds: Mapping[float, Make], steps: int) -> float:
    """The rate whose training ends with the smallest validation loss; one that is no number is none."""
    losses = {
        rate: trained(problem, make, 1000, "validation", steps=steps).loss for rate, make in kinds.items()
    }
    return min(losses, key=lambda rate: (not losses[rate] < float("inf"), losses[rate]))


def line(name: str, tests: list[Reached]) -> str:
    """Means over starts."""
    loss, accuracy, steps, seconds = (
        statistics.mean(getattr(test, key) for test in tests) for key in Reached.__dataclass_fields__
    )
    return f"  {name:<26}loss {loss:7.4f}  accuracy {accuracy:6.1%}  {steps:6.0f} steps  {seconds:6.2f} s"


def step_cost(rule: Make) -> str:
    """Of a step in a training: medians over 25 steps of each in turn, without the first three."""
    networks = [nn.Sequential(nn.Linear(784, 800), nn.ReLU(), nn.Linear(800, 470)) for _ in range(2)]
    optimizers = [
        make(list(network.parameters()))
        for make, network in zip((rule, torch.optim.Adam), networks, strict=True)
    ]
    x, y = torch.randn(BATCH, 784), torch.randint(470, (BATCH,))
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(25):
        for network, optimizer, own in zip(networks, optimizers, seconds, strict=True):
            optimizer.zero_grad()
            F.cross_entropy(network(x), y).backward()  # type: ignore[no-untyped-call]
            start = time.process_time()
            optimizer.step()
            own.append(time.process_time() - start)
    learned, adam = (statistics.median(values[3:]) for values in seconds)
    count = sum(p.numel() for p in networks[0].parameters())
    return f"a step on {count:,} parameters: {1000 * learned:.1f} ms, {learned / adam:.2f} times Adam's"


def main() -> None:
    """Tune, train, test, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--starts", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rule = fphi.optim.load(chosen.run)
    data = os.environ.get("FPHI_DATA")
    adam: dict[float, Make] = {rate: partial(torch.optim.Adam, lr=rate) for rate in ADAM}
    learned: dict[float, Make] = {factor: partial(rule, lr=factor) for factor in FACTORS}
    for name, problem in problems(None if data is None else Path(data)):
        rate, factor = (best(problem, kinds, chosen.steps) for kinds in (adam, learned))
        starts = range(chosen.starts)
        as_learned, of_rule, of_adam = (
            [trained(problem, make, seed, "test", steps=chosen.steps) for seed in starts]
            for make in (learned[1.0], learned[factor], adam[rate])
        )
        as_long = [
            trained(problem, adam[rate], seed, "test", seconds=own.seconds)
            for seed, own in zip(starts, of_rule, strict=True)
        ]
        print(name)
        print(line("learned rule, as it is", as_learned))
        print(line(f"learned rule times {factor:g}", of_rule))
        print(line(f"Adam, {rate:g}", of_adam))
        print(line(f"Adam, {rate:g}, as long", as_long), flush=True)
    print(step_cost(rule))


if __name__ == "__main__":
    main()
