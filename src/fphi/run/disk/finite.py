"""Weights that are numbers: those that are nan or infinite are neither kept nor loaded."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fphi.errors import FphiError

__all__ = ["not_finite", "only_finite", "require_finite"]


def not_finite(tensors: Mapping[str, Tensor], module: nn.Module | None = None) -> str | None:
    """The name of the first tensor with an entry that is nan or infinite; None if all is well.

    Args:
        tensors: by name.
        module: that the names are of. Its buffers may be infinite, as a mask for attention is.
    """
    buffers = set() if module is None else {name for name, _ in module.named_buffers()}
    made = {name: t for name, t in tensors.items() if not nn.parameter.is_lazy(t)}
    real = {name: t for name, t in made.items() if t.is_floating_point()}
    if not real:
        return None
    good = [~t.isnan() if name in buffers else t.isfinite() for name, t in real.items()]
    finite = torch.stack([t.all() for t in good]).tolist()
    return next((name for name, well in zip(real, finite, strict=True) if not well), None)


def require_finite(tensors: Mapping[str, Tensor], source: str, module: nn.Module | None = None) -> None:
    """Raise an `FphiError` if weights from ``source`` are nan or infinite: answers would say nothing."""
    name = not_finite(tensors, module)
    if name is not None:
        raise FphiError(
            f"{source} has nan or infinite values in {name}; take weights from before they became so, or "
            "train again with a smaller learning rate"
        )


def only_finite(value: Any) -> Any:
    """JSON has no infinity: what is not finite, as the interval of a single task, becomes null."""
    if isinstance(value, dict):
        return {key: only_finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [only_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
