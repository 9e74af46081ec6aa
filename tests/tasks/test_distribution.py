"""Distributions of the user's own: what they give is looked at where it is taken."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

import fphi
from fphi.errors import DataError
from fphi.run.meta.loop import meta_train
from fphi.run.meta.training import Training


def tasks_of(count: int) -> fphi.Task:
    x, y = torch.rand(count, 6, 4), (torch.arange(6) % 3).expand(count, 6)
    return fphi.Task(fphi.Examples(x, y), fphi.Examples(x, y))


class Own(fphi.TaskDistribution):
    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make = make

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train", "test")

    def batch(self, split: str, indices: Sequence[int]) -> Any:
        return self.make(len(indices))


WRONG: list[tuple[Callable[[int], Any], str]] = [
    (lambda count: [tasks_of(1)] * count, r"Own\.batch gives a list; it must give one fphi\.Task"),
    (lambda count: {"support": 1}, "gives a dict"),
    (lambda count: None, "gives a NoneType"),
    (lambda count: tuple(tasks_of(count)), "gives a tuple"),
    (lambda count: fphi.Task(*map(tuple, tasks_of(count))), "two fphi.Examples"),  # type: ignore[arg-type]
    (lambda count: tasks_of(count + 1), r"gives \[\d, 6, 4\], and no tensor \[tasks, …\]"),
    (
        lambda count: fphi.Task(*(fphi.Examples(e.x.numpy(), e.y) for e in tasks_of(count))),  # type: ignore[arg-type]
        "gives ndarray, and no tensor",
    ),
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_what_is_no_batch_of_tasks_is_refused(make: Callable[[int], Any], message: str) -> None:
    tasks = Own(make)
    learner = fphi.PrototypicalLearner(nn.Linear(4, 2))
    outer = fphi.GradientDescent(torch.optim.SGD(learner.parameters(), lr=0.1))
    for use in (
        lambda: tasks.task("test", 0),
        lambda: fphi.evaluate(learner, tasks, count=2, chunk_size=2),
        lambda: meta_train(learner, outer, tasks, Training(steps=1, meta_batch=2, threads=1)),
    ):
        with pytest.raises(DataError, match=message):
            use()


def test_a_batch_of_tasks_is_used_as_it_is() -> None:
    tasks = tasks_of(2)
    assert Own(lambda count: tasks).drawn("train", range(2)) is tasks
