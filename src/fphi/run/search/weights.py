"""The weights of candidates in a folder, for their children to begin with."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fphi.run.disk.files import read_sealed, write_sealed

__all__ = ["WeightFolder"]


@dataclass(frozen=True)
class WeightFolder:
    """A file for each candidate.

    Args:
        path: of the folder, made when it is needed. On a cluster: one that all machines see, in full.
    """

    path: Path

    def load(self, number: int) -> Mapping[str, Tensor] | None:
        """The weights of candidate ``number``; None: it has left none, since it failed."""
        path = self.file(number)
        return read_sealed(path)[0] if path.exists() else None

    def save(self, number: int, state: Mapping[str, Tensor]) -> None:
        """Keep the weights of candidate ``number``."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_sealed(self.file(number), state, number)

    def keep_only(self, numbers: Collection[int]) -> None:
        """Delete the weights of all candidates but these: the dead have no heirs."""
        kept = {self.file(number) for number in numbers}
        for path in set(self.path.glob("*.safetensors")) - kept:
            path.unlink(missing_ok=True)

    def file(self, number: int) -> Path:
        """Where the weights of candidate ``number`` are kept."""
        return self.path / f"{number:06d}.safetensors"
