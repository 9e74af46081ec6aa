"""What a run writes while it trains: ``log.csv``, and event files for TensorBoard."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fphi.errors import FphiError
from fphi.run.disk.files import disk_errors, replace_file
from fphi.run.disk.lines import whole_lines
from fphi.run.disk.temporary import open_to_append

__all__ = ["CsvLog", "Log", "LogRow", "LoggerLog", "MetricsLogger", "TensorBoardLog", "open_logs"]


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


class TensorBoardLog:
    """Event files for TensorBoard.

    Args:
        folder: the event files' folder.
        step: TensorBoard forgets what an earlier session wrote after this step.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter  # takes a second to import
        except ImportError as error:
            raise FphiError(
                f"TensorBoard cannot be loaded ({error}); pip install 'fphi[tensorboard]', or leave it out"
            ) from error
        self.folder = folder
        with disk_errors(folder):
            self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def write(self, row: LogRow) -> None:
        """Add a row's values, each under its column's name."""
        with disk_errors(self.folder):
            for name in COLUMNS[1:]:
                value = getattr(row, name)
                if value is not None:
                    self._writer.add_scalar(name, value, row.step)

    def sync(self) -> None:
        with disk_errors(self.folder):
            self._writer.flush()

    def close(self) -> None:
        with disk_errors(self.folder):
            self._writer.close()


class MetricsLogger(Protocol):
    """What takes numbers by name and step: the loggers of Lightning Fabric (W&B, MLflow, …) do."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None: ...


class LoggerLog:
    """Hands the rows on to a logger.

    Args:
        logger: of Lightning Fabric, or alike.
    """

    def __init__(self, logger: MetricsLogger) -> None:
        self.logger = logger

    def write(self, row: LogRow) -> None:
        """Its numbers, each under its column's name."""
        values = {name: getattr(row, name) for name in COLUMNS[1:]}
        self.logger.log_metrics({k: float(v) for k, v in values.items() if v is not None}, step=row.step)

    def sync(self) -> None:
        """What a logger keeps where is its own matter."""

    def close(self) -> None:
        """Tell it that the training is over, if it wants to know."""
        finalize = getattr(self.logger, "finalize", None)
        if finalize is not None:
            finalize("success")


@contextmanager
def open_logs(
    out: Path, step: int, tensorboard: bool, loggers: Sequence[MetricsLogger] = ()
) -> Iterator[list[Log]]:
    """The logs of a run that goes on from ``step``.

    Args:
        out: the run's folder.
        step: meta-steps done.
        tensorboard: whether there are event files for TensorBoard.
        loggers: told of each row too.
    """
    logs: list[Log] = []
    try:
        logs.append(CsvLog(out / "log.csv", step))
        if tensorboard:
            logs.append(TensorBoardLog(out / "tensorboard", step))
        logs += [LoggerLog(logger) for logger in loggers]
        yield logs
    finally:
        for log in logs:
            log.close()


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
