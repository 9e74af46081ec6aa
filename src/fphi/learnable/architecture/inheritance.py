"""A child's first weights are its parent's, as far as they fit (Real et al., ICML 2017, arXiv 1703.01041)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["inherit"]


@torch.no_grad()
def inherit(child: nn.Module, parent_state: Mapping[str, Tensor]) -> list[str]:
    """Take over every tensor whose name, shape and type are the parent's; buffers are tensors too.

    Args:
        child: of any space; what the parent does not have stays as it is.
        parent_state: ``state_dict`` of the parent.

    Returns:
        The names of what was taken over.
    """
    own = child.state_dict()
    names = [name for name, tensor in own.items() if _fits(tensor, parent_state.get(name))]
    for name in names:
        own[name].copy_(parent_state[name])
    return names


def _fits(own: Tensor, other: Tensor | None) -> bool:
    return other is not None and own.shape == other.shape and own.dtype == other.dtype
