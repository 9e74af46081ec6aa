"""How known an example looks."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fphi.few_shot.heads import Centred

__all__ = ["Familiarity", "familiarity"]

Familiarity = Literal["probability", "energy", "nearness"]
"""How known an example looks: its largest probability, the log of the summed exponentials of its logits,
or minus the distance of its features to the nearest example's."""


def familiarity(
    kind: Familiarity, logits: Tensor, examples: Tensor, asked: Tensor, unit: bool
) -> NDArray[np.float64]:
    """How known each example looks ``[m]``, the more the larger.

    Args:
        kind: see `Familiarity`.
        logits: calibrated, of the examples that are asked ``[m, classes]``.
        examples: features of those that were learned from ``[n, d]``.
        asked: features of those that are asked ``[m, d]``.
        unit: see `Centred`.
    """
    if kind == "probability":
        score = logits.softmax(1).amax(1)
    elif kind == "energy":
        score = logits.logsumexp(1)
    else:
        centred = Centred.of(examples, unit)
        known = centred(examples)
        parts = [-torch.cdist(part, known).amin(1) for part in torch.split(centred(asked), 256)]
        score = torch.cat(parts)
    found: NDArray[np.float64] = score.double().numpy()
    return found
