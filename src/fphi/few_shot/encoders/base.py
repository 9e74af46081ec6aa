"""From examples of any kind to features: an encoder is frozen, it learns nothing by gradient."""

from abc import ABC, abstractmethod
from typing import ClassVar, Self

from torch import Tensor

from fphi.few_shot.items import ExamplesError, Items, Kind
from fphi.run.disk.files import Json

__all__ = ["Encoder"]


class Encoder(ABC):
    """Examples in, one vector each out; what it says of one example depends on no other.

    Attributes:
        name: by which it is chosen.
        kinds: of examples that it reads.
        unit: whether its features are compared by direction, else column by column.
        notes: what a user should know of how the examples were read.
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[Kind, ...]]
    unit: ClassVar[bool] = True
    notes: tuple[str, ...] = ()

    def learn(self, items: Items) -> Self:
        """Fix what the first examples decide, such as which columns are numbers; most have nothing to fix."""
        return self

    @abstractmethod
    def encode(self, items: Items) -> Tensor:
        """The features ``[n, d]`` of these examples.

        Raises:
            ExamplesError: they are not of the kind or form that it reads.
        """

    @abstractmethod
    def spec(self) -> dict[str, Json]:
        """What makes the same encoder again, beside `tensors`."""

    def tensors(self) -> dict[str, Tensor]:
        """Its numbers, where it has any."""
        return {}

    def require_kind(self, items: Items) -> None:
        """Raise unless the examples are of a kind that it reads."""
        if items.kind not in self.kinds:
            raise ExamplesError(
                f"the examples are {items.kind}, and {self.name} reads {' and '.join(self.kinds)}: "
                "choose another encoder"
            )
