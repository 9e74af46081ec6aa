"""The learner for tables among the others: a transformer that reads the examples, and answers in one pass."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fphi.few_shot.heads import Head
from fphi.few_shot.items import ExamplesError
from fphi.learnable.sequence.tables import pretrained_tables, table_probabilities

__all__ = ["IN_CONTEXT", "InContext"]

IN_CONTEXT = "in-context"
"""The name of the rule."""


class TableAnswers(nn.Module):
    """Log-probabilities of rows, by looking at the rows of the examples."""

    support_x: Tensor
    support_y: Tensor

    def __init__(self, x: Tensor, y: Tensor) -> None:
        super().__init__()
        self.register_buffer("support_x", x)
        self.register_buffer("support_y", y)

    def forward(self, x: Tensor) -> Tensor:
        known, labels, asked = (part.numpy() for part in (self.support_x, self.support_y, x))
        return torch.from_numpy(table_probabilities(known, labels, asked)).clamp_min(1e-12).log()


@dataclass(frozen=True)
class InContext(Head):
    """The learner whose weights come with fphi; see `fphi.learnable.sequence.tables`."""

    def learn(self, x: Tensor, y: NDArray[np.int64], classes: int, unit: bool) -> nn.Module:
        most = pretrained_tables().ways
        if classes > most:
            raise ExamplesError(f"it was trained for {most} classes, and there are {classes}")
        if not x.shape[1]:
            raise ExamplesError("there is no column to look at")
        return TableAnswers(x.double(), torch.from_numpy(y))

    def restored(
        self, state: Mapping[str, Tensor], x: Tensor, y: NDArray[np.int64], classes: int, unit: bool
    ) -> nn.Module:
        """There is nothing in it but the examples."""
        return self.learn(x, y, classes, unit)
