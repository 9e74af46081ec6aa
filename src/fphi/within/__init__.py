"""Within-task training, the inner loop: update rules, unrolling, and mapping over tasks."""

from fphi.within.optimizers import (
    SGD,
    Adam,
    InnerOptimizer,
    LearnedRate,
    Parameters,
    State,
    UpdateRule,
    adam,
    learned_rate,
    sgd,
)
from fphi.within.task_map import Batching, TaskMap, call_network
from fphi.within.unroll import DerivativeOrder, descend, descend_recomputed

__all__ = [
    "SGD",
    "Adam",
    "Batching",
    "DerivativeOrder",
    "InnerOptimizer",
    "LearnedRate",
    "Parameters",
    "State",
    "TaskMap",
    "UpdateRule",
    "adam",
    "call_network",
    "descend",
    "descend_recomputed",
    "learned_rate",
    "sgd",
]
