"""What loggers with a name are told of a search, or of a training with learned weights, in its end."""

import csv
from pathlib import Path

from fphi.experiment.config import Config
from fphi.experiment.running import LoggerOptions
from fphi.report.tables import Table
from fphi.run.meta.loggers import named_loggers

__all__ = ["publish"]


def publish(config: Config, out: Path, rows: str, table: Table) -> None:
    """Tell its options, its rows one after another, its pictures and its table of results.

    Args:
        config: of the run.
        out: its folder.
        rows: the CSV file there; what is no number in it is left out.
        table: of results.

    Raises:
        FphiError: the extra of a logger is not installed.
    """
    for logger in named_loggers(config.part(LoggerOptions).logger, out):
        try:
            logger.describe(config.to_dict())
            with (out / rows).open(encoding="utf-8", newline="") as file:
                for number, row in enumerate(csv.DictReader(file)):
                    logger.log_metrics(_numbers(row), number)
            pictures = {path.stem: path.read_bytes() for path in sorted(out.glob("*.png"))}
            logger.conclude(pictures, table.header, table.body)
        finally:
            logger.finalize("success")


def _numbers(row: dict[str, str]) -> dict[str, float]:
    found = {}
    for name, text in row.items():
        try:
            found[name] = float(text)
        except (TypeError, ValueError):  # a text, or nothing
            continue
    return found
