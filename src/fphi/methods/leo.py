"""LEO: generate a classifier from a code, and improve the code by gradient steps in its small space.

1. Learnable: encoder, relation network, decoder, the step sizes of both inner loops; the embedding network
   too, unless it stays as it was learned before.
2. Loss: cross-entropy of the queries after both inner loops, the codes' divergence from N(0, I), what the
   inner loop had to add to the first code, and how far the decoder is from orthogonal.
3. Optimize: by gradient, through both inner loops.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from fphi.learnable import LearningAlgorithm, LEOLearner
from fphi.methods.base import Setting, Usual
from fphi.methods.families.generating import Generating
from fphi.methods.families.networks import schedule_named
from fphi.methods.table import method
from fphi.networks.pairs import PairEncoder
from fphi.optimize import GradientDescent
from fphi.ranges import count, number, rate, share, weight
from fphi.within import learned_rate
from fphi.within.uncompiled import uncompiled

__all__ = ["LEO"]


@method(
    "leo",
    paper="Rusu, Rao, Sygnowski, Vinyals, Pascanu, Osindero, Hadsell: Meta-Learning with Latent Embedding "
    "Optimization, ICLR 2019",
    arxiv="1807.05960",
)
@dataclass(frozen=True)
class LEO(Generating):
    """Gradient steps on a code of few numbers, from which the classifier's many weights are decoded.

    The paper's embeddings were learned before and stay as they are: --start-from RUN --freeze network.

    Args:
        latents: size of a code.
        latent_steps: gradient steps on the codes.
        weight_steps: gradient steps on the decoded weights, after these.
        latent_lr: first step size on the codes, which is learned, for each of their numbers.
        weight_lr: first step size on the weights, likewise.
        dropout: share of an embedding's features that is set to 0 in training, wherever it is read.
        latent_std: the standard deviation of the codes at first; the authors' code has 0.
        kl_weight: β, of the codes' divergence from a standard normal distribution.
        encoder_penalty: γ, of the way that the inner loop takes from the first code.
        orthogonality_weight: λ₂, of the correlations of the decoder's columns.
        clip: the largest absolute value of a gradient's entry, and then the largest norm of a tensor's.
    """

    usual: ClassVar[Usual] = Usual(
        steps=400,
        meta_batch=1,
        paper="100,000 steps of 12 tasks, on fixed features of ImageNet: --steps 100000 --meta-batch 12 "
        "--train-ways null --train-queries 15 --weight-lr 0.001 --outer-lr 2.7e-4",
    )

    normalise: bool = True
    latents: int = count(64, 8192)
    latent_steps: int = count(5, 1000, least=0)
    weight_steps: int = count(5, 1000, least=0)
    latent_lr: float = rate(1.0)
    weight_lr: float = rate(1.0)
    dropout: float = share(0.3)
    latent_std: float = number(0.0, 0, 1e3)
    kl_weight: float = weight(1e-3)
    encoder_penalty: float = weight(1e-9)
    orthogonality_weight: float = weight(1e-3)
    clip: float | None = number(0.1, 0, 1e9, open=True)

    def learner(self, setting: Setting) -> LearningAlgorithm:
        network, width, _ = self.sized_embedding(setting)
        decoder = nn.Linear(self.latents, 2 * width, bias=False)
        nn.init.xavier_uniform_(decoder.weight)
        return LEOLearner(
            network,
            PairEncoder(width, self.latents, 2 * self.latents),
            decoder,
            latent_rule=learned_rate(self.latent_lr),
            weight_rule=learned_rate(self.weight_lr),
            latent_steps=self.latent_steps,
            weight_steps=self.weight_steps,
            dropout=self.dropout,
            latent_std=self.latent_std,
            kl_weight=self.kl_weight,
            encoder_penalty=self.encoder_penalty,
            orthogonality_weight=self.orthogonality_weight,
            normalise=self.normalise,
        )

    def idle(self, setting: Setting) -> Collection[str]:
        steps = {"latent_lr": self.latent_steps, "weight_lr": self.weight_steps}
        return (*super().idle(setting), *(rate for rate, taken in steps.items() if not taken))

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent:
        # A group for each tensor, so that each has a norm of its own; without decay this is Adam.
        groups = [
            {"params": [p], "weight_decay": self.weight_decay if p.dim() > 1 else 0.0}
            for p in learner.parameters()
        ]
        outer = uncompiled(torch.optim.AdamW)(groups, lr=self.outer_lr)
        return GradientDescent(
            outer, schedule_named(self.schedule), clip_norm=self.clip, clip_value=self.clip
        )
