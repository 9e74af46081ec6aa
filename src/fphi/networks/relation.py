"""The two networks of relation networks: the embedding, and the module that compares."""

from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.native import Geometry, conv3x3, normalised
from fphi.networks.batch_norm import BatchNorm
from fphi.networks.conv4 import ConvBlock
from fphi.ranges import Range, checked

__all__ = ["RelationModule", "RelationNorm", "initialise_as_published", "relation_embedding"]

RelationNorm = Literal["query-batch", "running"]


@checked()
def relation_embedding(channels: int = 1, filters: int = 64, norm: RelationNorm = "running") -> nn.Sequential:
    """The embedding of relation networks: images ``[n, channels, 28, 28]`` to maps ``[n, filters, 5, 5]``.

    Four blocks, of which the first two pool and have no padding: 28 → 13 → 5. 111,936 parameters.
    """
    return nn.Sequential(
        ConvBlock(channels, filters, "pool", BatchNorm(filters, norm), padding=0),
        ConvBlock(filters, filters, "pool", BatchNorm(filters, norm), padding=0),
        ConvBlock(filters, filters, "none", BatchNorm(filters, norm)),
        ConvBlock(filters, filters, "none", BatchNorm(filters, norm)),
    )


class _PairBlock(ConvBlock):
    """A `ConvBlock` of all pairs of two lots of maps, without the pairs' 2c channels in memory.

    A convolution of concatenated channels is the sum of the convolutions of either part: it takes one
    pass over the classes and one over the queries, and not one over each pair.
    """

    def __init__(self, channels: int, filters: int, norm: BatchNorm) -> None:
        super().__init__(2 * channels, filters, "pool", norm)

    def pairs(self, classes: Tensor, queries: Tensor) -> Tensor:
        """``[N, c, h, w]`` and ``[Q, c, h, w]`` to ``[Q*N, filters, h/2, w/2]``."""
        if not self._is_as_made():
            of_queries = queries[:, None].expand(-1, classes.shape[0], *[-1] * (queries.dim() - 1))
            pairs = torch.cat([classes.expand(queries.shape[0], *classes.shape), of_queries], 2)
            return self._module_by_module(pairs.flatten(0, 1))
        of_class, of_query = self.conv.weight.chunk(2, dim=1)
        found = self._for_kernels(queries, of_query)
        if found is not None and self._for_kernels(classes, of_class) is not None:
            norm, block = found
            geometry = Geometry(1, 1)
            z = conv3x3(queries, of_query, geometry)[:, None] + conv3x3(classes, of_class, geometry)
            z = z.flatten(0, 1)
            spec = replace(block.norm, own=len(z) if block.norm.own else 0)
            return self._recorded(*normalised(z, norm, spec))
        sign = self._sign()
        of_class, of_query = (self.conv.weight * sign[:, None, None, None]).chunk(2, dim=1)
        z = F.conv2d(queries, of_query, padding=1)[:, None] + F.conv2d(classes, of_class, padding=1)
        z = z.flatten(0, 1)
        return self._pooled_and_normalised(z, *self.norm.moments(z), sign)


class RelationModule(nn.Module):
    """How alike a class and a query are, in 0..1: two blocks and two linear layers (Sung et al. 2018).

    111,505 parameters for maps ``[64, 5, 5]``.

    Args:
        channels, size: of the maps that are compared.
        filters: of the two blocks.
        hidden: width of the first linear layer.
        norm: source of the batch-norm statistics.
    """

    @checked(size=Range(4))
    def __init__(
        self,
        channels: int = 64,
        size: int = 5,
        filters: int = 64,
        hidden: int = 8,
        norm: RelationNorm = "running",
    ) -> None:
        super().__init__()
        self.pair = _PairBlock(channels, filters, BatchNorm(filters, norm))
        self.block = ConvBlock(filters, filters, "pool", BatchNorm(filters, norm))
        self.hidden = nn.Linear(filters * (size // 4) ** 2, hidden)
        self.out = nn.Linear(hidden, 1)

    def forward(self, classes: Tensor, queries: Tensor) -> Tensor:
        """Relations ``[Q, N]`` of ``queries: [Q, c, h, w]`` to ``classes: [N, c, h, w]``."""
        maps = self.block(self.pair.pairs(classes, queries))
        relation = torch.sigmoid(self.out(self.hidden(maps.flatten(1)).relu()))
        return relation.view(queries.shape[0], classes.shape[0])


def initialise_as_published(network: nn.Module) -> None:
    """Convolutions N(0, 2/n) with n = filter area times filters; linear layers N(0, 0.01²), their bias 1."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.ones_(module.bias)
