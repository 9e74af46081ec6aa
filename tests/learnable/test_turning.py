"""Answers averaged over turns of a task: what they are, and that no turn of the task changes them."""

import pytest
import torch

from fphi.errors import FphiError
from fphi.learnable import GradientLearner, PrototypicalLearner
from fphi.learnable.turning import TurningLearner
from fphi.tasks.turns import turned
from fphi.tasks.types import Examples, Task
from fphi.within import sgd
from learners import conv, mlp, random_tasks


@pytest.mark.parametrize("turns", [4, 8])
def test_no_turn_of_a_task_changes_the_answers(turns: int) -> None:
    inner = PrototypicalLearner(conv(None)).double()
    learner, tasks = TurningLearner(inner, turns), random_tasks()
    answers = learner.solve(tasks.support, tasks.query.x)
    for turn in range(8):
        moved = Examples(turned(tasks.support.x, turn), tasks.support.y), turned(tasks.query.x, turn)
        same = torch.allclose(learner.solve(*moved), answers)
        assert same == (turn < turns)  # quarter turns alone know nothing of mirror images
        assert turn == 0 or not torch.allclose(inner.solve(*moved), inner.solve(tasks.support, tasks.query.x))


def test_a_learner_that_adapts_does_so_in_each_turn() -> None:
    inner = GradientLearner(conv(), sgd(0.1), 2).double()
    tasks = random_tasks()
    each = [
        inner.solve(Examples(turned(tasks.support.x, t), tasks.support.y), turned(tasks.query.x, t))
        for t in range(8)
    ]
    found = TurningLearner(inner).solve(tasks.support, tasks.query.x)
    torch.testing.assert_close(found, torch.stack(each).mean(0))


def test_what_cannot_be_turned_is_refused() -> None:
    tasks = random_tasks(dtype=torch.float32)
    with pytest.raises(
        FphiError, match="turns is 3; 4 are the quarter turns, and 8 those of mirror images too"
    ):
        TurningLearner(PrototypicalLearner(mlp()), 3)
    oblong = Task(*(Examples(part.x[..., :-1], part.y) for part in tasks))
    with pytest.raises(FphiError, match=r"examples of size 1x16x15 cannot be turned; leave the turns out"):
        TurningLearner(PrototypicalLearner(mlp())).solve(oblong.support, oblong.query.x)
