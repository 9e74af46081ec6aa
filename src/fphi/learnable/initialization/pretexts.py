"""What features are learned by without episodes: classes, numbers, turns, or two views of one image."""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.base import Loss
from fphi.learnable.targets import fitting, require_answerable
from fphi.ranges import Range, checked
from fphi.tasks.turns import turned
from fphi.tasks.types import Task
from fphi.within.cross_entropy import IGNORED

__all__ = [
    "ClassPretext",
    "Embed",
    "Pretext",
    "TargetPretext",
    "TurnPretext",
    "ViewPretext",
    "nt_xent",
    "require_class_numbers",
]

# Inputs ``[B, n, *input]`` to features ``[B, n, d]``, all n of a task in one batch.
Embed = Callable[[Tensor], Tensor]


class Pretext(nn.Module):
    """A loss of features that knows no episodes, and the layers that it needs.

    Attributes:
        copies: how many copies of an example pass through the network.

    Args:
        width: of the features.
    """

    copies: ClassVar[int] = 1

    @checked()
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    @abstractmethod
    def losses(self, embed: Embed, tasks: Task) -> Tensor:
        """The loss ``[B]`` of each task of a batch; one is a minibatch, with support and query as halves."""

    def head(self, ways: int | None) -> nn.Linear:
        """The layer that a task of so many classes (None: regression) is answered with before it is seen.

        It is new and zero, so that no class is preferred.

        Raises:
            FphiError: such tasks have no answer in these features.
        """
        if ways is None:
            raise FphiError("these targets are numbers, and what was learned is a classifier: choose maml")
        head = nn.Linear(self.width, ways)
        for parameter in head.parameters():
            nn.init.zeros_(parameter)
        return head.to(next(self.parameters()))


class ClassPretext(Pretext):
    """Which of all training classes is it? A linear layer over all of them, and cross-entropy.

    Args:
        width: of the features.
        classes: of all training tasks, whose labels number them.
    """

    @checked()
    def __init__(self, width: int, classes: int) -> None:
        super().__init__(width)
        self.classifier = nn.Linear(width, classes)

    def losses(self, embed: Embed, tasks: Task) -> Tensor:
        for name, part in zip(("support.y", "query.y"), tasks, strict=True):
            require_class_numbers(name, part.y)
        y = _joined(tasks, "y")
        answers = self.classifier(embed(_joined(tasks, "x")))
        require_answerable(answers, y)
        return _cross_entropies(answers, y)


class TargetPretext(Pretext):
    """Regression of all tasks by one network, as if they were one task.

    Args:
        width: of the features.
        outputs: numbers of an answer.
        loss: scalar loss of one task from answers and targets.
    """

    @checked()
    def __init__(self, width: int, outputs: int, loss: Loss = F.mse_loss) -> None:
        super().__init__(width)
        self.regression, self.loss = nn.Linear(width, outputs), loss

    def losses(self, embed: Embed, tasks: Task) -> Tensor:
        answers = self.regression(embed(_joined(tasks, "x")))
        pairs = zip(answers, _joined(tasks, "y"), strict=True)
        return torch.stack([self.loss(a, fitting(self.loss, a, t)) for a, t in pairs])

    def head(self, ways: int | None) -> nn.Linear:
        """That of all tasks, as it is."""
        return self.regression if ways is None else super().head(ways)


class TurnPretext(Pretext):
    """By how many quarters was it turned? Each image is there in its four turns (Gidaris et al. 2018).

    Args:
        width: of the features.
    """

    copies: ClassVar[int] = 4

    @checked()
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.classifier = nn.Linear(width, 4)

    def losses(self, embed: Embed, tasks: Task) -> Tensor:
        x = _joined(tasks, "x")
        if x.dim() != 5 or x.shape[-1] != x.shape[-2]:
            size = "x".join(map(str, x.shape[2:]))
            raise FphiError(f"examples of size {size} cannot be turned: give square images")
        turns = torch.cat([turned(x, turn) for turn in range(4)], 1)
        labels = torch.arange(4, device=x.device).repeat_interleave(x.shape[1])
        return _cross_entropies(self.classifier(embed(turns)), labels.expand(len(x), -1))


class ViewPretext(Pretext):
    """Which of all the others is the other view of this image? (SimCLR: Chen et al. 2020.)

    Support and query set are the views: the examples in one place of both are of one image. The features pass
    through a small network first, the projection, which no task is answered with.

    Args:
        width: of the features.
        projected: size of what is compared.
        temperature: τ, by which cosines are divided.
    """

    @checked(temperature=Range(0, open=True))
    def __init__(self, width: int, projected: int = 64, temperature: float = 0.2) -> None:
        super().__init__(width)
        self.projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, projected))
        self.temperature = temperature

    def losses(self, embed: Embed, tasks: Task) -> Tensor:
        first, second = tasks.support.x, tasks.query.x
        if first.shape != second.shape:
            raise FphiError(
                f"the two views are {list(first.shape)} and {list(second.shape)}; support and query set must "
                "hold the same images in the same places, each distorted in its own way"
            )
        views = self.projection(embed(torch.cat([first, second], 1)))
        one, other = views.chunk(2, 1)
        return nt_xent(one, other, self.temperature)


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """The normalised temperature-scaled cross-entropy ``[B]`` of two views ``[B, n, d]`` (SimCLR, eq. 1).

    −log of exp(cos(zᵢ, zⱼ)/τ) over Σ exp(cos(zᵢ, zₖ)/τ) for all k ≠ i of both views, where j is the other
    view of i; the mean over the 2n views.
    """
    count = first.shape[1]
    views = F.normalize(torch.cat([first, second], 1), dim=-1)
    alike = views @ views.mT / temperature  # [B, 2n, 2n]
    itself = torch.eye(2 * count, dtype=torch.bool, device=views.device)
    other = torch.arange(2 * count, device=views.device).roll(count)
    return _cross_entropies(alike.masked_fill(itself, -torch.inf), other.expand(len(views), -1))


def _cross_entropies(answers: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy ``[B]`` of ``answers: [B, n, classes]`` and ``labels: [B, n]``."""
    losses = F.cross_entropy(answers.mT, labels, reduction="none")
    return losses.sum(1) / (labels != IGNORED).sum(1)


def require_class_numbers(name: str, y: Tensor) -> None:
    """Raise an `FphiError` if the targets of a batch of tasks are not one whole number for each example."""
    if y.dim() != 2 or y.is_floating_point() or y.is_complex():
        raise FphiError(
            f"{name} is {list(y.shape)} of {str(y.dtype)[6:]}; classes are one whole number for each "
            "example: of one-hot targets give y.argmax(-1)"
        )


def _joined(tasks: Task, part: Literal["x", "y"]) -> Tensor:
    """Support and query of each task together."""
    return torch.cat([getattr(tasks.support, part), getattr(tasks.query, part)], 1)
