"""What the tests of searches share: a small space, and evaluations that go wrong in every way."""

import math
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from fphi.learnable.architecture import ArchitectureSpace, Graph
from fphi.learnable.space import Candidate, Decision, FixedSpace, Tokens
from fphi.objective.outcome import Outcome
from fphi.tasks.supervised import Supervised
from fphi.tasks.types import Examples
from waiting import PATIENCE, wait_until

WIDTHS = (2, 4, 8)


class Told(nn.Module):
    """Remembers the progress that it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[float] = []

    def set_progress(self, fraction: float) -> None:
        self.heard.append(fraction)

    def forward(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True)
class TinySpace(FixedSpace, ArchitectureSpace):
    """Networks of one hidden layer: its width, and whether it drops half of its units."""

    name: ClassVar[str] = "tiny"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return (Decision("width", len(WIDTHS)), Decision("dropout", 2))

    def text(self, tokens: Tokens) -> str:
        return ",".join(map(str, tokens))

    def parse(self, text: str) -> Tokens:
        return self.check([int(part) for part in text.split(",")])

    def build(self, tokens: Tokens, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        width = WIDTHS[tokens[0]]
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(input_shape), width),
            nn.ReLU(),
            nn.Dropout(0.5 * tokens[1]),
            Told(),
            nn.Linear(width, outputs),
        )

    def graphs(self, tokens: Tokens) -> list[Graph]:
        return []


def blobs(train: int = 96, others: int = 48, noise: float = 0.7) -> Supervised:
    """Images that are their class's own pattern, and noise."""
    classes, shape = 3, (1, 4, 4)
    generator = torch.Generator().manual_seed(5)
    patterns = torch.randn(classes, *shape, generator=generator)

    def drawn(n: int) -> Examples:
        y = torch.arange(n) % classes
        return Examples(patterns[y] + noise * torch.randn(n, *shape, generator=generator), y)

    return Supervised("blobs", drawn(train), drawn(others), drawn(others), classes)


def loss_of(tokens: Tokens) -> float:
    return 1 / (1 + sum(tokens))


def fine(candidate: Candidate) -> Outcome:
    return Outcome(loss_of(candidate.tokens), 0.25)


@dataclass(frozen=True)
class SecondFirst:
    """The first of two candidates ends once ``told`` is there, which says that the second one's end is known."""

    told: Path

    def __call__(self, candidate: Candidate) -> Outcome:
        if candidate.number == 0:
            wait_until(self.told.exists)
        return fine(candidate)


class AwkwardError(Exception):
    """Pickles, and cannot be unpickled: its arguments are not those of its base."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def troubled(candidate: Candidate) -> Outcome:
    """By its number a candidate goes wrong in one way or another; from 7 on all is well."""
    match candidate.number:
        case 0:
            os.kill(os.getpid(), signal.SIGKILL)
        case 1:
            raise ValueError("a number\nthat is bad")
        case 2:
            return Outcome(math.nan, 0.25)
        case 3:
            raise MemoryError
        case 4:
            sys.exit(3)
        case 5:
            raise AwkwardError(1, 2)
        case 6:
            return threading.Lock()  # type: ignore[return-value]
    return fine(candidate)


@dataclass(frozen=True)
class Sleeps:
    """Says who it is, then sleeps for longer than any test waits."""

    folder: Path

    def __call__(self, candidate: Candidate) -> Outcome:
        (self.folder / str(os.getpid())).touch()
        time.sleep(2 * PATIENCE)
        return fine(candidate)


def threads(candidate: Candidate) -> Outcome:
    return Outcome(
        0.5, 0.0, measures={"threads": float(torch.get_num_threads()), "process": float(os.getpid())}
    )


def alive(process: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
