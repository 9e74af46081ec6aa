"""The network of a free graph; its weights are named by the vertices' identities."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from fphi.learnable.architecture.graph_architecture import IMAGE, GraphArchitecture, Vertex
from fphi.networks.channels_last import channels_last
from fphi.networks.operations import Norm

__all__ = ["GraphNetwork", "fitted"]


class GraphNetwork(nn.Module):
    """Vertices one after another, global average pooling, a linear layer.

    Without vertices that is a linear classifier of the mean colour, which the first individuals are.

    Args:
        graph: the architecture.
        input_shape: ``C, H, W`` of an image.
        outputs: of the linear layer; None: the network gives features ``[n, feature_size]``.
        norm: normalisation.
    """

    def __init__(
        self,
        graph: GraphArchitecture,
        input_shape: tuple[int, ...],
        outputs: int | None,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.vertices = nn.ModuleDict(
            {
                str(vertex.identity): _Vertex(vertex, graph.channels(place, input_shape[0]), norm)
                for place, vertex in enumerate(graph.vertices)
            }
        )
        self.feature_size = graph.channels(len(graph.vertices), input_shape[0])
        self.head = nn.Identity() if outputs is None else nn.Linear(self.feature_size, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``x: [n, C, H, W]`` to logits ``[n, outputs]``, or features ``[n, feature_size]``."""
        x = channels_last(x)
        found = {IMAGE: x}
        for vertex in self.graph.vertices:
            # In the order of the chain, not of the set, so that sums are the same whatever was added first.
            skips = [found[start] for start in self.graph.identities if start in vertex.skips]
            x = found[vertex.identity] = self.vertices[str(vertex.identity)](x, skips)
        logits: Tensor = self.head(x.mean((-2, -1)))
        return logits


class _Vertex(nn.Module):
    """The edge into a vertex and its activation; new weights are as in He et al. (2015)."""

    def __init__(self, vertex: Vertex, channels_in: int, norm: Norm) -> None:
        super().__init__()
        edge = vertex.edge
        channels = channels_in if edge is None else edge.channels
        self.convolution = None
        if edge is not None:
            size = (edge.height, edge.width)
            padding = (edge.height // 2, edge.width // 2)
            self.convolution = nn.Conv2d(
                channels_in, channels, size, edge.stride, padding, bias=not vertex.activated
            )
            nn.init.kaiming_normal_(
                self.convolution.weight, nonlinearity="relu" if vertex.activated else "linear"
            )
        self.norm = norm(channels) if vertex.activated else None

    def forward(self, before: Tensor, skips: Sequence[Tensor]) -> Tensor:
        x: Tensor = before if self.convolution is None else self.convolution(before)
        for skip in skips:
            x = x + fitted(skip, x.shape[-3:])
        return x if self.norm is None else torch.relu(self.norm(x))


def fitted(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Images ``[n, C, H, W]`` brought to another ``C, H, W``, without weights.

    Pixels are repeated or left out, channels cut off or filled up with zeros: how an edge gives way to the
    primary edge of the vertex where they meet.
    """
    channels, height, width = shape
    if x.shape[-2:] != (height, width):
        x = interpolate(x, (height, width), mode="nearest")
    if x.shape[-3] > channels:
        return x[..., :channels, :, :]
    return pad(x, (0, 0, 0, 0, 0, channels - x.shape[-3])) if x.shape[-3] < channels else x
