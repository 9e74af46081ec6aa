"""How far a run is: the trainings that have ended with what they left, and the one that is going on."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from fphi.errors import FphiError
from fphi.run.disk.files import read_sealed, write_sealed
from fphi.run.disk.packing import pack, unpack
from fphi.run.disk.schema import group, number, require, text, whole

__all__ = ["Row", "Standing", "read_standing", "save_standing"]

# Of an epoch: "training" is the name of the training, all else are numbers.
Row = dict[str, Any]

_KIND, _FORMAT = "trainings with weights", 1
_LONGEST = 1e15  # seconds


@dataclass
class Standing:
    """What a run goes on from.

    Attributes:
        rows: of all epochs so far, in order.
        left: by the name of each training that has ended: numbers of its network that the others and the
            result need.
        going: of the training that is going on, or of the last one: its network, its velocity, and what has
            been seen of the examples; empty: it is about to begin.
    """

    rows: list[Row] = field(default_factory=list)
    left: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    going: dict[str, Any] = field(default_factory=dict)

    def rows_of(self, name: str) -> list[Row]:
        """Of one training."""
        return [row for row in self.rows if row["training"] == name]


def save_standing(path: Path, standing: Standing, fingerprint: str) -> None:
    """Replace the file atomically.

    Raises:
        FphiError: it cannot be written; the old file is as it was.
    """
    tensors: dict[str, Tensor] = {}
    tree = {"rows": standing.rows, "left": standing.left, "going": standing.going}
    packed = pack(tree, tensors, "state")
    write_sealed(
        path,
        tensors,
        {"kind": _KIND, "format": _FORMAT, "fingerprint": fingerprint, "standing": packed},
    )


def read_standing(path: Path, fingerprint: str) -> Standing:
    """Read what `save_standing` wrote.

    Raises:
        FphiError: no such file, a damaged one, one of a run with other options or data, or of an earlier fphi
            that did not keep all that is needed.
    """
    tensors, content = read_sealed(path)
    try:
        found = group(content, "the file")
        require((found["kind"], found["format"]) == (_KIND, _FORMAT), "it is of another kind or version")
        tree: Any = group(unpack(found["standing"], tensors), "the standing")
        rows = [_row(row) for row in tree["rows"]]
        left = {text(name): _tensors(values) for name, values in group(tree["left"], "left").items()}
        standing = Standing(rows, left, group(tree["going"], "going"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FphiError(f"{path} is damaged ({reason}); train again in another folder") from error
    if "probabilities" not in standing.going.get("objective", {"probabilities": None}):
        raise FphiError(
            f"{path} is of an earlier fphi, which did not keep what labels are doubted by; go on with that "
            "one, or train again in another folder"
        )
    if found.get("fingerprint") != fingerprint:
        raise FphiError(
            f"{path} is of a run with other options or other data; resume with those that it began with, or "
            "train again in another folder"
        )
    return standing


def _row(value: Any) -> Row:
    row = group(value, "a row")
    text(row["training"], "training")
    whole(row["epoch"], "epoch", 1)
    number(row["seconds"], "seconds", 0, _LONGEST)
    for name in row.keys() - {"training"}:
        number(row[name], name)
    return row


def _tensors(values: Any) -> dict[str, Tensor]:
    found = group(values, "what a training left")
    require(all(isinstance(value, Tensor) for value in found.values()), "a training left no tensors")
    return found
