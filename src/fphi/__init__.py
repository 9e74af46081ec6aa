"""fphi learns the learning algorithm: what is learnable, the loss over tasks, and its optimization.

Names are imported when they are first used, so that the command line answers before torch is loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fphi.errors import DataError, FphiError

if TYPE_CHECKING:
    from fphi import augmentation as augmentation
    from fphi import experiments as experiments
    from fphi import export as export
    from fphi import few_shot as few_shot
    from fphi import optim as optim
    from fphi import serve as serve
    from fphi import weighting as weighting
    from fphi.experiment import compare, evaluate, load, train, train_seeds, tune
    from fphi.few_shot import FewShotClassifier
    from fphi.learnable import (
        AnnealedWeights,
        GradientLearner,
        HyperLearner,
        ImaginaryLearner,
        ImplicitLearner,
        LearningAlgorithm,
        LEOLearner,
        MatchingLearner,
        MetricLearner,
        NILLearner,
        OptimizerLearner,
        PretrainedLearner,
        PrototypicalLearner,
        RelationLearner,
        ReptileLearner,
        SequenceLearner,
        SiameseLearner,
    )
    from fphi.methods import FewShotMethod, Setting, method
    from fphi.networks import MLP, BatchNorm, Conv4
    from fphi.objective import meta_gradient
    from fphi.optimize import GradientDescent
    from fphi.run.meta.evaluate import calibrate_on
    from fphi.tasks import Examples, Task, TaskDistribution, load_folder, load_tasks, stack
    from fphi.within import (
        InnerOptimizer,
        LSTMMetaLearner,
        LSTMOptimizer,
        adam,
        learned_momentum,
        learned_rate,
        sgd,
        tell_progress,
    )

__version__ = "0.1.0"

__all__ = [
    "MLP",
    "AnnealedWeights",
    "BatchNorm",
    "Conv4",
    "DataError",
    "Examples",
    "FewShotClassifier",
    "FewShotMethod",
    "FphiError",
    "GradientDescent",
    "GradientLearner",
    "HyperLearner",
    "ImaginaryLearner",
    "ImplicitLearner",
    "InnerOptimizer",
    "LEOLearner",
    "LSTMMetaLearner",
    "LSTMOptimizer",
    "LearningAlgorithm",
    "MatchingLearner",
    "MetricLearner",
    "NILLearner",
    "OptimizerLearner",
    "PretrainedLearner",
    "PrototypicalLearner",
    "RelationLearner",
    "ReptileLearner",
    "SequenceLearner",
    "Setting",
    "SiameseLearner",
    "Task",
    "TaskDistribution",
    "adam",
    "calibrate_on",
    "compare",
    "evaluate",
    "learned_momentum",
    "learned_rate",
    "load",
    "load_folder",
    "load_tasks",
    "meta_gradient",
    "method",
    "sgd",
    "stack",
    "tell_progress",
    "train",
    "train_seeds",
    "tune",
]

_HOMES = {
    "learnable": (
        "AnnealedWeights",
        "GradientLearner",
        "HyperLearner",
        "ImaginaryLearner",
        "ImplicitLearner",
        "LEOLearner",
        "LearningAlgorithm",
        "MatchingLearner",
        "MetricLearner",
        "NILLearner",
        "OptimizerLearner",
        "PretrainedLearner",
        "PrototypicalLearner",
        "RelationLearner",
        "ReptileLearner",
        "SequenceLearner",
        "SiameseLearner",
    ),
    "few_shot": ("FewShotClassifier",),
    "networks": ("MLP", "BatchNorm", "Conv4"),
    "objective": ("meta_gradient",),
    "experiment": ("compare", "evaluate", "load", "train", "train_seeds", "tune"),
    "methods": ("FewShotMethod", "Setting", "method"),
    "optimize": ("GradientDescent",),
    "run.meta.evaluate": ("calibrate_on",),
    "tasks": ("Examples", "Task", "TaskDistribution", "load_folder", "load_tasks", "stack"),
    "within": (
        "InnerOptimizer",
        "LSTMMetaLearner",
        "LSTMOptimizer",
        "adam",
        "learned_momentum",
        "learned_rate",
        "sgd",
        "tell_progress",
    ),
}
# Named by themselves: fphi.optim.load.
_MODULES = ("augmentation", "experiments", "few_shot", "export", "optim", "serve", "weighting")
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"fphi.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'fphi' has no attribute {name!r}")
    value = getattr(import_module(f"fphi.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
