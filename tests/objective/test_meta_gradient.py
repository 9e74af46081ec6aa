"""The mean gradient of many tasks, by any number of threads."""

from collections.abc import Iterator
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import fphi
from fphi.learnable import GradientLearner
from fphi.objective.meta_gradient import meta_gradient
from fphi.tasks.types import Examples, Task
from fphi.within import sgd


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


class NotesCores(nn.Module):
    """A network whose operations torch would spread over cores, and that notes over how many."""

    noted: ClassVar[set[int]] = set()

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 26 * 26, 5))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(x)
        self.noted.add(torch.get_num_threads())
        return logits


def many_tasks(queries: int = 10) -> Task:
    def some(count: int) -> Examples:
        x = torch.rand(4, count, 1, 28, 28, generator=torch.Generator().manual_seed(count))
        return Examples(x, torch.arange(count).remainder(5).expand(4, -1).contiguous())

    return Task(some(5), some(queries))


@pytest.mark.usefixtures("three_threads")
def test_the_number_of_threads_changes_no_bit_where_torch_has_threads_too() -> None:
    learner, tasks = GradientLearner(NotesCores().body, sgd(0.1), 1), many_tasks()
    loss, gradients = meta_gradient(learner, tasks, chunk_size=1, threads=1)
    for threads in (2, 3, None):
        other_loss, others = meta_gradient(learner, tasks, chunk_size=1, threads=threads)
        assert torch.equal(other_loss, loss)
        assert all(torch.equal(others[name], gradient) for name, gradient in gradients.items())
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("queries", [5, 20], ids=["kernels in threads", "Python in threads"])
def test_the_number_of_threads_changes_no_bit_of_what_the_kernels_do(queries: int) -> None:
    learner = GradientLearner(fphi.Conv4(5, filters=16), sgd(0.1), 2)
    tasks = many_tasks(queries)
    loss, gradients = meta_gradient(learner, tasks, threads=1)
    for threads in (2, 3, None):
        other_loss, others = meta_gradient(learner, tasks, threads=threads)
        assert torch.equal(other_loss, loss)
        assert all(torch.equal(others[name], gradient) for name, gradient in gradients.items())
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_worker_computes_with_one_core(threads: int) -> None:
    NotesCores.noted.clear()
    meta_gradient(GradientLearner(NotesCores(), sgd(0.1), 1), many_tasks(), chunk_size=1, threads=threads)
    assert NotesCores.noted == {1}
