"""A schedule: which policy augments in which epochs of a training."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from fphi.errors import FphiError
from fphi.learnable.augmentation.checking import make_plain
from fphi.learnable.augmentation.policy import AugmentationPolicy
from fphi.learnable.augmentation.population import PBAPolicy
from fphi.ranges import checked, require_ranges

__all__ = ["Schedule"]


@dataclass(frozen=True)
class Schedule:
    """Policies with their durations, in order.

    What Population Based Augmentation (arXiv 1905.05393) learns, of any policies.

    Args:
        segments: epochs (at least 1) and the policy of these epochs.

    Raises:
        FphiError: there is no segment, or one has no epochs.
    """

    segments: tuple[tuple[int, AugmentationPolicy], ...]

    def __post_init__(self) -> None:
        """Refuse what has no epochs."""
        require_ranges(Schedule, vars(self))
        if not self.segments:
            raise FphiError("a schedule has no segments; give at least one")
        make_plain(self, "segments")
        for epochs, _ in self.segments:
            if type(epochs) is not int or epochs < 1:
                raise FphiError(f"a segment of a schedule has {epochs} epochs; it must have at least 1")

    @property
    def epochs(self) -> int:
        """Of all segments."""
        return sum(epochs for epochs, _ in self.segments)

    def policy(self, epoch: int) -> AugmentationPolicy:
        """The policy of an epoch, the first being 0; after the last segment its policy goes on.

        Raises:
            FphiError: the epoch is before the first.
        """
        if epoch < 0:
            raise FphiError(f"epoch is {epoch}; the first is 0")
        ends = accumulate(epochs for epochs, _ in self.segments)
        for end, (_, policy) in zip(ends, self.segments, strict=True):
            if epoch < end:
                return policy
        return self.segments[-1][1]

    @checked()
    def stretched(self, epochs: int) -> "Schedule":
        """The schedule of a longer or shorter training.

        A multiple of the length multiplies every segment. Otherwise each epoch has the policy of its middle,
        and a segment may have none left.

        Raises:
            FphiError: there would be no epoch.
        """
        whole = self.epochs
        ends = accumulate((length for length, _ in self.segments), initial=0)
        bounds = [(2 * end * epochs + whole - 1) // (2 * whole) for end in ends]
        pairs = zip(pairwise(bounds), self.segments, strict=True)
        return Schedule(tuple((end - start, policy) for (start, end), (_, policy) in pairs if end > start))

    @classmethod
    def of_log(cls, text: str, epochs: int) -> "Schedule":
        """The schedule that a search of PBA has logged, in the form of its authors' code.

        A line is ``[target, clone, epochs of the target, epochs of the clone, old policy, new policy]``:
        the target goes on with the clone's weights and a new policy explored from the clone's. The best
        trial's lineage is the chain of lines at the end, where each clone is the target of the line before.

        Args:
            text: the lines.
            epochs: of the search; the last policy lasts until then.

        Raises:
            FphiError: a line is none, or the chain is broken.
        """
        lines = [_line(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        if not lines:
            raise FphiError("the log of PBA is empty; give the lines of one trial's lineage")
        begins = [i + 1 for i, (one, following) in enumerate(pairwise(lines)) if one[0] != following[1]]
        chain = lines[begins[-1] if begins else 0 :]
        for one, following in pairwise(chain):
            if one[5] != following[4]:
                raise FphiError(
                    f"the log of PBA is broken: the policy that {one[0]} was given is not what it had when "
                    f"{following[0]} cloned it at epoch {following[3]}"
                )
        starts = [0, *(line[3] for line in chain), epochs]
        policies = [chain[0][4], *(line[5] for line in chain)]
        for start, end in pairwise(starts):
            if end < start:
                raise FphiError(
                    f"the log of PBA goes back from epoch {start} to {end}; check epochs={epochs}"
                )
        spans = zip(pairwise(starts), policies, strict=True)
        return cls(tuple((end - start, policy) for (start, end), policy in spans if end > start))


_Line = tuple[str, str, int, int, PBAPolicy, PBAPolicy]


def _line(number: int, text: str) -> _Line:
    try:
        found: Any = json.loads(text.replace("'", '"'))
        target, clone, of_target, of_clone, old, new = found
        if not all(type(epoch) is int and 0 <= epoch < 2**31 for epoch in (of_target, of_clone)):
            raise ValueError("an epoch is no whole number")
        return str(target), str(clone), of_target, of_clone, _policy(old), _policy(new)
    except (ValueError, TypeError, KeyError, RecursionError, FphiError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FphiError(f"line {number} is none of a log of PBA ({reason}); check the file") from error


def _policy(found: Any) -> PBAPolicy:
    """Later logs have it in a dictionary."""
    vector: Sequence[int] = found["hp_policy"] if isinstance(found, dict) else found
    return PBAPolicy(tuple(vector))
