"""What the tests of sequence learners share: small cores, and random sequences."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fphi.learnable.sequence.learner import (
    Labels,
    SequenceLearner,
)
from fphi.learnable.sequence.lstm import LSTMCore
from fphi.learnable.sequence.memory import MemoryCore
from fphi.learnable.sequence.snail import SNAILCore
from fphi.learnable.sequence.standardisation import OnlineStandardisation
from fphi.tasks.types import Examples, Task

D, WAYS, T = 6, 3, 9
INPUTS = D + WAYS

CORES: dict[str, Callable[[], nn.Module]] = {
    "lstm": lambda: LSTMCore(INPUTS, WAYS, hidden=8),
    "mann": lambda: MemoryCore(INPUTS, WAYS, hidden=8, slots=12, word=5, heads=2),
    "snail": lambda: SNAILCore(INPUTS, WAYS, length=T + 1),
}
every_core = pytest.mark.parametrize("name", CORES)


def core_named(name: str) -> nn.Module:
    torch.manual_seed(1)
    return CORES[name]().double()


def learner_of(name: str, labels: Labels) -> SequenceLearner:
    standardise = OnlineStandardisation(D)
    return SequenceLearner(
        nn.Flatten(), core_named(name), WAYS, labels=labels, standardise=standardise
    ).double()


def items(length: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, length, INPUTS, dtype=torch.float64)


def stream(length: int = T, batch: int = 2) -> Examples:
    return Examples(torch.randn(batch, length, D, dtype=torch.float64), torch.randint(WAYS, (batch, length)))


def tasks(support: int = T, queries: int = 4) -> Task:
    return Task(stream(support), stream(queries))
