"""Relation networks: the comparison itself is learned.

1. Learnable: an embedding network, and a network that tells how alike a class and a query are.
2. Loss: squared error of these relations against 1 for the right class and 0 for the others.
3. Optimize: by gradient; there is no inner loop.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from fphi.errors import FphiError
from fphi.learnable import LearningAlgorithm, RelationLearner
from fphi.methods.base import Setting, Usual
from fphi.methods.families.comparing import Comparing, require_classes
from fphi.methods.families.networks import schedule_named
from fphi.methods.table import method
from fphi.networks.relation import (
    RelationModule,
    RelationNorm,
    initialise_as_published,
    relation_embedding,
)
from fphi.optimize import GradientDescent
from fphi.within.uncompiled import uncompiled

__all__ = ["Relation"]

_PIXELS = 28  # what the two unpadded blocks and the two poolings of the relation module are made for


@method(
    "relation",
    paper="Sung, Yang, Zhang, Xiang, Torr, Hospedales: Learning to Compare, CVPR 2018",
    arxiv="1711.06025",
)
@dataclass(frozen=True)
class Relation(Comparing):
    """A class is the sum of its feature maps; a learned network tells how alike it is to a query.

    Training tasks are the protocol's if nothing else is asked for; P-RN has the paper's. The paper halves the
    rate every 100,000 tasks.

    Args:
        norm: source of the batch-norm statistics in both networks; the paper's ``query-batch`` is
            transductive, ``running`` makes answers inductive.
    """

    # The sum over shots: another number of them is another scale of all that the module sees.
    bound_to: ClassVar[tuple[Literal["ways", "shots"], ...]] = ("shots",)

    usual: ClassVar[Usual] = Usual(
        steps=2000,
        meta_batch=4,
        paper="1,000,000 tasks of protocol P-RN, one a step: --protocol P-RN --steps 1000000 --meta-batch 1",
    )
    auto_ways: ClassVar[int | None] = None
    auto_queries: ClassVar[int | None] = None

    norm: RelationNorm = "running"

    def learner(self, setting: Setting) -> LearningAlgorithm:
        require_classes(self.title, setting)
        if setting.network is not None:
            raise FphiError("relation compares maps, and has networks of its own: choose prototypical")
        if len(setting.input_shape) != 3 or setting.input_shape[1:] != (_PIXELS, _PIXELS):
            raise FphiError(f"relation needs images of {_PIXELS}x{_PIXELS} pixels: choose prototypical")
        network = relation_embedding(setting.input_shape[0], norm=self.norm)
        learner = RelationLearner(network, RelationModule(norm=self.norm))
        initialise_as_published(learner)
        return learner

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent:
        modules = [{"params": list(module.parameters())} for module in learner.children()]
        outer = uncompiled(torch.optim.Adam)(modules, lr=self.outer_lr)
        return GradientDescent(outer, schedule_named(self.schedule), clip_norm=0.5)
