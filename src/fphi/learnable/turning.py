"""Answers averaged over turns of a whole task: turned alike, images ask the same."""

from collections.abc import Callable

from torch import Tensor

from fphi.errors import FphiError
from fphi.learnable.base import LearningAlgorithm
from fphi.ranges import Range, checked
from fphi.tasks.turns import turned
from fphi.tasks.types import Examples, Task

__all__ = ["TurningLearner"]


class TurningLearner(LearningAlgorithm):
    """The mean of another learner's answers to one task, turned by several angles.

    For tests: it takes as many times as long, and helps a learner that was trained on turned tasks. The
    other learner's `measures` are taken of the task as it is, not turned.

    Args:
        learner: of tasks of square images.
        turns: 4 for the quarter turns, 8 for those of the mirror image too.
    """

    @checked(turns=Range())
    def __init__(self, learner: LearningAlgorithm, turns: int = 8) -> None:
        super().__init__(learner.loss, learner.over_tasks.batching)
        if turns not in (4, 8):
            raise FphiError(f"turns is {turns}; 4 are the quarter turns, and 8 those of mirror images too")
        self.learner, self.turns = learner, turns

    def solve(self, support: Examples, query_x: Tensor) -> Tensor:
        return self._mean_answer(self.learner.solve, support, query_x)

    def solve_alone(self, support: Examples, query_x: Tensor) -> Tensor:
        return self._mean_answer(self.learner.solve_alone, support, query_x)

    def _mean_answer(
        self, solve: Callable[[Examples, Tensor], Tensor], support: Examples, query_x: Tensor
    ) -> Tensor:
        height, width = query_x.shape[-2:]
        if query_x.dim() != 5 or height != width:
            size = "x".join(map(str, query_x.shape[2:]))
            raise FphiError(f"examples of size {size} cannot be turned; leave the turns out")
        answers = [
            solve(Examples(turned(support.x, t), support.y), turned(query_x, t)) for t in range(self.turns)
        ]
        return sum(answers[1:], answers[0]) / self.turns

    def logits(self, answers: Tensor) -> Tensor | None:
        return self.learner.logits(answers)

    def observe(self, task: Task) -> None:
        self.learner.observe(task)

    def measures(self, tasks: Task) -> dict[str, Tensor]:
        return self.learner.measures(tasks)
