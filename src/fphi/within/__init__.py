"""Within-task training, the inner loop: update rules, unrolling, and mapping over tasks."""

from fphi.within.adaptive import Adam, adam
from fphi.within.learned_momentum import LearnedMomentum, learned_momentum
from fphi.within.lstm_meta_learner import LSTMMetaLearner
from fphi.within.lstm_optimizer import LSTMOptimizer
from fphi.within.optimizers import (
    SGD,
    InnerOptimizer,
    LearnedRate,
    Parameters,
    State,
    UpdateRule,
    learned_rate,
    sgd,
)
from fphi.within.progress import tell_progress
from fphi.within.task_map import Batching, TaskMap, call_network
from fphi.within.unroll import DerivativeOrder, descend, descend_recomputed

__all__ = [
    "SGD",
    "Adam",
    "Batching",
    "DerivativeOrder",
    "InnerOptimizer",
    "LSTMMetaLearner",
    "LSTMOptimizer",
    "LearnedMomentum",
    "LearnedRate",
    "Parameters",
    "State",
    "TaskMap",
    "UpdateRule",
    "adam",
    "call_network",
    "descend",
    "descend_recomputed",
    "learned_momentum",
    "learned_rate",
    "sgd",
    "tell_progress",
]
