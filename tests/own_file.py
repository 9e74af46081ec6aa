"""A user's own file, as the tests of the command line write it: a method, a network, tasks."""

from pathlib import Path

__all__ = ["OWN", "write_own"]

OWN = '''
from dataclasses import dataclass

import torch
from torch import nn

import fphi


class NearestExample(fphi.LearningAlgorithm):
    """Answers with the class of the nearest support example, in a learned linear map."""

    def __init__(self, size, ways):
        super().__init__()
        self.map = nn.Linear(size, 8)
        self.ways = ways

    def forward(self, support, query_x):
        near = -torch.cdist(self.map(query_x.flatten(1)), self.map(support.x.flatten(1)))
        return near @ nn.functional.one_hot(support.y, self.ways).to(near)


@dataclass(frozen=True)
class Nearest(fphi.FewShotMethod):
    """Compare with every example.

    Args:
        lr: of Adam.
    """

    lr: float = 0.01

    def learner(self, setting):
        return NearestExample(torch.Size(setting.input_shape).numel(), setting.outputs)

    def optimizer(self, learner):
        return fphi.GradientDescent(torch.optim.Adam(learner.parameters(), lr=self.lr))


class Net(nn.Module):
    """A network with a body and a head."""

    def __init__(self, input_shape, outputs):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(input_shape).numel(), 6), nn.Tanh())
        self.head = nn.Linear(6, outputs) if outputs else nn.Identity()

    def forward(self, x):
        return self.head(self.body(x))


def lazy(input_shape, outputs):
    """A network whose layers wait for a batch to know their sizes."""
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(6), nn.LazyBatchNorm1d(), nn.LazyLinear(outputs or 4))


def too_large(input_shape, outputs):
    return nn.Sequential(nn.Conv2d(1, 2, 99), nn.Flatten(), nn.LazyLinear(5))


@dataclass(frozen=True)
class Lazy(Nearest):
    """A learner that has such a layer.

    Args:
        lr: of Adam.
    """

    def learner(self, setting):
        learner = super().learner(setting)
        learner.map = nn.LazyLinear(8)
        return learner


class Bits(fphi.TaskDistribution):
    """Two classes, told apart by the sign of one of four numbers."""

    protocol = "bits"
    splits = ("train", "validation", "test")
    ways = 2

    def batch(self, split, indices):
        return fphi.stack([self.one(f"{split}/{i}") for i in indices])

    def one(self, name):
        generator = torch.Generator().manual_seed(sum(map(ord, name)))
        place = torch.randint(4, (1,), generator=generator)
        x = torch.randn(8, 4, generator=generator)
        y = torch.arange(8) % 2
        x[torch.arange(8), place] = x[torch.arange(8), place].abs() * (2 * y - 1)
        return fphi.Task(fphi.Examples(x[:4], y[:4]), fphi.Examples(x[4:], y[4:]))


bits = Bits()
nothing = None
'''


def write_own(folder: Path) -> Path:
    """The file ``own.py`` in a folder."""
    path = folder / "own.py"
    path.write_text(OWN)
    return path
