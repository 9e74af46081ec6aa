"""Which classes a run was trained on: these stay in their splits when a folder gains or loses some."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fphi.errors import DataError
from fphi.tasks.pool import ClassPool
from fphi.tasks.splits import Pools

__all__ = ["Division"]


@dataclass(frozen=True)
class Division:
    """The classes of each split of a run, by their names in their order.

    Args:
        classes: names by split.
        elsewhere: whether the data are others than those that the run was trained on.
    """

    classes: Mapping[str, tuple[str, ...]]
    elsewhere: bool = False

    def pools(self, pool: ClassPool, divide: Callable[[], Pools]) -> tuple[Pools, list[str]]:
        """Return the classes of each split, and lines on what differs from the data of the run.

        Classes of the run's own data stay in their splits, and new ones are left out. Other data are divided
        anew, without the classes whose names are in another split of the run.

        Args:
            pool: all classes, undivided.
            divide: gives them by split as the protocol does.
        """
        return self._others(divide()) if self.elsewhere else self._own(pool)

    def require_same(self, classes: Mapping[str, Sequence[str]], data: str) -> None:
        """Raise a `DataError` unless data have these classes and no others."""
        known, found = ({name for of in all_.values() for name in of} for all_ in (self.classes, classes))
        if known != found:
            text = f"of {data} are not what they were when this began"
            raise DataError(f"{_line(f'classes {text}', known ^ found)}; make them so again")

    def _own(self, pool: ClassPool) -> tuple[Pools, list[str]]:
        place = {name: c for c, name in enumerate(pool.names)}
        known = {name for names in self.classes.values() for name in names}
        lines = [
            _line(f"of the classes of split {split!r} are gone since the training", set(names) - set(place))
            for split, names in self.classes.items()
        ]
        lines.append(_line("classes came after the training and are left out", set(place) - known))
        pools = {
            split: pool.subset([place[name] for name in names if name in place])
            for split, names in self.classes.items()
        }
        return pools, [line for line in lines if line]

    def _others(self, pools: Pools) -> tuple[Pools, list[str]]:
        kept, lines = {}, []
        for split, pool in pools.items():
            taken = {name for other, names in self.classes.items() if other != split for name in names}
            kept[split] = pool.subset([c for c, name in enumerate(pool.names) if name not in taken])
            text = f"classes of split {split!r} have names of classes that the run was trained or chosen on"
            lines.append(_line(f"{text}, and are left out", taken & set(pool.names)))
        return kept, [line for line in lines if line]


def _line(what: str, names: set[str]) -> str:
    return f"{len(names)} {what}, such as {min(names)[:100]!r}" if names else ""
