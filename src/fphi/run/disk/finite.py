"""Weights that are numbers: those that are nan or infinite are neither kept nor loaded."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fphi.errors import FphiError

__all__ = ["not_finite", "require_finite"]


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with an entry that is nan or infinite; None if all is well."""
    real = {name: t for name, t in tensors.items() if t.is_floating_point()}
    if not real:
        return None
    finite = torch.stack([t.isfinite().all() for t in real.values()]).tolist()
    return next((name for name, good in zip(real, finite, strict=True) if not good), None)


def require_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Raise an `FphiError` if weights from ``source`` are nan or infinite: answers would say nothing."""
    name = not_finite(tensors)
    if name is not None:
        raise FphiError(
            f"{source} has nan or infinite values in {name}; take weights from before they became so, or "
            "train again with a smaller learning rate"
        )
