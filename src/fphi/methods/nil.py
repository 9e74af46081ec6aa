"""NIL: no inner loop at all, once training is over.

1. Learnable: body and head of a network, as in ANIL or MAML.
2. Loss: as theirs, the query loss after the inner steps.
3. Optimize: by gradient. At test the head is left out, and the body's features are compared.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from fphi.learnable import GradientLearner, NILLearner
from fphi.learnable.base import LearningAlgorithm
from fphi.methods.anil import ANIL
from fphi.methods.base import Setting, Usual
from fphi.methods.families.comparing import require_classes
from fphi.methods.table import method

__all__ = ["NIL"]


@method(
    "nil",
    paper="Raghu, Raghu, Bengio, Vinyals: Rapid Learning or Feature Reuse?, ICLR 2020",
    arxiv="1909.09157",
)
@dataclass(frozen=True)
class NIL(ANIL):
    """Training with an inner loop, and none at test: the nearest support examples answer, by their features.

    How much of MAML's success is the inner loop at test, and how much are features that serve all tasks? The
    difference to ANIL says it. The options are ANIL's; those of inner steps count in training alone. A run of
    ANIL, MAML or another gradient learner can be tested so: ``fphi evaluate RUN --method nil``.

    Args:
        trained_as: "anil" adapts the head in training, "maml" the whole network.
    """

    # The softmax of cosines is nearly flat: its loss hardly falls while its answers get right.
    usual: ClassVar[Usual] = replace(ANIL.usual, best_by="accuracy")

    test_steps: int = 0
    trained_as: Literal["anil", "maml"] = "anil"

    @classmethod
    def testing(cls, learner: LearningAlgorithm, setting: Setting) -> LearningAlgorithm | None:
        network = learner.network if isinstance(learner, GradientLearner) else None
        # An optimizer that was learned has learned nothing about the network that it trains.
        learned = network is not None and network in learner.children() and hasattr(network, "body")
        if setting.ways is None or not learned:
            return None
        assert isinstance(learner, GradientLearner)
        return NILLearner.of(learner)

    def idle(self, setting: Setting) -> Collection[str]:
        return (*super().idle(setting), "test_steps")

    def learner(self, setting: Setting) -> LearningAlgorithm:
        require_classes(self.title, setting)
        return self.gradient_learner(setting, NILLearner, "all" if self.trained_as == "maml" else "head")
