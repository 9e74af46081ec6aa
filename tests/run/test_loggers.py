"""The loggers that a run is told to by name: its options, numbers, picture and table arrive there."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import fphi
from fphi.errors import FphiError
from fphi.experiment.config import read_values
from fphi.run.meta.loggers import logger_names, named_loggers
from fphi.run.meta.named_logger import NamedLogger
from fphi.run.meta.training import Training

SMALL: dict[str, Any] = {
    "steps": 2, "meta_batch": 1, "validation_tasks": 2, "train_ways": 5, "network": "mlp", "threads": 1,
}  # fmt: skip


def test_names_are_checked_before_anything_begins() -> None:
    assert logger_names("csv, mlflow,csv") == ("csv", "mlflow")
    with pytest.raises(FphiError, match=r"logger is 'csv,x'; it must be of csv, tensorboard, wandb, mlflow"):
        Training(logger="csv,x")


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "lightning_fabric.loggers.tensorboard"), ("wandb", "pytorch_lightning"), ("mlflow", "pytorch_lightning")]
)  # fmt: skip
def test_an_extra_that_is_missing_is_named(
    name: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for loaded in [key for key in sys.modules if key.startswith(module)]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(FphiError, match=rf"pip install 'fphi\[{name}\]', or leave it out"):
        named_loggers(f"csv,{name}", tmp_path)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What both services have of a run that went on once, trained in a process of its own."""
    for service in ("mlflow", "wandb"):
        pytest.importorskip(service, reason=f"needs the extra fphi[{service}]")
    script = _TRAIN + _READ_MLFLOW + _READ_WANDB
    return _in_a_process(tmp_path_factory.mktemp("told"), script, "csv,mlflow,wandb", json.dumps(SMALL))


def test_mlflow_is_told_all_in_a_folder_of_files(told: dict[str, Any]) -> None:
    """Both sessions are one run there."""
    found = told["mlflow"]
    assert found["runs"] == 1
    assert found["status"] == "FINISHED"
    assert found["parameters"]["method"] == "prototypical"
    assert found["parameters"]["steps"] == "2"
    assert found["steps"] == [1, 2, 3]
    assert found["losses"] == pytest.approx(told["log"])
    assert sorted(found["artifacts"]) == ["learning_curve.png", "result.md"]
    assert "| 3 |" in found["table"]


def test_wandb_is_told_all_offline(told: dict[str, Any]) -> None:
    found = told["wandb"]
    assert found["config"]["method"] == "prototypical"
    assert found["steps"] == [1, 2, 3]
    assert found["losses"] == pytest.approx(told["log"])
    assert {"learning_curve", "result"} <= set(found["keys"])
    assert len(found["ids"]) == 1


def test_a_run_leaves_the_next_one_in_its_process_its_own_place(told: dict[str, Any]) -> None:
    """And no variable of a service behind."""
    assert told["left"] == {}


def test_mlflow_has_each_row_once_wherever_the_run_is(tmp_path: Path) -> None:
    """After a kill past the last checkpoint, after a move, and, as a new run, where its folder is gone."""
    pytest.importorskip("mlflow", reason="needs the extra fphi[mlflow]")
    first = "tell('run', 0, (1, 2, 3, 4))\ntell('other', 0, (1,))\ntell('run', 2, (3, 4, 5))"
    assert _in_a_process(tmp_path, _TELL + first + _READ) == {
        "run": [[1, 2, 3, 4, 5], ["result.md"], "1"],
        "other": [[1], ["result.md"], "1"],
        "set": False,
    }
    (tmp_path / "run").rename(tmp_path / "moved")
    shutil.rmtree(tmp_path / "other" / "mlruns")
    then = "tell('moved', 5, (6,), 'again.md')\ntell('other', 1, (2,))"
    assert _in_a_process(tmp_path, _TELL + then + _READ) == {
        "moved": [[1, 2, 3, 4, 5, 6], ["again.md", "result.md"], "1"],
        "other": [[2], ["result.md"], "1"],
        "set": False,
    }
    assert not (tmp_path / "run").exists()


