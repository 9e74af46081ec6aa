"""What every system in the comparison is given: the same tasks, network and initial parameters."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi import Examples, Task

__all__ = [
    "INNER_LR",
    "INNER_STEPS",
    "OMNIGLOT",
    "Gradients",
    "PlainBlock",
    "PlainConv4",
    "Problem",
    "Shape",
    "Step",
    "make_problem",
]

INNER_LR = 0.4
INNER_STEPS = 5

Gradients = dict[str, Tensor]
# One call: the gradient of the mean task loss, by parameter name.
Step = Callable[[], Gradients]


class Shape(NamedTuple):
    """What a task's examples are.

    Args:
        channels: of an image.
        size: height and width of an image.
        shots: support images per class.
    """

    channels: int = 1
    size: int = 28
    shots: int = 1


OMNIGLOT = Shape()


class PlainBlock(nn.Module):
    """Convolution, batch norm, ReLU and max-pool, as they are usually written."""

    def __init__(self, channels: int, padding: int = 1, pool: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 64, 3, padding=padding)
        self.norm = nn.BatchNorm2d(64, track_running_stats=False)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = F.relu(self.norm(self.conv(x)))
        return F.max_pool2d(z, 2) if self.pool else z


class PlainConv4(nn.Module):
    """Conv4-pool from torch's own layers, as it is usually written.

    The same function as ``fphi.Conv4`` of the same parameters, and the same parameter names.
    """

    def __init__(self, ways: int | None, shape: Shape = OMNIGLOT) -> None:
        super().__init__()
        widths = (shape.channels, 64, 64, 64)
        self.body = nn.Sequential(*(PlainBlock(channels) for channels in widths), nn.Flatten())
        self.head = nn.Identity() if ways is None else nn.Linear(64 * (shape.size // 16) ** 2, ways)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x))
        return logits


@dataclass(frozen=True)
class Problem:
    """A batch of tasks and the parameters to differentiate at.

    Attributes:
        tasks: images [B, n, channels, size, size] and labels [B, n], class by class.
        plain: makes the peers' network, of torch's own layers.
        phi: its parameters by name.
    """

    tasks: Task
    plain: Callable[[], nn.Module]
    phi: dict[str, Tensor]

    @property
    def count(self) -> int:
        """The number of tasks."""
        return len(self.tasks.query.x)

    def load(self, network: nn.Module) -> nn.Module:
        """``network`` with these parameters, in their precision and on their device."""
        first = next(iter(self.phi.values()))
        network.to(first.device, first.dtype).load_state_dict(self.phi)
        return network

    def plain_network(self) -> nn.Module:
        """The peers' network."""
        return self.load(self.plain())


def make_problem(
    tasks: int,
    queries: int,
    plain: Callable[[], nn.Module],
    dtype: torch.dtype = torch.float32,
    shape: Shape = OMNIGLOT,
    device: str = "cpu",
) -> Problem:
    """Random 5-way tasks with ``queries`` query images per class; the pixels make no difference."""
    torch.manual_seed(0)
    phi = {name: p.detach().to(device, dtype) for name, p in plain().named_parameters()}
    images = Task(*(_images(tasks, each, shape, dtype) for each in (shape.shots, queries)))
    return Problem(images.to(torch.device(device)), plain, phi)


def _images(tasks: int, each: int, shape: Shape, dtype: torch.dtype) -> Examples:
    y = torch.arange(5).repeat_interleave(each).expand(tasks, -1).contiguous()
    return Examples(torch.rand(tasks, 5 * each, shape.channels, shape.size, shape.size).to(dtype), y)
