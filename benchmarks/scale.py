"""What a meta-step costs on many ranks: a plan by a model, and the model beside two ranks of this machine.

Run it: python benchmarks/scale.py --write docs/scale.md
"""

import argparse
import csv
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
import torch.distributed as dist

from fphi.optimize import AgingEvolution
from fphi.report.tables import Table
from fphi.run.search.history import History
from output import write_between_markers

__all__ = ["Network", "Wire", "all_reduce_seconds", "conv4", "resnet12", "vit_small"]

RANKS = (1, 8, 64, 512)
META_BATCH = 512
MEASURED_BATCH = 32  # tasks of a meta-step: those of MAML on Omniglot with five ways, and of fphi by default
SIZES = (1, 113_000, 1_000_000, 10_000_000)  # numbers in the messages that the wire is measured with
CANDIDATES = 20_000
STEPS = 40


@dataclass(frozen=True)
class Network:
    """What a network costs.

    Args:
        name: its own.
        parameters: how many.
        products: multiplications of one forward pass of one image.
        images: of a task, support and query.
        passes: forward passes that a task's gradient costs for each image, a backward pass being two.
    """

    name: str
    parameters: int
    products: int
    images: int
    passes: float

    @property
    def task(self) -> float:
        """Floating-point operations of one task's gradient."""
        return 2.0 * self.products * self.images * self.passes


@dataclass(frozen=True)
class Wire:
    """A network between ranks.

    Args:
        name: its own.
        latency: seconds of a message.
        bandwidth: bytes a second that a rank can send.
        rate: floating-point operations a second of the rank at its end.
    """

    name: str
    latency: float
    bandwidth: float
    rate: float


def convolutions(layers: Iterable[tuple[int, int, int, int]]) -> tuple[int, int]:
    """Parameters and products of layers given as inputs, outputs, kernel and side, each with its norm."""
    listed = list(layers)
    weights = sum(i * o * k * k + 2 * o for i, o, k, _ in listed)
    return weights, sum(i * o * k * k * side * side for i, o, k, side in listed)


def conv4() -> Network:
    """MAML's, of 28x28 pixels, second order, 5 inner steps on 5 images, 5 queries."""
    weights, products = convolutions([(1, 64, 3, 28), (64, 64, 3, 14), (64, 64, 3, 7), (64, 64, 3, 3)])
    # An inner step is three passes, and six more on the way back; the queries are three.
    return Network("Conv4, MAML", weights + 65 * 5, products, 10, (5 * 9 + 3) / 2)


def resnet12() -> Network:
    """Of 84x84 pixels, prototypical: 5 images and 75 queries."""
    layers, inputs = list[tuple[int, int, int, int]](), 3
    for outputs, side in ((64, 84), (160, 42), (320, 21), (640, 10)):
        layers += [(inputs, outputs, 3, side), *[(outputs, outputs, 3, side)] * 2, (inputs, outputs, 1, side)]
        inputs = outputs
    weights, products = convolutions(layers)
    return Network("ResNet-12, prototypical", weights, products, 80, 3)


def vit_small() -> Network:
    """Of 224x224 pixels in patches of 16, prototypical: 5 images and 75 queries."""
    width, depth, tokens = 384, 12, 197
    block = 12 * width * width + 13 * width
    parameters = depth * block + 3 * 16 * 16 * width + width + (tokens + 1) * width + 2 * width
    products = depth * (12 * width * width * tokens + 2 * width * tokens * tokens) + 196 * 768 * width
    return Network("ViT-S/16, prototypical", parameters, products, 80, 3)


def all_reduce_seconds(numbers: int, ranks: int, latency: float, bandwidth: float) -> float:
    """By the ring: each rank sends 2 (P - 1) messages of a P-th of the numbers, 4 bytes each."""
    return 2 * (ranks - 1) * (latency + 4 * numbers / ranks / bandwidth)


def plan(wires: list[Wire]) -> Table:
    """A meta-step of many tasks at several numbers of ranks."""
    lines = []
    for network in (conv4(), resnet12(), vit_small()):
        for ranks in RANKS:
            sent = 2 * (ranks - 1) / ranks * 4 * network.parameters
            cells = [network.name, str(ranks), f"{sent / 1e6:.2f} MB", str(2 * (ranks - 1))]
            for wire in wires:
                computed = META_BATCH / ranks * network.task / wire.rate
                spoken = all_reduce_seconds(network.parameters, ranks, wire.latency, wire.bandwidth)
                cells.append(f"{_seconds(computed)} + {_seconds(spoken)}")
            lines.append(tuple(cells))
    header = ("network", "ranks", "sent by each", "messages", *(wire.name for wire in wires))
    return Table(header, tuple(lines))


def overtaken(network: Network, wire: Wire) -> int | None:
    """The fewest ranks at which the all-reduce takes longer than the arithmetic; None: more than tasks."""
    for ranks in range(2, META_BATCH + 1):
        computed = META_BATCH / ranks * network.task / wire.rate
        if all_reduce_seconds(network.parameters, ranks, wire.latency, wire.bandwidth) > computed:
            return ranks
    return None


