"""Step 1, what is learnable: learning algorithms and their blocks."""

from fphi.learnable.base import LearningAlgorithm, evaluation_mode
from fphi.learnable.comparison.full_context import FullContext
from fphi.learnable.comparison.learner import ComparisonLearner
from fphi.learnable.comparison.matching import MatchingLearner
from fphi.learnable.comparison.metric import MetricLearner
from fphi.learnable.comparison.prototypical import PrototypicalLearner
from fphi.learnable.comparison.relation import RelationLearner
from fphi.learnable.comparison.siamese import SiameseLearner
from fphi.learnable.embedding import EmbeddingLearner
from fphi.learnable.generation.generating import GeneratingLearner
from fphi.learnable.generation.hypernetwork import HyperLearner
from fphi.learnable.generation.imaginary import Generator, ImaginaryLearner
from fphi.learnable.generation.leo import LEOLearner
from fphi.learnable.initialization.gradient_learner import GradientLearner
from fphi.learnable.initialization.implicit import ImplicitLearner
from fphi.learnable.initialization.nil import NILLearner
from fphi.learnable.initialization.pretexts import (
    ClassPretext,
    Pretext,
    TargetPretext,
    TurnPretext,
    ViewPretext,
)
from fphi.learnable.initialization.pretrained import PretrainedLearner
from fphi.learnable.initialization.reptile import ReptileLearner
from fphi.learnable.initialization.step_weights import AnnealedWeights
from fphi.learnable.optimizer.optimizer_learner import OptimizerLearner
from fphi.learnable.sequence.in_context import InContextLearner
from fphi.learnable.sequence.learner import SequenceLearner
from fphi.learnable.sequence.lstm import LSTMCore
from fphi.learnable.sequence.memory import MemoryCore
from fphi.learnable.sequence.snail import SNAILCore
from fphi.learnable.sequence.standardisation import OnlineStandardisation

__all__ = [
    "AnnealedWeights",
    "ClassPretext",
    "ComparisonLearner",
    "EmbeddingLearner",
    "FullContext",
    "GeneratingLearner",
    "Generator",
    "GradientLearner",
    "HyperLearner",
    "ImaginaryLearner",
    "ImplicitLearner",
    "InContextLearner",
    "LEOLearner",
    "LSTMCore",
    "LearningAlgorithm",
    "MatchingLearner",
    "MemoryCore",
    "MetricLearner",
    "NILLearner",
    "OnlineStandardisation",
    "OptimizerLearner",
    "Pretext",
    "PretrainedLearner",
    "PrototypicalLearner",
    "RelationLearner",
    "ReptileLearner",
    "SNAILCore",
    "SequenceLearner",
    "SiameseLearner",
    "TargetPretext",
    "TurnPretext",
    "ViewPretext",
    "evaluation_mode",
]
