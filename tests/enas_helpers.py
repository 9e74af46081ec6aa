"""Small supernets of ENAS's spaces and a small problem for them."""

import torch
from torch import Tensor

from fphi.learnable.architecture import EnasMacroSpace, EnasMicroSpace, SharingSpace, Standalone, Supernet
from fphi.tasks.supervised import Supervised
from fphi.tasks.types import Examples

__all__ = ["DATA", "MACRO", "MICRO", "SHAPE", "hand_down", "images", "labelled", "supernet_of"]

MICRO, MACRO = EnasMicroSpace(nodes=3, layers=1, channels=3), EnasMacroSpace(layers=5, channels=3)
SHAPE = (1, 8, 9)


def supernet_of(space: SharingSpace, seed: int = 0) -> Supernet:
    torch.manual_seed(seed)
    return space.supernet(SHAPE, 4)


def hand_down(supernet: Supernet, child: Standalone) -> None:
    """Copy into a stand-alone network the shared weights of its parts; what only the child has stays as it is."""
    shared = supernet.network.state_dict()
    for name, own in child.network.state_dict().items():
        if name in shared:
            own.copy_(shared[name])


def images(n: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(seed))


def labelled(n: int, seed: int) -> Examples:
    """Four classes, each a pattern in noise."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 4
    return Examples(images(4)[y] + 0.5 * torch.randn(n, *SHAPE, generator=generator), y)


DATA = Supervised("patterns", labelled(40, 1), labelled(24, 2), labelled(24, 3), 4)
