"""What was measured, as a table for the terminal, as Markdown, and as JSON."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from fphi import FphiError

__all__ = [
    "Earlier",
    "Measured",
    "Part",
    "Report",
    "around_markers",
    "machine",
    "ratio_cell",
    "steps_part",
    "write_between_markers",
]

_BEGIN, _END = "<!-- speed:begin -->", "<!-- speed:end -->"


@dataclass(frozen=True)
class Measured:
    """One system in one row.

    Attributes:
        row: what is computed.
        queries: query images per class.
        system: who computes it.
        tasks_per_second: the median over rounds; None: not timed.
        ratio: this rate, relative to the fastest peer's.
        seconds: each round that counts.
        note: why it was not timed.
        variant: how what it computes differs from what the others do.
        share: operations a second that a direct convolution would need, over what a product of matrices of
            the same shape reaches on this machine.
    """

    row: str
    queries: int
    system: str
    tasks_per_second: float | None = None
    ratio: float | None = None
    seconds: tuple[float, ...] = ()
    note: str = ""
    variant: str = ""
    share: float | None = None


@dataclass(frozen=True)
class Part:
    """One table: ``cells`` for people, ``data`` for JSON."""

    title: str
    columns: tuple[str, ...]
    cells: Sequence[tuple[str, ...]]
    data: Any
    remark: str = ""

    def print(self, console: Console) -> None:
        """Show it on the terminal."""
        table = Table()
        for i, column in enumerate(self.columns):
            table.add_column(column, justify="left" if i == 0 else "right", no_wrap=i == 0)
        for row in self.cells:
            table.add_row(*row)
        console.print(self.title, style="bold")
        console.print(table)
        console.print(self.remark, markup=False, highlight=False)

    def markdown(self) -> str:
        """The table and its remark."""
        lines = [f"**{self.title}**", "", _line(self.columns)]
        lines.append(_line(["---", *("---:" for _ in self.columns[1:])]))
        lines += [_line(row) for row in self.cells]
        return "\n".join(lines + (["", self.remark] if self.remark else []))


@dataclass
class Report:
    """All parts of one run."""

    command: str
    machine: dict[str, str]
    parts: dict[str, Part] = field(default_factory=dict)

    def markdown(self) -> str:
        """Everything that goes into the documentation."""
        about = ", ".join(f"{key} {value}" for key, value in self.machine.items())
        return "\n\n".join([f"`{self.command}`: {about}.", *(p.markdown() for p in self.parts.values())])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        data = {name: part.data for name, part in self.parts.items()}
        return {"command": self.command, "machine": self.machine, **data}


@dataclass(frozen=True)
class Earlier:
    """Gradients that were timed by an earlier command.

    Attributes:
        command: it.
        measured: its rows.
    """

    command: str = ""
    measured: tuple[Measured, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "Earlier":
        """What a command with ``--json`` has written."""
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(data["command"], tuple(Measured(**row) for row in data["steps"]))

    def before(self, command: str) -> str:
        """Its command, and the one that comes after it."""
        return f"{self.command}; {command}" if self.command else command

    def beside(self, anew: Sequence[Measured]) -> list[Measured]:
        """Its rows but for those that were timed anew, and these."""
        timed = {(m.row, m.queries) for m in anew}
        return [m for m in self.measured if (m.row, m.queries) not in timed] + list(anew)


def steps_part(measured: Sequence[Measured], rounds: int) -> Part:
    """The table of gradients: a line for each, a column for each system."""
    systems = list(dict.fromkeys(m.system for m in measured))
    lines: dict[tuple[str, int], dict[str, Measured]] = {}
    for m in measured:
        lines.setdefault((m.row, m.queries), {})[m.system] = m
    cells = [
        (_title(*key), *(_rate(found.get(name)) for name in systems), *_own(found["fphi"]))
        for key, found in lines.items()
    ]
    reasons = [f"Not timed: {m.system} in {_title(m.row, m.queries)} ({m.note})." for m in measured if m.note]
    reasons += [
        f"Unlike the others: {m.system} in {_title(m.row, m.queries)}, {m.variant}."
        for m in measured
        if m.variant
    ]
    return Part(
        "Meta-gradients, tasks per second",
        ("gradient", *systems, "fphi / best peer", "of peak"),
        cells,
        [asdict(m) for m in measured],
        " ".join([_checked(rounds), *reasons]),
    )


def _checked(rounds: int) -> str:
    turns = "1 round" if rounds == 1 else f"{rounds} interleaved rounds"
    return (
        f"5-way, 5 inner steps; in brackets: queries per class. Medians of {turns}. Checked before: "
        "all systems with a number compute the same gradient in float64, to a relative deviation of 1e-6."
    )


def _own(fphi: Measured) -> tuple[str, str]:
    return ratio_cell(fphi.ratio), "" if fphi.share is None else f"{fphi.share:.0%}"


def _title(row: str, queries: int) -> str:
    return f"{row} ({queries})"


def _rate(measured: Measured | None) -> str:
    if measured is None or measured.tasks_per_second is None:
        return "–"
    return f"{measured.tasks_per_second:.1f}"


def ratio_cell(ratio: float | None) -> str:
    """A factor, as it is printed."""
    return "" if ratio is None else f"{ratio:.2f}x"


def machine() -> dict[str, str]:
    """What the numbers depend on."""
    found = {"torch": torch.__version__, "Python": platform.python_version(), "cores": str(os.cpu_count())}
    found |= {"threads": str(torch.get_num_threads()), "processor": _processor()}
    return found | {name: _version(name) for name in ("higher", "torchopt", "easyfsl")}


def around_markers(path: Path) -> tuple[str, str]:
    """What stands before and after the marked part of a file.

    Raises:
        FphiError: there is no such file, or no marked part.
    """
    if not path.is_file():
        raise FphiError(f"{path} is no file: name a Markdown file that exists")
    before, begin, rest = path.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise FphiError(f"{path} has no {_BEGIN} before an {_END}: add both where the tables go")
    return before, after


def write_between_markers(path: Path, text: str) -> None:
    """Replace the marked part of a file."""
    before, after = around_markers(path)
    path.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{after}", encoding="utf-8")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
