"""NIL: no inner loop at all, once training is over.

1. Learnable: body and head of a network, as in ANIL or MAML.
2. Loss: as theirs, the query loss after the inner steps.
3. Optimize: by gradient. At test the head is left out, and the body's features are compared.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from fphi.learnable import NILLearner
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
    ANIL or MAML with the same network can be tested so: ``--start-from RUN``.

    Args:
        trained_as: "anil" adapts the head in training, "maml" the whole network.
    """

    # The softmax of cosines is nearly flat: its loss hardly falls while its answers get right.
    usual: ClassVar[Usual] = replace(ANIL.usual, best_by="accuracy")

    test_steps: int = 0
    trained_as: Literal["anil", "maml"] = "anil"

    def learner(self, setting: Setting) -> LearningAlgorithm:
        require_classes(self.title, setting)
        return self.gradient_learner(setting, NILLearner, "all" if self.trained_as == "maml" else "head")
