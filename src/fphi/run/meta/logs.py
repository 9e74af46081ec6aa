"""What a run writes while it trains: ``log.csv``, and what its loggers make of the same rows."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from fphi.run.disk.files import disk_errors, replace_file
from fphi.run.disk.lines import whole_lines
from fphi.run.disk.temporary import open_to_append
from fphi.run.meta.loggers import named_loggers
from fphi.run.meta.named_logger import NamedLogger

__all__ = ["CsvLog", "Log", "LogRow", "LoggerLog", "MetricsLogger", "conclude", "open_logs"]


@dataclass(frozen=True)
class LogRow:
    """One row of ``log.csv``; None is an empty cell.

    Args:
        step: meta-steps done.
        train_loss: mean task loss of this meta-step's batch, before its update.
        learning_rate: of this meta-step.
        seconds: time spent in the run so far.
        validation_accuracy: a fraction.
        validation_loss: mean task loss on validation tasks.
    """

    step: int
    train_loss: float
    learning_rate: float
    seconds: float
    validation_accuracy: float | None = None
    validation_loss: float | None = None


COLUMNS = ("step", "train_loss", "validation_accuracy", "validation_loss", "learning_rate", "seconds")


_STEP = re.compile(rb"\d{1,18}")


class Log(Protocol):
    """Takes the rows of a run, in order."""

    def write(self, row: LogRow) -> None: ...

    def sync(self) -> None:
        """Put on disk what has been written so far."""

    def close(self) -> None: ...


class CsvLog:
    """Appends rows to a CSV file; each is on its way to the disk when `write` returns.

    Args:
        path: the file; it need not exist.
        step: rows after this step are removed, since the run goes on from here and writes them again.
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        self.path = path
        header = ",".join(COLUMNS).encode() + b"\n"
        replace_file(path, b"".join([header, *_rows_until(path, step)]))
        with disk_errors(path):
            self._file = open_to_append(path)

    def write(self, row: LogRow) -> None:
        """Append one row; ``FphiError`` if the disk is full."""
        line = ",".join(_cell(name, getattr(row, name)) for name in COLUMNS) + "\n"
        data = line.encode()
        with disk_errors(self.path, len(data)):
            while data:
                data = data[self._file.write(data) :]

    def sync(self) -> None:
        with disk_errors(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        with disk_errors(self.path):
            self._file.close()


class MetricsLogger(Protocol):
    """What takes numbers by name and step: the loggers of Lightning Fabric (W&B, MLflow, …) do."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None: ...


class LoggerLog:
    """Hands the rows on to a logger.

    Args:
        logger: of Lightning Fabric, or alike, or one of those with a name.
    """

    def __init__(self, logger: MetricsLogger) -> None:
        self.logger = logger

    def write(self, row: LogRow) -> None:
        """Its numbers, each under its column's name."""
        values = {name: getattr(row, name) for name in COLUMNS[1:]}
        self.logger.log_metrics({k: float(v) for k, v in values.items() if v is not None}, step=row.step)

    def sync(self) -> None:
        """What a logger keeps where is its own matter, but for those of ours."""
        if isinstance(self.logger, NamedLogger):
            self.logger.save()

    def close(self) -> None:
        """Tell it that the training is over, if it wants to know."""
        finalize = getattr(self.logger, "finalize", None)
        if finalize is not None:
            finalize("success")


@contextmanager
def open_logs(
    out: Path,
    step: int,
    names: str = "csv",
    loggers: Sequence[MetricsLogger] = (),
    options: Mapping[str, Any] | None = None,
) -> Iterator[list[Log]]:
    """The logs of a run that goes on from ``step``.

    Args:
        out: the run's folder.
        step: meta-steps done.
        names: of the loggers that fphi knows, separated by commas.
        loggers: told of each row too.
        options: of the run, which those with a name are told.
    """
    with ExitStack() as stack:  # one that fails keeps no other from being closed
        logs: list[Log] = [CsvLog(out / "log.csv", step)]
        stack.callback(logs[0].close)
        for logger in chain(named_loggers(names, out, step), loggers):
            logs.append(LoggerLog(logger))
            stack.callback(logs[-1].close)
            if isinstance(logger, NamedLogger) and logger.is_new and options:
                logger.describe(options)
        yield logs


def conclude(
    logs: Sequence[Log],
    pictures: Callable[[], Mapping[str, bytes]],
    table: tuple[Sequence[str], Sequence[str]],
) -> None:
    """Tell the loggers that show such things what came of a run.

    Args:
        logs: of the run.
        pictures: gives PNG files by name, where somebody shows them.
        table: a header, and a line.
    """
    header, line = table
    shown = [log.logger for log in logs if isinstance(log, LoggerLog)]
    for logger in shown:
        if isinstance(logger, NamedLogger):
            logger.conclude(pictures(), header, [line])


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if name == "seconds" else repr(value)


def _rows_until(path: Path, step: int) -> list[bytes]:
    """The whole rows of steps up to ``step``; a row that a power cut left half written is none."""
    return [line + b"\n" for line in whole_lines(path) if _is_row_until(line, step)]


def _is_row_until(line: bytes, step: int) -> bool:
    cells = line.split(b",")
    return len(cells) == len(COLUMNS) and _STEP.fullmatch(cells[0]) is not None and int(cells[0]) <= step
