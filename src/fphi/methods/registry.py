"""The table of methods: each is a frozen dataclass that names its choice in each of the three steps."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from fphi.errors import FphiError
from fphi.learnable.base import LearningAlgorithm, Loss
from fphi.networks import MLP, Conv4
from fphi.networks.batch_norm import Mode
from fphi.optimize.gradient import GradientDescent, Schedule, constant, cosine, linear_to_zero
from fphi.tasks.episodes import EpisodeShape, Order

__all__ = ["METHODS", "Method", "NetworkName", "Setting", "get_method", "method"]

NetworkName = Literal["conv4-pool", "conv4-stride", "conv4-stride-mean", "conv5", "mlp"]
ScheduleName = Literal["constant", "cosine", "linear"]
_CONV5 = (32, 64, 128, 128, 256)  # filters of its blocks

METHODS: dict[str, type["Method"]] = {}
M = TypeVar("M", bound="type[Method]")


@dataclass(frozen=True)
class Setting:
    """What the tasks are, and so what a network must fit.

    Args:
        ways: classes of a task; None in regression.
        shots: support examples of a class at test.
        input_shape: of one example: ``(channels, height, width)``, or ``(features,)``.
    """

    ways: int | None
    shots: int
    input_shape: tuple[int, ...]

    @property
    def outputs(self) -> int:
        return 1 if self.ways is None else self.ways

    @property
    def loss(self) -> Loss:
        return F.mse_loss if self.ways is None else F.cross_entropy


@dataclass(frozen=True)
class Method(ABC):
    """One system: what is learnable (`learner`), and how it is optimized (`optimizer`).

    The loss over tasks is the same for all: the mean loss on the tasks' query sets.
    """

    title: ClassVar[str]
    paper: ClassVar[str]
    arxiv: ClassVar[str]
    # The sizes of a task that training fixes: a learner with an output per class is bound to its ways.
    bound_to: ClassVar[tuple[Literal["ways", "shots"], ...]] = ("ways",)

    @abstractmethod
    def learner(self, setting: Setting) -> LearningAlgorithm:
        """Step 1: the learning algorithm, whose parameters are φ, freshly initialised."""

    @abstractmethod
    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent | None:
        """Step 3: what moves φ; None where nothing is learned across tasks."""

    def train_shape(self, ways: int, shots: int) -> EpisodeShape | None:
        """The shape of training tasks where it is not that of the protocol."""
        return None

    @property
    def train_order(self) -> Order:
        """The order of the examples in training tasks, see `FewShotTasks`."""
        return "classes"


def method(name: str, *, paper: str, arxiv: str = "") -> Callable[[M], M]:
    """Enter a method in the table under ``name``."""

    def enter(cls: M) -> M:
        cls.title, cls.paper, cls.arxiv = name, paper, arxiv
        METHODS[name] = cls
        return cls

    return enter


def get_method(name: str) -> type[Method]:
    """The method's dataclass; an unknown name is answered with the known ones."""
    if name not in METHODS:
        raise FphiError(f"unknown method {name!r}: choose one of {', '.join(sorted(METHODS))}")
    return METHODS[name]


def build_network(name: NetworkName, setting: Setting, norm: Mode, head: bool = True) -> nn.Module:
    """The network ``name`` for the tasks of ``setting``; without ``head`` it gives features.

    ``conv5`` is for larger images: five blocks of 32 to 256 filters, all but the last of them pooled.
    """
    ways = setting.outputs if head else None
    if len(setting.input_shape) != 3:
        return MLP(setting.input_shape[0], (40, 40), ways)
    channels, height, width = setting.input_shape
    if name == "mlp":
        return MLP(channels * height * width, (256, 128, 64, 64), ways, norm)
    mean, five = name == "conv4-stride-mean", name == "conv5"
    return Conv4(
        ways,
        channels=channels,
        image_size=height,
        downsample="pool" if name == "conv4-pool" or five else "stride",
        filters=_CONV5 if five else 64,
        last_pool=not five,
        features="mean" if mean else "flatten",
        affine="shift" if mean else "scale+shift",
        norm=norm,
    )


def schedule_named(name: ScheduleName) -> Schedule:
    """The schedule of the outer learning rate; the cosine ends at a hundredth."""
    return {"constant": constant, "cosine": lambda: cosine(0.01), "linear": linear_to_zero}[name]()


def adam_descent(
    learner: LearningAlgorithm, lr: float, schedule: ScheduleName, clip_value: float | None
) -> GradientDescent:
    """Adam over all that is learnable."""
    optimizer = torch.optim.Adam([p for p in learner.parameters() if p.requires_grad], lr=lr)
    return GradientDescent(optimizer, schedule_named(schedule), clip_value=clip_value)
