"""LSTM optimizer: learn to learn by gradient descent by gradient descent.

1. Learnable: the weights of an LSTM that says a parameter's step from its gradients.
2. Loss: that of the problem, summed along the way from a random start.
3. Optimize: by gradient through stretches of the way, the gradients on it counting as constants.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from fphi.learnable.base import LearningAlgorithm
from fphi.methods.base import Setting, Usual
from fphi.methods.families.networks import adam_descent
from fphi.methods.families.problems import ProblemMethod, is_quadratic
from fphi.methods.table import method
from fphi.optimize import GradientDescent
from fphi.ranges import count, number
from fphi.within import LSTMOptimizer

__all__ = ["LSTMOptimizerMethod"]


@method(
    "lstm-optimizer",
    paper="Andrychowicz et al.: Learning to Learn by Gradient Descent by Gradient Descent, NIPS 2016",
    arxiv="1606.04474",
)
@dataclass(frozen=True)
class LSTMOptimizerMethod(ProblemMethod):
    """Learn an optimizer, which trains a network from a random start on each task.

    Args:
        hidden: units of a layer of the LSTM.
        layers: of the LSTM.
        preprocessing: p of the gradients' preprocessing; 0: none; null: 10, on quadratics none.
        scale: of the steps; null: 0.1, on quadratics 0.3. The paper's are 0.01 and 1.
    """

    usual: ClassVar[Usual] = Usual(
        steps=200,
        meta_batch=8,
        paper="10,000 runs of 100 steps: --inner-steps 100 --stretches one --steps 50000 "
        "--meta-batch 1 --schedule constant --outer-lr 0.001 --scale 0.01; on quadratics "
        "--meta-batch 128 --scale 1",
        regression_steps=400,
    )

    hidden: int = count(20, 10_000)
    layers: int = count(2, 100)
    preprocessing: float | None = number(None, 0, 100)
    scale: float | None = number(None, 0, 1000, open=True)

    def learner(self, setting: Setting) -> LearningAlgorithm:
        usual = self.left_open(setting)
        p = usual["preprocessing"] if self.preprocessing is None else self.preprocessing
        scale = usual["scale"] if self.scale is None else self.scale
        return self.trained_by(LSTMOptimizer(self.hidden, self.layers, p or None, scale), setting)

    def left_open(self, setting: Setting) -> Mapping[str, float]:
        quadratic = is_quadratic(setting)
        return {"preprocessing": 0.0 if quadratic else 10.0, "scale": 0.3 if quadratic else 0.1}

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent:
        return adam_descent(learner, self.outer_lr, self.schedule, clip_value=None)