class Broken(NamedLogger):
    """A service that sets variables for itself, and then raises."""

    name = "broken"
    needs = ()

    def __init__(self, out: Path, error: Exception) -> None:
        self.error = error
        super().__init__(out, 0)

    def made(self) -> Any:
        os.environ.update(BROKEN_MODE="own", BROKEN_PLACE="own")
        raise self.error

    def picture(self, name: str, image: Image.Image) -> None:
        """Never reached."""

    def table(self, header: Sequence[str], body: Sequence[Sequence[str]]) -> None:
        """Never reached."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            LookupError("there is\nno such run"),
            r"the logger broken failed \(there is no such run\); check its",
        ),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "the logger broken failed"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "cannot write .*; check the folder"),
    ],
)
def test_whatever_a_service_raises_is_told_in_a_line(
    error: Exception, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKEN_MODE", "the caller's")
    with pytest.raises(FphiError, match=message):
        Broken(tmp_path, error)
    assert {key: value for key, value in os.environ.items() if key.startswith("BROKEN")} == {
        "BROKEN_MODE": "the caller's"
    }


def test_tensorboard_is_told_all(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    fphi.train("prototypical", out=tmp_path / "run", logger="csv,tensorboard", **SMALL)
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train_loss")] == [1, 2]
    assert events.Tags()["images"] == ["learning_curve"]
    texts = {
        tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"]
    }
    assert "| method | prototypical |" in texts["options/text_summary"]
    assert "validation loss" in texts["result/text_summary"]


EXAMPLES = {"train_examples": 60, "validation_examples": 20, "test_examples": 20}
FEW: dict[str, dict[str, Any]] = {
    "random-search": {**EXAMPLES, "evaluations": 2, "retrain_epochs": 1, "child": {"epochs": 1}},
    "reweight": {**EXAMPLES, "epochs": 2, "clean_examples": 20, "control": False},
}


@pytest.mark.parametrize("method", FEW)
def test_searches_and_weights_of_examples_are_told_in_the_end(method: str, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    options: dict[str, Any] = {"out": tmp_path / "run", "logger": "tensorboard", **FEW[method]}
    fphi.train(method, **options)
    fphi.train(method, resume=True, **options)  # it has ended, and is not told again
    (path,) = (tmp_path / "run" / "tensorboard").iterdir()
    events = accumulator.EventAccumulator(str(path)).Reload()
    name = "loss" if method == "random-search" else "validation_accuracy"
    assert [event.step for event in events.Scalars(name)] == [0, 1]
    assert events.Tags()["images"]
    assert "result/text_summary" in events.Tags()["tensors"]


def test_one_that_failed_is_told_when_the_run_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one whose extra is missing is known before the work begins."""
    pytest.importorskip("tensorboard")
    out = tmp_path / "run"
    options: dict[str, Any] = {"out": out, "logger": "csv,tensorboard", **FEW["reweight"]}
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tensorboard", None)
        with pytest.raises(FphiError, match=r"pip install 'fphi\[tensorboard\]', or leave it out"):
            fphi.train("reweight", **options)
    assert not out.exists()

    def refuse(self: Any) -> None:
        raise LookupError("no such server")

    with monkeypatch.context() as patch:
        patch.setattr("fphi.run.meta.loggers._TensorBoard.made", refuse)
        with pytest.raises(FphiError, match=r"the logger tensorboard failed \(no such server\)"):
            fphi.train("reweight", **options)
    assert (out / "result.json").is_file()
    fphi.train("reweight", out=out, resume=True)
    assert list((out / "tensorboard").iterdir())


