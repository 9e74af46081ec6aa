"""A plain LSTM that reads a task and answers: the simplest learned learning algorithm.

1. Learnable: all of F, an embedding network and an LSTM over the examples and their labels.
2. Loss: cross-entropy of every answer to a stream of examples, or of the queries alone.
3. Optimize: by gradient; learning within a task is the change of the LSTM's state.
"""

from dataclasses import dataclass
from typing import ClassVar

from fphi.learnable import LearningAlgorithm, LSTMCore
from fphi.learnable.sequence.learner import Labels
from fphi.methods.base import Setting, Usual
from fphi.methods.families.sequencing import Streaming
from fphi.methods.table import method
from fphi.ranges import count
from fphi.tasks.episodes import TrainingTasks

__all__ = ["LSTM"]


@method("lstm", paper="Hochreiter, Younger, Conwell: Learning to Learn Using Gradient Descent, ICANN 2001")
@dataclass(frozen=True)
class LSTM(Streaming):
    """A recurrent network reads the examples with their labels; its state is all that it learns of a task.

    Args:
        hidden: size of the LSTM's state.
        labels: ``shifted`` shows each label one example later and trains on the whole stream, as MANN
            does; ``given`` shows it beside its example and trains on the queries.
    """

    usual: ClassVar[Usual] = Usual(
        steps=800,
        meta_batch=16,
        paper="as MANN's, 100,000 streams, 16 a step: --steps 6250 --meta-batch 16 --train-shots 9",
    )

    hidden: int = count(200, 8192)
    labels: Labels = "shifted"

    def learner(self, setting: Setting) -> LearningAlgorithm:
        network, size, ways = self.embedding(setting)
        core = LSTMCore(size + ways, ways, hidden=self.hidden)
        return self.sequence(network, size, core, ways, self.labels)

    def train_tasks(self, ways: int, shots: int) -> TrainingTasks:
        if self.labels == "shifted":
            return super().train_tasks(ways, shots)
        return TrainingTasks(order="shuffled")
