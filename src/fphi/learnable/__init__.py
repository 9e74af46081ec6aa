"""Step 1, what is learnable: learning algorithms and their blocks."""

from fphi.learnable.base import LearningAlgorithm, evaluation_mode
from fphi.learnable.comparison.prototypical import PrototypicalLearner
from fphi.learnable.initialization.gradient_learner import GradientLearner
from fphi.learnable.initialization.reptile import ReptileLearner

__all__ = ["GradientLearner", "LearningAlgorithm", "PrototypicalLearner", "ReptileLearner", "evaluation_mode"]