def test_the_old_name_of_the_option_is_understood(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("method: maml\ntensorboard: true\n")
    assert read_values(tmp_path / "config.yaml") == {"method": "maml", "logger": "csv,tensorboard"}
    (tmp_path / "config.yaml").write_text("method: maml\ntensorboard: false\n")
    assert read_values(tmp_path / "config.yaml") == {"method": "maml", "logger": "csv"}


_TRAIN = """
import json, os, sys
from pathlib import Path
import fphi

out, logger, small = Path("run"), sys.argv[1], json.loads(sys.argv[2])
fphi.train("prototypical", out=out, logger=logger, log_every=1, **small)
left = {key: value for key, value in os.environ.items() if key.startswith(("MLFLOW_", "WANDB_"))}
fphi.train("prototypical", out=out, resume=True, **{**small, "steps": 3})
log = [float(line.split(",")[1]) for line in (out / "log.csv").read_text().splitlines()[1:]]
"""

_READ_MLFLOW = """
from mlflow.tracking import MlflowClient

client = MlflowClient((out / "mlruns").absolute().as_uri())
runs = client.search_runs([client.get_experiment_by_name("fphi").experiment_id])
run = runs[0]
history = client.get_metric_history(run.info.run_id, "train_loss")
table = client.download_artifacts(run.info.run_id, "result.md")
mlflow = {
    "runs": len(runs), "status": run.info.status, "parameters": run.data.params,
    "steps": [one.step for one in history], "losses": [one.value for one in history],
    "artifacts": [one.path for one in client.list_artifacts(run.info.run_id)],
    "table": Path(table).read_text(),
}
"""

_READ_WANDB = """
from wandb.proto import wandb_internal_pb2

def records(data):
    # A file of W&B's: a header of 7 bytes, then LevelDB's log, blocks of 32 KiB.
    place, whole = 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        whole += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):
            yield whole
            whole = b""

rows, config, ids = [], {}, set()
for path in sorted(out.glob("wandb/offline-run-*/run-*.wandb")):
    for data in records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            rows.append({item.key or "/".join(item.nested_key): item.value_json for item in record.history.item})
        if kind == "run":
            ids.add(record.run.run_id)
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        if kind == "config":
            config |= {item.key: json.loads(item.value_json) for item in record.config.update}
told = [row for row in rows if "train_loss" in row]
wandb = {
    "config": config, "keys": sorted({key.split("/")[0] for row in rows for key in row}), "ids": sorted(ids),
    "steps": [int(row["trainer/global_step"]) for row in told],
    "losses": [float(row["train_loss"]) for row in told],
}
print(json.dumps({"mlflow": mlflow, "wandb": wandb, "log": log, "left": left}))
"""

_TELL = """
import json, os
from pathlib import Path
from fphi.run.meta.loggers import named_loggers

def tell(name, start, steps, table="result.md"):
    out = Path(name)
    out.mkdir(exist_ok=True)
    (logger,) = named_loggers("csv,mlflow", out, start)
    if logger.is_new:
        logger.describe({"a": 1})
    for step in steps:
        logger.log_metrics({"loss": 1 / step}, step)
    logger.conclude({}, ["x"], [["1"]])
    if table != "result.md":
        logger.logger.experiment.log_text(logger.logger.run_id, "1", table)

"""

_READ = """
import mlflow
from mlflow.tracking import MlflowClient

found = {"set": mlflow.is_tracking_uri_set()}
os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
for out in (path.parent for path in Path().glob("*/mlruns")):
    client = MlflowClient((out / "mlruns").absolute().as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("fphi").experiment_id])
    steps = [one.step for one in client.get_metric_history(run.info.run_id, "loss")]
    artifacts = sorted(one.path for one in client.list_artifacts(run.info.run_id))
    found[out.name] = steps, artifacts, run.data.params["a"]
print(json.dumps(found))
"""


def _in_a_process(folder: Path, code: str, *words: str) -> dict[str, Any]:
    """What the last line of a script says; services leave threads, and files in the home folder."""
    script = folder / "script.py"
    script.write_text(code)
    away = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "MLFLOW_"))}
    environment = {
        **away,
        "HOME": str(folder),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    run = subprocess.run(
        [sys.executable, str(script), *words],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    told: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return told
