"""What graphs keep for the way back, counted and not measured, so that no other test's memory is in it."""

import torch
from torch import Tensor

from fphi.learnable import LearningAlgorithm
from fphi.objective import meta_gradient
from fphi.tasks.types import Task


class _Held:
    """Bytes that a graph keeps."""

    now = most = 0

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        _Held.now += tensor.nbytes
        _Held.most = max(_Held.most, _Held.now)

    def __del__(self) -> None:
        _Held.now -= self.tensor.nbytes


def held_at_most(learner: LearningAlgorithm, tasks: Task) -> int:
    """Bytes that the graphs of a meta-gradient keep at the same time."""
    _Held.now = _Held.most = 0
    with torch.autograd.graph.saved_tensors_hooks(_Held, lambda held: held.tensor):
        meta_gradient(learner, tasks, threads=1)
    return _Held.most
