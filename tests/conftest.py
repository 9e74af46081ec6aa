"""What the tests share: small tasks and a table of all learners."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

from waiting import Clock

# Small operations on a busy machine: threads that wait for each other would cost more than they bring.
torch.set_num_threads(1)
# How long an example takes says something of the machine's other work, and nothing of the code. The examples
# are the same in every run: what fails, fails always.
settings.register_profile("fphi", deadline=None, derandomize=True)
settings.load_profile("fphi")


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Every test starts from the same random state and leaves torch's settings as they were."""
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that all code reads, which stands still but for what the test adds to it."""
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock
