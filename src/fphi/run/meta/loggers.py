"""Loggers by name: those of Lightning, for TensorBoard, Weights & Biases and MLflow."""

import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fphi.errors import FphiError
from fphi.run.meta.mlflow_logger import MLflow
from fphi.run.meta.named_logger import NamedLogger, keep, markdown

__all__ = ["LOGGERS", "logger_names", "named_loggers", "require_loggers"]

LOGGERS = ("csv", "tensorboard", "wandb", "mlflow")


class _TensorBoard(NamedLogger):
    """Event files in the folder ``tensorboard``."""

    name = "tensorboard"
    needs = ("lightning_fabric.loggers.tensorboard", "tensorboard")

    def made(self) -> Any:
        from lightning_fabric.loggers.tensorboard import TensorBoardLogger

        # It forgets what an earlier session wrote after this step.
        purged = self.step + 1 if self.step else None
        return TensorBoardLogger(self.out, name="", version="tensorboard", purge_step=purged)

    def describe(self, options: Mapping[str, Any]) -> None:
        with self._asked():
            self.logger.experiment.add_text("options", markdown(("option", "value"), options.items()), 0)

    def picture(self, name: str, image: Image.Image) -> None:
        self.logger.experiment.add_image(name, np.asarray(image), dataformats="HWC")

    def table(self, header: Sequence[str], body: Sequence[Sequence[str]]) -> None:
        self.logger.experiment.add_text("result", markdown(header, body))


class _WandB(NamedLogger):
    """Weights & Biases; offline, in the folder ``wandb``, unless WANDB_MODE says otherwise."""

    name = "wandb"
    needs = ("pytorch_lightning.loggers", "wandb")

    def made(self) -> Any:
        from pytorch_lightning.loggers import WandbLogger

        offline = os.environ.get("WANDB_MODE", "offline") == "offline"
        os.environ.setdefault("WANDB_SILENT", "true")
        project, known = os.environ.get("WANDB_PROJECT", "fphi"), self._known()
        logger = WandbLogger(
            self.out.resolve().name,
            save_dir=self.out,
            version=known,
            offline=offline,
            project=project,
        )
        keep(self.out, wandb=str(logger.experiment.id))
        self.is_new = known is None
        return logger

    def picture(self, name: str, image: Image.Image) -> None:
        self.logger.log_image(name, [image])

    def table(self, header: Sequence[str], body: Sequence[Sequence[str]]) -> None:
        self.logger.log_table("result", columns=list(header), data=[list(line) for line in body])

    def finalize(self, status: str) -> None:
        super().finalize(status)
        with self._asked():
            self.logger.experiment.finish()


_KINDS: dict[str, type[NamedLogger]] = {kind.name: kind for kind in (_TensorBoard, _WandB, MLflow)}


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


def named_loggers(text: str, out: Path, step: int = 0) -> Iterator[NamedLogger]:
    """The loggers of a list such as ``csv,mlflow``, but for ``log.csv``, which every run has, one by one.

    Args:
        text: the list.
        out: the run's folder.
        step: meta-steps done, where the run goes on.

    Raises:
        FphiError: there is none of that name, its extra is not installed, or its service refuses.
    """
    require_loggers(text)
    return (_KINDS[name](out, step) for name in logger_names(text) if name != "csv")


def require_loggers(text: str) -> None:
    """Raise an `FphiError` if the extra of a logger in the list is not installed."""
    for name in logger_names(text):
        try:
            for module in () if name == "csv" else _KINDS[name].needs:
                import_module(module)
        except ImportError as error:
            reason = " ".join(str(error).split())[:200]
            raise FphiError(
                f"the logger {name} cannot be loaded ({reason}); pip install 'fphi[{name}]', or leave it out"
            ) from error
