"""A method: one paper's choice in each of the three steps; a frozen dataclass, its fields are options."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import nn

from fphi.learnable.base import LearningAlgorithm, Loss
from fphi.learnable.embedding import embedding_size
from fphi.networks.batch_norm import Mode
from fphi.optimize.gradient import GradientDescent
from fphi.ranges import require_ranges
from fphi.tasks.episodes import TrainingTasks

__all__ = ["Auto", "FewShotMethod", "Method", "NetworkBuilder", "Setting", "Usual"]

# The value of an option that nobody has given one: the method chooses what fits the data.
Auto = Literal["auto"]

# A new network from the shape of one example, the number of outputs (None: it gives features), and the source
# of the batch-norm statistics.
NetworkBuilder = Callable[[tuple[int, ...], int | None, Mode], nn.Module]


@dataclass(frozen=True)
class Setting:
    """What the tasks are, and so what a network must fit.

    Args:
        ways: classes of a task; None in regression.
        shots: support examples of a class at test.
        input_shape: of one example: ``(channels, height, width)``, or ``(features,)``.
        network: takes the place of the network that the method's option names.
        classes: training classes, where the labels of all training tasks number them; None: labels are of
            their task alone.
        dtype: of an example; token numbers are whole.
        numbers: of the target of one example, in regression.
    """

    ways: int | None
    shots: int
    input_shape: tuple[int, ...]
    network: NetworkBuilder | None = None
    classes: int | None = None
    dtype: torch.dtype = torch.float32
    numbers: int = 1

    def embedding_size(self, network: nn.Module) -> int:
        """The length of what a network makes of one example."""
        return embedding_size(network, self.input_shape, self.dtype)

    @property
    def outputs(self) -> int:
        """Numbers that a network answers with."""
        return self.numbers if self.ways is None else self.ways

    @property
    def loss(self) -> Loss:
        """Of one task's answers."""
        return F.mse_loss if self.ways is None else F.cross_entropy


@dataclass(frozen=True)
class Usual:
    """How long a few-shot method trains where nobody says.

    Args:
        steps: meta-steps on images: a few minutes on two cores with the embedded characters.
        meta_batch: tasks of a meta-step.
        paper: the paper's own training in words, with the options that give it; empty: there is none.
        best_by: what decides which parameters are the best, where a loss at test says little.
        regression_steps: meta-steps where the tasks are regression, whose networks are small; None:
            ``steps``.
    """

    steps: int
    meta_batch: int
    paper: str = ""
    best_by: Literal["loss", "accuracy"] = "loss"
    regression_steps: int | None = None

    def steps_for(self, ways: int | None) -> int:
        """Meta-steps for tasks of ``ways`` classes; None: regression."""
        return self.steps if ways is not None or self.regression_steps is None else self.regression_steps


@dataclass(frozen=True)
class Method(ABC):
    """One system of the literature; `method` enters it in the table under its title."""

    title: ClassVar[str]
    paper: ClassVar[str]
    arxiv: ClassVar[str]

    # Options that older versions had, each with the value at which it changed nothing: a configuration that
    # holds it may be read without it.
    removed: ClassVar[Mapping[str, object]] = {}

    def __post_init__(self) -> None:
        """Refuse options out of their ranges."""
        require_ranges(type(self), vars(self))

    @property
    def variant(self) -> str:
        """The title, with what tells one variant of the method from another where the paper names them."""
        return self.title


@dataclass(frozen=True)
class FewShotMethod(Method):
    """A system that learns from many small tasks.

    It says what is learnable (`learner`), and what moves it (`optimizer`). The loss over tasks is the same
    for all: the mean loss on the tasks' query sets.
    """

    # The sizes of a task that training fixes: a learner with an output per class is bound to its ways.
    bound_to: ClassVar[tuple[Literal["ways", "shots"], ...]] = ("ways",)
    # Whether what is learned is not bound so, but only a learner: other sizes have a new one of it.
    fits_any: ClassVar[bool] = False
    usual: ClassVar[Usual] = Usual(steps=1000, meta_batch=8)

    @property
    def asked(self) -> Collection[str]:
        """Options that say what is asked of the learner: a tuning would choose what is easiest."""
        return ()

    @classmethod
    def testing(cls, learner: LearningAlgorithm, setting: Setting) -> LearningAlgorithm | None:
        """What another method has learned, to be tested as this one; None: it cannot be, as with most."""
        return None

    def left_open(self, setting: Setting) -> Mapping[str, int | float | str]:
        """What options that are null or auto come to in tasks of this setting, where no `Rate` says it.

        These are of the algorithm, which stays the same on whatever tasks it is tested: they follow the tasks
        that it was trained on. What belongs to the problem, as a network or a start, is none of them.
        """
        return {}

    def idle(self, setting: Setting) -> Collection[str]:
        """Options that change nothing in tasks of this setting, as the others are."""
        # The network for vectors has no norm layers, nor has Koch's; one of a file has its own.
        plain = len(setting.input_shape) != 3 or getattr(self, "network", None) in ("koch", "none")
        return ("norm",) if plain or setting.network is not None else ()

    @abstractmethod
    def learner(self, setting: Setting) -> LearningAlgorithm:
        """Step 1: the learning algorithm, whose parameters are φ, freshly initialised."""

    @abstractmethod
    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent | None:
        """Step 3: what moves φ; None where nothing is learned across tasks."""

    def train_tasks(self, ways: int, shots: int) -> TrainingTasks:
        """What the method asks of its training tasks, where those at test have ``ways`` and ``shots``.

        Raises:
            FphiError: an option asks for tasks that nothing can be learned from.
        """
        return TrainingTasks()
