"""What a free graph is: vertices in a chain, convolutions between them, skips from any to any later one."""

from dataclasses import dataclass

from fphi.errors import FphiError

__all__ = ["IMAGE", "Convolution", "GraphArchitecture", "GraphLimits", "Vertex"]

IMAGE = -1
"""The identity of the image, which every graph begins with."""

STEPS_PER_OCTAVE = 4
"""Learning rates that are told apart within a factor of two."""


@dataclass(frozen=True)
class GraphLimits:
    """How far graphs may grow; the paper has no such limits.

    Args:
        vertices: most of them, the image not counted.
        most_channels: of a convolution.
        largest_filter: height and width, odd.
        largest_stride: a power of 2.
        first_channels: of a convolution that is inserted behind the image (paper: the image's own 3, from
            which thousands of individuals grew; the single one of a grey image grows more slowly still).
        first_lr: learning rate of the first individuals (paper: 0.1).
        lr_octaves: how often rates may double from there, and halve.
    """

    vertices: int = 30
    most_channels: int = 64
    largest_filter: int = 7
    largest_stride: int = 4
    first_channels: int = 8
    first_lr: float = 0.1
    lr_octaves: int = 4

    def __post_init__(self) -> None:
        """Refuse limits within which nothing grows."""
        if self.vertices < 1 or not 1 <= self.first_channels <= self.most_channels:
            raise FphiError(
                f"vertices={self.vertices}, first_channels={self.first_channels}, most_channels="
                f"{self.most_channels}: give at least 1 of each, and first_channels up to most_channels"
            )
        if self.largest_filter < 1 or self.largest_filter % 2 == 0 or self.largest_stride not in self.strides:
            raise FphiError(
                f"largest_filter={self.largest_filter}, largest_stride={self.largest_stride}: "
                "give an odd size and a power of 2"
            )
        if not self.first_lr > 0 or self.lr_octaves < 0:
            raise FphiError(
                f"first_lr={self.first_lr}, lr_octaves={self.lr_octaves}: give a rate above 0, octaves from 0"
            )

    @property
    def filters(self) -> tuple[int, ...]:
        """Heights and widths."""
        return tuple(range(1, self.largest_filter + 1, 2))

    @property
    def strides(self) -> tuple[int, ...]:
        """Powers of 2."""
        return tuple(2**power for power in range(max(1, self.largest_stride).bit_length()))

    @property
    def rates(self) -> tuple[float, ...]:
        """Learning rates, a quarter of an octave apart; that of the first individuals in the middle."""
        most = self.lr_octaves * STEPS_PER_OCTAVE
        return tuple(self.first_lr * 2 ** (step / STEPS_PER_OCTAVE) for step in range(-most, most + 1))

    @property
    def first_rate(self) -> int:
        """The number of ``first_lr`` among the rates."""
        return self.lr_octaves * STEPS_PER_OCTAVE


@dataclass(frozen=True)
class Convolution:
    """An edge with filters of odd sides; padding keeps the images' size, which the stride divides."""

    height: int
    width: int
    stride: int
    channels: int


@dataclass(frozen=True)
class Vertex:
    """Activations: the sum of what the edges into it give, then perhaps batch norm and ReLU.

    Args:
        identity: a number of its own, which it keeps through all mutations: it names the weights.
        edge: the convolution from the vertex before, or None: one-to-one. It decides the shape.
        activated: whether batch norm and ReLU follow; else it is linear.
        skips: identities of vertices before it, `IMAGE` among them, that are added.
    """

    identity: int
    edge: Convolution | None = None
    activated: bool = False
    skips: frozenset[int] = frozenset()


@dataclass(frozen=True)
class GraphArchitecture:
    """A network, and how it is trained.

    Args:
        rate: number of its learning rate among those of the space.
        vertices: the chain behind the image; its end is pooled and classified.
        reset: whether it is trained from new weights although it has a parent.
    """

    rate: int
    vertices: tuple[Vertex, ...] = ()
    reset: bool = False

    @property
    def identities(self) -> tuple[int, ...]:
        """Of the image and of all vertices, in order."""
        return (IMAGE, *(vertex.identity for vertex in self.vertices))

    def channels(self, place: int, of_image: int) -> int:
        """Channels behind the first ``place`` vertices."""
        edges = (vertex.edge for vertex in reversed(self.vertices[:place]))
        return next((edge.channels for edge in edges if edge is not None), of_image)
