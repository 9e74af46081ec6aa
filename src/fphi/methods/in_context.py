"""In context: a transformer reads labelled rows and rows to classify, and answers in one pass.

1. Learnable: all of F, a transformer without positions.
2. Loss: cross-entropy of the query rows of tables from a synthetic prior, or of any few-shot tasks.
3. Optimize: by gradient; there is no inner loop.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from fphi.errors import FphiError
from fphi.learnable import InContextLearner, LearningAlgorithm
from fphi.methods.base import FewShotMethod, Setting, Usual
from fphi.methods.families.networks import build_network
from fphi.methods.table import method
from fphi.networks.batch_norm import StepFree
from fphi.optimize import GradientDescent, cosine
from fphi.ranges import count, number, rate, share
from fphi.within.uncompiled import uncompiled

__all__ = ["InContext"]


@method(
    "in-context",
    paper="Müller, Hollmann, Pineda Arango, Grabocka, Hutter: Transformers Can Do Bayesian Inference, "
    "ICLR 2022",
    arxiv="2112.10510",
)
@dataclass(frozen=True)
class InContext(FewShotMethod):
    """Answer the rows of a table in one pass; meant for ``--tasks tables``.

    Images are embedded first, and the embedding's features are the columns.

    Args:
        outer_lr: Adam's learning rate, which rises at first and then falls along half a cosine.
        warm_up: share of the steps in which it rises.
        clip_norm: largest norm of the gradient.
        width: of a row's token.
        layers: blocks of attention and an MLP.
        heads: of each attention.
        columns: of a table that a token has room for; of wider ones the most relevant ones are read.
        hints: whether tokens hold what simple learners in closed form expect of a row; the paper's do not.
        ensemble: answers that are averaged, with classes numbered anew for each.
        network: what embeds images, one of conv4-pool, conv4-stride, conv4-stride-mean, conv5, mlp, koch.
        norm: source of its batch-norm statistics; ``running`` and ``support`` make answers inductive.
    """

    usual: ClassVar[Usual] = Usual(
        steps=600,
        meta_batch=16,
        paper="18,000 steps of 512 tables with 12 layers of width 512 (TabPFN): --tasks tables --ways 10 "
        "--hints false --layers 12 --width 512 --steps 144000 --meta-batch 64",
    )

    outer_lr: float = rate(1e-3)
    warm_up: float = share(0.05)
    clip_norm: float = number(1.0, 0, 1e9, open=True)
    width: int = count(96, 4096)
    layers: int = count(3, 100)
    heads: int = count(4, 64)
    columns: int = count(32, 10_000)
    hints: bool = True
    ensemble: int = count(1, 100)
    network: str = "conv4-stride"
    norm: StepFree = "support"

    def learner(self, setting: Setting) -> LearningAlgorithm:
        if setting.ways is None:
            raise FphiError("in-context reads class labels, and these tasks have none: choose maml")
        if self.width % self.heads:
            raise FphiError(
                f"--width {self.width} is not --heads {self.heads} times a whole number; change one"
            )
        table = len(setting.input_shape) == 1 and setting.network is None
        network = nn.Flatten() if table else build_network(self.network, setting, self.norm, head=False)
        return InContextLearner(
            network,
            setting.ways,
            columns=self.columns if table else setting.embedding_size(network),
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            hints=self.hints,
            sort=table,
            ensemble=self.ensemble,
        )

    def idle(self, setting: Setting) -> Collection[str]:
        own, table = super().idle(setting), len(setting.input_shape) == 1 and setting.network is None
        return own if table else (*own, "columns")  # an embedding has as many as it has features

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent:
        falling, warm_up = cosine(), max(self.warm_up, 1e-9)

        def schedule(progress: float) -> float:
            return falling(progress) * min(1.0, 0.01 + progress / warm_up)

        return GradientDescent(
            uncompiled(torch.optim.Adam)(learner.parameters(), lr=self.outer_lr),
            schedule,
            clip_norm=self.clip_norm,
        )
