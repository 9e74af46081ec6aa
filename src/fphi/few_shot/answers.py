"""A meta-trained learner among the others: its features are its inputs, its rule the learning algorithm."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fphi.few_shot.encoders.base import Encoder
from fphi.few_shot.encoders.pictures import Scale, read_pictures, scale_of, scale_told
from fphi.few_shot.heads import Head
from fphi.few_shot.items import ExamplesError, Items, Kind
from fphi.learnable import LearningAlgorithm
from fphi.run.disk.files import Json
from fphi.tasks.types import Examples

__all__ = ["Answers", "Arrays", "Inputs", "MetaTrained"]

_AT_ONCE = 64


class Inputs(Encoder):
    """Examples as a learner was meta-trained on them: pictures of one size in 0..1, or vectors.

    Args:
        shape: of one example.
        ink: what ink was in the drawings that it was trained on, 1 or 0; in a picture ink is what there is
            less of, dark or bright, as on the page of ``fphi serve``. None: they were no drawings; pictures
            stay as they are.
        scale: of images of floats or 32 bits, as the first examples fix it; None: of all that are encoded.
    """

    name: ClassVar[str] = "inputs"
    kinds: ClassVar[tuple[Kind, ...]] = ("images", "sounds", "rows")

    def __init__(self, shape: tuple[int, ...], ink: int | None = None, scale: Scale = None) -> None:
        self.shape, self.ink, self.scale = shape, ink, scale

    def learn(self, items: Items) -> Self:
        if items.kind != "images" or len(self.shape) == 1:
            return self
        _, reader = read_pictures(items, 8, "rgb")
        made = type(self)(self.shape, self.ink, scale_of(reader))
        made.notes = tuple(reader.notes)
        return made

    def encode(self, items: Items) -> Tensor:
        if len(self.shape) == 1:
            return self._vectors(items)
        channels, size = self.shape[0], self.shape[-1]
        if items.kind not in ("images", "sounds"):
            raise ExamplesError(
                f"it was trained on pictures of shape {list(self.shape)}, not on {items.kind}"
            )
        if self.shape != (channels, size, size) or channels not in (1, 3):
            raise ExamplesError(f"it takes examples of shape {list(self.shape)}, which no image file has")
        pictures, _ = read_pictures(items, size, "rgb" if channels == 3 else "grey", self.scale)
        return self._inked(torch.from_numpy(pictures).float() / 255)

    def _inked(self, x: Tensor) -> Tensor:
        if self.ink is None:
            return x
        x = torch.where(_is_dark(x)[:, None, None, None], 1 - x, x)
        return x if self.ink else 1 - x

    def _vectors(self, items: Items) -> Tensor:
        if items.kind != "rows" or np.asarray(items.values).shape[1:] != self.shape:
            raise ExamplesError(f"it takes vectors of {self.shape[0]} numbers, and no others")
        return torch.from_numpy(np.asarray(items.values, np.float32))

    def spec(self) -> dict[str, Json]:
        scale: Json = list(self.scale) if isinstance(self.scale, tuple) else self.scale
        return {"shape": list(self.shape), "ink": self.ink, "values": scale}

    @classmethod
    def restored(cls, spec: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """What `spec` tells."""
        return cls(tuple(int(n) for n in spec["shape"]), spec["ink"], scale_told(spec))


def _is_dark(x: Tensor) -> Tensor:
    """Whether the ink of pictures ``[n, C, H, W]`` in 0..1 is dark ``[n]``: most of each is brighter.

    Ink and paper are told apart by Otsu's threshold, the cut into two lots that differ least within.
    """
    grey = (255 * x.mean(1)).flatten(1).round().clamp(0, 255)
    counts = torch.zeros(len(x), 256, dtype=torch.float64).scatter_add_(
        1, grey.long(), torch.ones_like(grey).double()
    )
    below = counts.cumsum(1)[:, :-1]
    sums = (counts * torch.arange(256)).cumsum(1)
    above = counts.sum(1, keepdim=True) - below
    apart = sums[:, :-1] / below.clamp_min(1) - (sums[:, -1:] - sums[:, :-1]) / above.clamp_min(1)
    cut = (below * above * apart.square()).argmax(1, keepdim=True)
    return below.gather(1, cut)[:, 0] <= grey.shape[1] / 2


class Arrays(Encoder):
    """Arrays as they are, for a learner of the caller's own; images of bytes become fractions of 255."""

    name: ClassVar[str] = "arrays"
    kinds: ClassVar[tuple[Kind, ...]] = ("rows", "images")

    def encode(self, items: Items) -> Tensor:
        self.require_kind(items)
        if items.archive is not None:
            raise ExamplesError(
                "a learner that is given in Python takes arrays of images; give such, not files"
            )
        array = np.asarray(items.values)
        return torch.from_numpy(array.astype(np.float32) / (255 if array.dtype == np.uint8 else 1))

    def spec(self) -> dict[str, Json]:
        return {}

    @classmethod
    def restored(cls, spec: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """There is nothing to tell."""
        return cls()


class Answers(nn.Module):
    """A learning algorithm that has been given its support set: inputs to logits, each by itself.

    Args:
        learner: it.
        support: ``x: [n, *input]``, ``y: [n]``.
        classes: of the support set; what the learner answers of others is left out.
    """

    support_x: Tensor
    support_y: Tensor

    def __init__(self, learner: LearningAlgorithm, support: Examples, classes: int) -> None:
        super().__init__()
        self.learner, self.classes = learner, classes
        self.register_buffer("support_x", support.x)
        self.register_buffer("support_y", support.y)

    def forward(self, x: Tensor) -> Tensor:
        support = Examples(self.support_x[None], self.support_y[None])
        with torch.no_grad():
            parts = [self.learner.solve_alone(support, part[None])[0] for part in torch.split(x, _AT_ONCE)]
            logits = self.learner.logits(torch.cat(parts)[:, : self.classes])
        if logits is None:
            raise ExamplesError(f"{type(self.learner).__name__} answers with no probabilities; give another")
        return logits


@dataclass(frozen=True)
class MetaTrained(Head):
    """The rule of a run: F, the learning algorithm that it has learned.

    Args:
        learner: in evaluation mode.
        ways: classes that it can tell apart at most; None: any number.
        shots: examples of each class that it can read; None: any number.
    """

    learner: LearningAlgorithm
    ways: int | None = None
    shots: int | None = None

    def learn(self, x: Tensor, y: NDArray[np.int64], classes: int, unit: bool) -> nn.Module:
        if self.ways is not None and classes > self.ways:
            raise ExamplesError(f"it was trained for {self.ways} classes, and there are {classes}")
        if self.shots is not None and not (np.bincount(y) == self.shots).all():
            raise ExamplesError(
                f"it was trained for {self.shots} examples of each class, and takes no other number"
            )
        return Answers(self.learner, Examples(x, torch.from_numpy(y)), classes)

    def restored(
        self, state: Mapping[str, Tensor], x: Tensor, y: NDArray[np.int64], classes: int, unit: bool
    ) -> nn.Module:
        """There is nothing in it but the examples."""
        return self.learn(x, y, classes, unit)
