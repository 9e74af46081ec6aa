"""MLflow as a logger with a name: a run there for each run, told of every row once, wherever it is kept."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from fphi.run.disk.files import write_text
from fphi.run.meta.named_logger import NamedLogger, keep, markdown

__all__ = ["MLflow"]

_SERVER = "MLFLOW_TRACKING_URI"
_META = "meta.yaml"  # of each experiment and run in a folder of MLflow's


class MLflow(NamedLogger):
    """MLflow; in the folder ``mlruns``, unless MLFLOW_TRACKING_URI says otherwise."""

    name = "mlflow"
    needs = ("pytorch_lightning.loggers", "mlflow")

    def made(self) -> Any:
        from pytorch_lightning.loggers import MLFlowLogger

        server, known = os.environ.get(_SERVER), self._known()
        if server is None:
            known = _found(self.out / "mlruns", known)
        with _own_server():
            logger = MLFlowLogger(
                os.environ.get("MLFLOW_EXPERIMENT_NAME", "fphi"),
                run_name=self.out.resolve().name,
                tracking_uri=server or (self.out / "mlruns").absolute().as_uri(),
                run_id=known,
            )
            client, own = logger.experiment, str(logger.run_id)
        keep(self.out, mlflow=own)
        data = client.get_run(own).data
        self.is_new = not data.params
        told = [metric.step for name in data.metrics for metric in client.get_metric_history(own, name)]
        self._told = max(told, default=-1)  # by a session that was killed after its last checkpoint, say
        return logger

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if step is None or step > self._told:
            super().log_metrics(metrics, step)

    def picture(self, name: str, image: Image.Image) -> None:
        self.logger.experiment.log_image(self.logger.run_id, image, f"{name}.png")

    def table(self, header: Sequence[str], body: Sequence[Sequence[str]]) -> None:
        self.logger.experiment.log_text(self.logger.run_id, markdown(header, body), "result.md")

    @contextmanager
    def _asked(self) -> Iterator[None]:
        with super()._asked():
            if (
                _SERVER not in os.environ
            ):  # it would rather have a database, and asks who wants files to say so
                os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            yield


@contextmanager
def _own_server() -> Iterator[None]:
    """Lightning makes its logger's server that of the whole process: within, and no longer."""
    mlflow: Any = import_module("mlflow")
    of_all = os.environ.pop(_SERVER, None)  # else what is set in this process could not be told from it
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    if of_all is not None:
        os.environ[_SERVER] = of_all
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


def _found(store: Path, run: str | None) -> str | None:
    """The run, if the folder still has it. Where that has been moved, artifacts are from now on beside it."""
    for path in (*store.glob(f"*/{_META}"), *store.glob(f"*/*/{_META}")):
        content, place = yaml.safe_load(path.read_text(encoding="utf-8")), path.parent.absolute()
        own = {"artifact_location": place.as_uri(), "artifact_uri": (place / "artifacts").as_uri()}
        moved = {key: uri for key, uri in own.items() if key in content and content[key] != uri}
        if moved:
            write_text(path, yaml.safe_dump({**content, **moved}))
    return run if run is not None and any(store.glob(f"*/{run}/{_META}")) else None
