"""A table of classes by name, which finds the files that enter them by itself."""

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Generic, TypeVar

from fphi.errors import FphiError

__all__ = ["Table"]

T = TypeVar("T")


class Table(Generic[T]):
    """Entries of one kind; the files of a package are imported when the table is first read.

    Args:
        kind: what an entry is called in messages.
        package: the name of the package whose files enter them.
        path: a file of that package.
        group: of the entry points by which installed packages add theirs; None: they do not.
    """

    def __init__(self, kind: str, package: str, path: str, group: str | None = None) -> None:
        self.kind, self.package, self.folder, self.group = kind, package, Path(path).parent, group
        self.entries: dict[str, T] = {}
        self._found = False

    def all(self) -> Mapping[str, T]:
        """All entries, in the order of their names."""
        if not self._found:
            self._found = True
            self._find()
        return dict(sorted(self.entries.items()))

    def get(self, name: str) -> T:
        """One entry.

        Raises:
            FphiError: there is none of that name; it says which there are.
        """
        known = self.all()
        if name not in known:
            raise FphiError(f"unknown {self.kind} {name!r}: choose one of {', '.join(known)}")
        return known[name]

    def _find(self) -> None:
        for module in pkgutil.iter_modules([str(self.folder)]):
            if not module.ispkg:
                import_module(f"{self.package}.{module.name}")
        for entry in [] if self.group is None else entry_points(group=self.group):
            entry.load()
