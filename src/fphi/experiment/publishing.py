"""What loggers with a name are told of a search, or of a training with learned weights, in its end."""

import csv
from pathlib import Path

from fphi.experiment.config import Config
from fphi.experiment.running import LoggerOptions
from fphi.report.tables import Table
from fphi.run.meta.loggers import logger_names, named_loggers
from fphi.run.meta.named_logger import NamedLogger, keep, kept

__all__ = ["publish"]

_TOLD = "told"  # among what loggers keep: those that have been told all


def publish(config: Config, out: Path, rows: str, table: Table) -> None:
    """Tell its options, its rows one after another, its pictures and its table of results.

    Each logger is told once: one that failed is told when the run is resumed, as is one that is named then.

    Args:
        config: of the run.
        out: its folder.
        rows: the CSV file there; what is no number in it is left out.
        table: of results.

    Raises:
        FphiError: the extra of a logger is not installed, or its service refuses.
    """
    for name in logger_names(config.part(LoggerOptions).logger):
        told = kept(out).get(_TOLD)
        before = told if isinstance(told, list) else []
        for logger in named_loggers(name, out) if name not in before else ():
            _tell(logger, config, out, rows, table)
            keep(out, **{_TOLD: [*before, name]})


def _tell(logger: NamedLogger, config: Config, out: Path, rows: str, table: Table) -> None:
    try:
        if logger.is_new:
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
