"""Answers averaged over turns of a whole task: turned alike, images ask the same."""

from torch import Tensor

from fphi.errors import FphiError
from fphi.learnable.base import LearningAlgorithm
from fphi.tasks.turns import turned
from fphi.tasks.types import Examples, Task

__all__ = ["TurningLearner"]


class TurningLearner(LearningAlgorithm):
    """Another learner, whose answers are the mean of those to a task seen from several sides.

    For tests: it takes as many times as long, and helps a learner that was trained on turned tasks. What its
    learner tells besides is told of the task as it is.

    Args:
        learner: of tasks of square images.
        turns: 4 for the quarter turns, 8 for those of the mirror image too.
    """

    def __init__(self, learner: LearningAlgorithm, turns: int = 8) -> None:
        super().__init__(learner.loss, learner.over_tasks.batching)
        if turns not in (4, 8):
            raise FphiError(f"turns is {turns}; 4 are the quarter turns, and 8 those of mirror images too")
        self.learner, self.turns = learner, turns

    def solve(self, support: Examples, query_x: Tensor, transductive: bool = True) -> Tensor:
        height, width = query_x.shape[-2:]
        if query_x.dim() != 5 or height != width:
            size = "x".join(map(str, query_x.shape[2:]))
            raise FphiError(f"examples of size {size} cannot be turned; leave the turns out")
        answers = [
            self.learner.solve(Examples(turned(support.x, t), support.y), turned(query_x, t), transductive)
            for t in range(self.turns)
        ]
        return sum(answers[1:], answers[0]) / self.turns

    def measures(self, tasks: Task) -> dict[str, Tensor]:
        return self.learner.measures(tasks)
