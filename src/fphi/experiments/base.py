"""An experiment: a few trainings, and what is measured of them; its fields are options."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from fphi.experiments.parts.trainings import Planned, Trained
from fphi.ranges import require_ranges
from fphi.tasks.options import TaskOptions

__all__ = ["Experiment", "Measured"]


@dataclass(frozen=True)
class Measured:
    """What came of an experiment.

    Args:
        values: what was measured, ready for JSON.
        findings: the same in a few lines for people.
        picture: PNG.
    """

    values: Mapping[str, Any]
    findings: tuple[str, ...]
    picture: bytes


@dataclass(frozen=True)
class Experiment(ABC):
    """One of the lecture's experiments; `experiment` enters it in the table under its title."""

    title: ClassVar[str]
    about: ClassVar[str]

    # Trainings of each kind where nobody says how many.
    usual_seeds: ClassVar[int] = 1
    # Tasks of a test, alike.
    usual_test_tasks: ClassVar[int] = 300
    # The options of the tasks that are others than usual; None: the experiment is about tasks of its own.
    tasks: ClassVar[Mapping[str, Any] | None] = {}

    def __post_init__(self) -> None:
        """Refuse options out of their ranges."""
        require_ranges(type(self), vars(self))

    @abstractmethod
    def trainings(self, tasks: TaskOptions) -> Mapping[str, Planned]:
        """What is trained, by name.

        Args:
            tasks: those that the user chose, which every training has but for what is planned otherwise.
        """

    @abstractmethod
    def measure(self, trained: Trained) -> Measured:
        """What is measured of these trainings."""
