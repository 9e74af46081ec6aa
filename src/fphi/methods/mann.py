"""MANN: a recurrent network with an external memory binds what it sees to the label that follows.

1. Learnable: all of F, an embedding network, an LSTM controller and its access to the memory.
2. Loss: cross-entropy of every answer to a stream whose labels come one step late.
3. Optimize: by gradient, through all steps of the stream.
"""

from dataclasses import dataclass
from typing import ClassVar

from fphi.learnable import LearningAlgorithm, MemoryCore
from fphi.methods.base import Setting, Usual
from fphi.methods.families.sequencing import Streaming
from fphi.methods.table import method
from fphi.ranges import count, number, share

__all__ = ["MANN"]


@method(
    "mann",
    paper="Santoro, Bartunov, Botvinick, Wierstra, Lillicrap: Meta-Learning with Memory-Augmented "
    "Neural Networks, ICML 2016",
    arxiv="1605.06065",
)
@dataclass(frozen=True)
class MANN(Streaming):
    """Write examples into a memory, find them again when their class is shown the next time.

    The paper's stream is 5 ways, 9 shots and 1 query of protocol P-MANN: ten presentations of each
    class. It read flattened images of 20x20 pixels and trained with RMSProp; here convolutions embed
    them, and Adam trains.

    Args:
        hidden: size of the controller's state.
        slots: slots of the memory.
        word: size of a slot.
        heads: heads that read and write.
        decay: γ, the part of a slot's usage that remains from step to step.
        sharpness: of the reading: factor of the cosines before the softmax. The paper has 1, where the
            best of 128 slots gets hardly more than 5 per cent of the weight: that learns, but late.
    """

    usual: ClassVar[Usual] = Usual(
        steps=800,
        meta_batch=16,
        paper="100,000 streams, 16 a step: --protocol P-MANN --steps 6250 --meta-batch 16 --train-shots 9 "
        "--network none",
    )

    hidden: int = count(200, 8192)
    slots: int = count(128, 8192)
    word: int = count(40, 8192)
    heads: int = count(4, 64)
    decay: float = share(0.95)
    sharpness: float = number(10.0, 0, 1e6, open=True)

    def learner(self, setting: Setting) -> LearningAlgorithm:
        network, size, ways = self.embedding(setting)
        core = MemoryCore(
            size + ways,
            ways,
            hidden=self.hidden,
            slots=self.slots,
            word=self.word,
            heads=self.heads,
            decay=self.decay,
            sharpness=self.sharpness,
        )
        return self.sequence(network, size, core, ways, "shifted")