def measured_wire(rounds: int) -> tuple[float, float]:
    """Latency and bandwidth between two processes of this machine, by gloo."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "seconds"
        words = [sys.executable, __file__, "--rank"]
        other = subprocess.Popen([*words, "1", "--port", str(port), "--rounds", str(rounds)])
        subprocess.run(
            [*words, "0", "--port", str(port), "--rounds", str(rounds), "--json", str(out)], check=True
        )
        other.wait()
        seconds = [float(text) for text in out.read_text().split()]
    latency = seconds[0] / 2
    return latency, 4 * SIZES[-1] / (seconds[-1] - seconds[0])


def one_rank(rank: int, port: int, rounds: int, out: Path | None) -> None:
    """One of the two processes that speak to each other; the medians for each size of message."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    medians = []
    for size in SIZES:
        message, taken = torch.ones(size), []
        for _ in range(rounds + 1):
            dist.barrier()
            start = time.perf_counter()
            dist.all_reduce(message)
            taken.append(time.perf_counter() - start)
        medians.append(statistics.median(taken[1:]))
    if out is not None:
        out.write_text(" ".join(str(median) for median in medians))
    dist.destroy_process_group()


def measured_step(method: str, devices: int) -> float:
    """Seconds of a meta-step, as ``fphi train`` logs them, by one core for each rank."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "fphi", "train", method, "--out", f"{folder}/run", "--devices", str(devices)]
        words += ["--threads", "1", "--steps", str(STEPS), "--meta-batch", str(MEASURED_BATCH)]
        words += ["--validate-every", "0", "--validation-tasks", "1", "--log-every", "1"]
        words += ["--train-ways", "5"] if method == "prototypical" else []
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *words], check=True, capture_output=True, env=environment)
        with (Path(folder) / "run" / "log.csv").open(encoding="utf-8") as file:
            seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    return (seconds[-2] - seconds[9]) / (len(seconds) - 11)  # without the first ten and the validation


def driver_seconds() -> float:
    """Of asking for a candidate and telling its loss, at the end of a long history."""
    from fphi.learnable.architecture import SPACES
    from fphi.objective.outcome import Outcome

    space = SPACES["nasbench201"]()
    with tempfile.TemporaryDirectory() as folder:
        history = History(Path(folder) / "history.jsonl")
        optimizer, random, taken = AgingEvolution(space, 0), Random(0), []
        for _ in range(CANDIDATES):
            start = time.perf_counter()
            candidate = optimizer.ask()
            history.asked(candidate)
            outcome = Outcome(random.random(), 1.0)
            optimizer.tell(candidate, outcome.loss)
            history.told(candidate, outcome, dict(optimizer.standing()))
            taken.append(time.perf_counter() - start)
    return statistics.median(taken[-1000:])


def measured_steps(rounds: int, latency: float, bandwidth: float) -> Table:
    """Meta-steps of one rank and of two, in turn, beside what the model says of two."""
    lines = []
    for method, parameters in (("maml", 112_000), ("prototypical", 112_000)):
        steps: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(rounds):
            for devices, taken in steps.items():
                taken.append(measured_step(method, devices))
        one, two = (statistics.median(taken) for taken in steps.values())
        predicted = one / 2 + all_reduce_seconds(parameters, 2, latency, bandwidth)
        cells = (method, _seconds(one), _seconds(two), _seconds(predicted), f"{one / two:.2f}x")
        lines.append(cells)
    header = ("method", "1 rank", "2 ranks", "2 ranks, by the model", "faster")
    return Table(header, tuple(lines))


def _seconds(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f} s"
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return "0"


def main() -> None:
    """Measure, compute, and write the page's tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank is not None:
        one_rank(options.rank, options.port, options.rounds, options.json)
        return
    latency, bandwidth = measured_wire(options.rounds)
    steps = measured_steps(options.rounds, latency, bandwidth)
    wires = [
        Wire("a core of 50 GFLOP/s, 10 Gbit/s", 50e-6, 1.25e9, 50e9),
        Wire("a GPU of 20 TFLOP/s, 100 Gbit/s", 10e-6, 12.5e9, 20e12),
    ]
    crossing = [
        (network.name, *(str(overtaken(network, wire) or f"beyond {META_BATCH}") for wire in wires))
        for network in (conv4(), resnet12(), vit_small())
    ]
    driver = driver_seconds()
    text = "\n\n".join(
        [
            f"A meta-step of {META_BATCH} tasks: arithmetic + all-reduce of each rank.",
            plan(wires).markdown(),
            "Ranks from which the all-reduce takes longer than the arithmetic:",
            Table(("network", *(wire.name for wire in wires)), tuple(crossing)).markdown(),
            f"Measured here between two processes: {_seconds(latency)} a message, "
            f"{bandwidth / 1e9:.2f} GB/s. A meta-step of {MEASURED_BATCH} tasks, one core for each rank, "
            f"medians of {options.rounds} interleaved rounds:",
            steps.markdown(),
            f"Asking for a candidate and telling its loss takes {_seconds(driver)} at {CANDIDATES:,} "
            f"candidates: one driver keeps {1 / driver:,.0f} workers busy for each second that a candidate "
            "takes.",
        ]
    )
    print(text)
    if options.write:
        write_between_markers(options.write, text)


if __name__ == "__main__":
    main()
