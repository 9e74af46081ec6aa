"""Small mixtures and a small problem for them."""

from typing import Any

import torch
from torch import Tensor, nn

from fphi.learnable.architecture import DartsSpace, NASBench201Space
from fphi.learnable.architecture.darts import DARTS_OPERATIONS, PRIMITIVES
from fphi.learnable.mixture import Mixture
from fphi.learnable.space import Tokens
from fphi.networks.cells import INPUTS, CellNetwork
from fphi.networks.mixture import ways
from fphi.optimize.bilevel import Bilevel, BilevelPhase
from fphi.tasks.supervised import Supervised
from fphi.tasks.types import Examples

__all__ = ["DATA", "SHAPE", "SPACES", "bilevel", "copied", "images", "mixture_of", "one_hot", "values"]

SHAPE = (2, 8, 9)
SPACES = (DartsSpace(cells=1, channels=2), NASBench201Space(cells=1, channels=3))


def images(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(seed))


def labelled(n: int, seed: int) -> Examples:
    """Four classes, each a pattern in noise."""
    y = torch.arange(n) % 4
    return Examples(images(4)[y] + 0.5 * images(n, seed), y)


DATA = Supervised("patterns", labelled(21, 1), labelled(16, 2), labelled(16, 3), 4)


def mixture_of(space: DartsSpace | NASBench201Space, seed: int = 0, spread: float = 0.0) -> Mixture:
    """New, its α normal; in float64 if the default is."""
    torch.manual_seed(seed)
    supernet = space.mixture(SHAPE, 4).to(torch.get_default_dtype())
    with torch.no_grad():
        for alpha in supernet.alphas.values():
            alpha.add_(spread * torch.randn(alpha.shape))
    return supernet


def bilevel(space: DartsSpace | NASBench201Space, seed: int = 5, **options: Any) -> Bilevel:
    phase = BilevelPhase(**({"epochs": 2, "batch_size": 8} | options))
    return Bilevel(mixture_of(space), DATA, seed, phase)


def values(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@torch.no_grad()
def one_hot(supernet: Mixture, space: DartsSpace, tokens: Tokens) -> None:
    """Set α so that the mixture is one architecture: its operations on its edges, none on all others."""
    for alpha, plan in zip(supernet.alphas.values(), space.plans(tokens), strict=True):
        alpha.fill_(-torch.inf)
        chosen = {
            (link.source, INPUTS + i): link.operation
            for i, node in enumerate(plan.nodes)
            for link in node.links
        }
        for i, way in enumerate(ways(4)):
            alpha[i, PRIMITIVES.index(chosen.get((way.start, way.end), "none"))] = 0.0


@torch.no_grad()
def copied(supernet: nn.Module, network: CellNetwork) -> None:
    """The weights of the supernet's parts for a derived network, with norms without scales."""
    shared = supernet.state_dict()
    own = network.state_dict()
    for name, tensor in own.items():
        tensor.copy_(shared[_in_supernet(name, network)])


def _in_supernet(name: str, network: CellNetwork) -> str:
    """The supernet's name of a derived network's parameter."""
    name = name.removeprefix("body.")
    head, cells, tail = name.partition("cells.")
    if cells == "" or ".links." not in tail:
        return name
    cell, _, rest = tail.partition(".links.")
    link, _, part = rest.partition(".")
    state, _, source, operation = link.split("_", 3)
    edge = [tuple(way) for way in ways(4)].index((int(source), int(state)))
    assert operation in DARTS_OPERATIONS
    return f"{head}cells.{cell}.edges.{edge}.operations.{operation}.{part}"
