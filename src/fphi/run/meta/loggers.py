"""Loggers by name: those of Lightning, for TensorBoard, Weights & Biases and MLflow."""

import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fphi.errors import FphiError
from fphi.run.disk.files import Json, disk_errors, parse_json, write_text

__all__ = ["LOGGERS", "NamedLogger", "logger_names", "named_loggers"]

LOGGERS = ("csv", "tensorboard", "wandb", "mlflow")
_KEPT = "loggers.json"
"""What a run is called where it is logged, so that one that goes on is the same there."""


class NamedLogger(ABC):
    """A service that shows runs: told of a run's options, of each row of its log, and of what it comes to.

    Args:
        out: the run's folder, where it keeps what is not sent anywhere.
        step: meta-steps done, where the run goes on.
    """

    name: str

    def __init__(self, out: Path, step: int) -> None:
        self.out, self.step = out, step
        self.logger = self.made()

    @abstractmethod
    def made(self) -> Any:
        """Lightning's logger."""

    @abstractmethod
    def picture(self, name: str, image: Image.Image) -> None:
        """Show one."""

    @abstractmethod
    def table(self, header: Sequence[str], body: Sequence[Sequence[str]]) -> None:
        """Show the table of results."""

    def describe(self, options: Mapping[str, Any]) -> None:
        """Tell the run's options."""
        with disk_errors(self.out):
            self.logger.log_hyperparams(dict(options))

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Tell numbers of a step."""
        with disk_errors(self.out):
            self.logger.log_metrics(metrics, step)

    def conclude(
        self, pictures: Mapping[str, bytes], header: Sequence[str], body: Sequence[Sequence[str]]
    ) -> None:
        """Tell what came of the run.

        Args:
            pictures: PNG files by name.
            header: of the table of results.
            body: its lines.
        """
        with disk_errors(self.out):
            for name, png in pictures.items():
                self.picture(name, Image.open(io.BytesIO(png)).convert("RGB"))
            self.table(header, body)

    def save(self) -> None:
        """Put on disk what has been told so far."""
        with disk_errors(self.out):
            self.logger.save()

    def finalize(self, status: str) -> None:
        """No more is told."""
        with disk_errors(self.out):
            self.logger.finalize(status)

    def _known(self, own: str | None = None) -> str | None:
        """What the run is called there; ``own`` is kept as its name from now on."""
        path = self.out / _KEPT
        kept: dict[str, Json] = {}
        if path.is_file():
            found = parse_json(path.read_text(encoding="utf-8"))
            kept = found if isinstance(found, dict) else {}
        if own is not None:
            write_text(path, json.dumps({**kept, self.name: own}) + "\n")
        known = kept.get(self.name)
        return own or (known if isinstance(known, str) else None)


class _TensorBoard(NamedLogger):
    """Event files in the folder ``tensorboard``."""

    name = "tensorboard"

    def made(self) -> Any:
        from lightning_fabric.loggers.tensorboard import TensorBoardLogger

        # It forgets what an earlier session wrote after this step.
        purged = self.step + 1 if self.step else None
        return TensorBoardLogger(self.out, name="", version="tensorboard", purge_step=purged)

    def describe(self, options: Mapping[str, Any]) -> None:
        with disk_errors(self.out):
            self.logger.experiment.add_text("options", _markdown(("option", "value"), options.items()), 0)

    def picture(self, name: str, image: Image.Image) -> None:
        self.logger.experiment.add_image(name, np.asarray(image), dataformats="HWC")

    def table(self, header: Sequence[str], body: Sequence[Sequence[str]]) -> None:
        self.logger.experiment.add_text("result", _markdown(header, body))


class _WandB(NamedLogger):
    """Weights & Biases; offline, in the folder ``wandb``, unless WANDB_MODE says otherwise."""

    name = "wandb"

    def made(self) -> Any:
        from pytorch_lightning.loggers import WandbLogger

        offline = os.environ.get("WANDB_MODE", "offline") == "offline"
        os.environ.setdefault("WANDB_SILENT", "true")
        project = os.environ.get("WANDB_PROJECT", "fphi")
        logger = WandbLogger(
            self.out.resolve().name,
            save_dir=self.out,
            version=self._known(),
            offline=offline,
            project=project,
        )
        self._known(str(logger.experiment.id))
        return logger

    def picture(self, name: str, image: Image.Image) -> None:
        self.logger.log_image(name, [image])

    def table(self, header: Sequence[str], body: Sequence[Sequence[str]]) -> None:
        self.logger.log_table("result", columns=list(header), data=[list(line) for line in body])

    def finalize(self, status: str) -> None:
        super().finalize(status)
        self.logger.experiment.finish()


class _MLflow(NamedLogger):
    """MLflow; in the folder ``mlruns``, unless MLFLOW_TRACKING_URI says otherwise."""

    name = "mlflow"

    def made(self) -> Any:
        from pytorch_lightning.loggers import MLFlowLogger

        server = os.environ.get("MLFLOW_TRACKING_URI")
        if server is None:  # it would rather have a database, and asks who wants files to say so
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        logger = MLFlowLogger(
            os.environ.get("MLFLOW_EXPERIMENT_NAME", "fphi"),
            run_name=self.out.resolve().name,
            tracking_uri=server or (self.out / "mlruns").absolute().as_uri(),
            run_id=self._known(),
        )
        self._known(str(logger.run_id))
        return logger

    def picture(self, name: str, image: Image.Image) -> None:
        self.logger.experiment.log_image(self.logger.run_id, image, f"{name}.png")

    def table(self, header: Sequence[str], body: Sequence[Sequence[str]]) -> None:
        self.logger.experiment.log_text(self.logger.run_id, _markdown(header, body), "result.md")


_KINDS: dict[str, type[NamedLogger]] = {kind.name: kind for kind in (_TensorBoard, _WandB, _MLflow)}


def logger_names(text: str) -> tuple[str, ...]:
    """Those in a list such as ``csv,mlflow``.

    Raises:
        FphiError: there is none of that name.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    unknown = [name for name in names if name not in LOGGERS]
    if unknown:
        raise FphiError(f"logger is {text!r}; it must be of {', '.join(LOGGERS)}, separated by commas")
    return names


def named_loggers(text: str, out: Path, step: int = 0) -> list[NamedLogger]:
    """The loggers of a list such as ``csv,mlflow``, but for ``log.csv``, which every run has.

    Args:
        text: the list.
        out: the run's folder.
        step: meta-steps done, where the run goes on.

    Raises:
        FphiError: there is none of that name, or its extra is not installed.
    """
    found = []
    for name in logger_names(text):
        if name == "csv":
            continue
        try:
            found.append(_KINDS[name](out, step))
        except ImportError as error:
            reason = " ".join(str(error).split())[:200]
            raise FphiError(
                f"the logger {name} cannot be loaded ({reason}); pip install 'fphi[{name}]', or leave it out"
            ) from error
    return found


def _markdown(header: Sequence[str], body: Any) -> str:
    lines = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)
