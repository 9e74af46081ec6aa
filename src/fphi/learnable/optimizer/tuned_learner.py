"""A rule made by hand as a learning algorithm: the one number that is learned of it is its step size."""

import torch
from torch import Tensor

from fphi.learnable.optimizer.optimizer_learner import OptimizerLearner
from fphi.tasks.types import Task
from fphi.within.stand_in import own_parameters
from fphi.within.tuned_rate import rescaled

__all__ = ["TunedLearner"]

_APART = 0.1  # of the logarithms of the two step sizes, from that in between
_FAR = 1e12  # the loss of a way that diverges, at most


class TunedLearner(OptimizerLearner):
    """An `OptimizerLearner` whose rule is a `TunedRate`, and whose meta-gradient is a central difference.

    lⁿ at step sizes that are a tenth larger and a tenth smaller says which way is better. Its derivative
    need not: with the gradients on the way as constants not even the sign is right, and through them it is of
    any size after a hundred steps, or not finite, where the way is chaotic. Where a way diverges at both, the
    step size is too large.
    """

    @torch.no_grad()
    def summed_gradient(self, tasks: Task) -> tuple[Tensor, list[Tensor]]:
        """See `LearningAlgorithm.summed_gradient`; the loss is the mean of both."""
        wanted = [p for p in own_parameters(self).values() if p.requires_grad]

        def differences() -> tuple[Tensor, list[Tensor]]:
            ends = []
            for logarithm in (-_APART, _APART):
                with rescaled(logarithm):
                    losses = self.task_losses(tasks)
                ends.append(losses.nan_to_num(_FAR, _FAR).clamp(max=_FAR))
            below, above = ends
            slopes = torch.where(below < _FAR, (above - below) / (2 * _APART), 1.0)
            return ((below + above) / 2).sum(), [slopes.sum().to(p.dtype).reshape(p.shape) for p in wanted]

        return self.over_tasks.attempt(differences)
