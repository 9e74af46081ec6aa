"""What the tests share: small tasks and a table of all learners."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

# Small operations on a busy machine: threads that wait for each other would cost more than they bring.
torch.set_num_threads(1)
# How long an example takes says something of the machine's other work, and nothing of the code.
settings.register_profile("fphi", deadline=None)
settings.load_profile("fphi")


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Every test starts from the same random state and leaves torch's settings as they were."""
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)
