"""Every kind of file that is read: a whole one, and what reads it and is sure of what it read."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image

from fphi.augmentation import load as load_augmentation
from fphi.experiment.architecture import Architecture
from fphi.experiment.classes import CLASSES, read_division
from fphi.experiment.config import Config
from fphi.experiment.search.steps import _EpochLog
from fphi.learnable.architecture import NASBench201Space
from fphi.report.files import read_record, read_scores
from fphi.report.results import results_csv, results_page
from fphi.report.runs import read_log
from fphi.report.searches import read_result
from fphi.run.disk.checkpoint import read_checkpoint, save_checkpoint
from fphi.run.disk.state import TrainingState
from fphi.run.search.history import History
from fphi.run.search.tabular import load_nasbench201, load_nasbench_macro
from fphi.tasks import load_folder
from fphi.tasks.cache import _load, _save
from fphi.tasks.idx import read_idx
from tasks_helpers import labelled_pool

__all__ = ["FORMATS", "Format", "whole"]


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Args:
        name: of the file below a folder.
        read: what reads it there; an `FphiError` if it refuses, an AssertionError if it took nonsense.
        tree: of one that is JSON, what is in a whole one, line by line.
    """

    name: str
    read: Callable[[Path], object]
    tree: tuple[Any, ...] = ()


def _architecture(path: Path) -> None:
    found = Architecture.read(path.parent)
    assert all(1 <= size <= 4096 for size in found.input_shape)
    assert found.space.check(found.tokens) == found.tokens
    found.outline()


def _result(path: Path) -> None:
    result = read_result(path)
    assert 0 <= result["validation_accuracy"] <= 1
    assert 0 <= result["retrained"].get("test_accuracy", 0) <= 1


def _record(path: Path) -> None:
    record = read_record(path)
    assert all(0 <= (part["mean"] or 0) <= 1 for part in record.get("accuracy", {}).values())
    page = results_page(path.parents[3])
    assert "\x1b" not in page
    assert "<b>" not in page
    results_csv(path.parents[3])


def _scores(path: Path) -> None:
    for values in read_scores(path.parents[1], path.stem).values():
        assert isinstance(values, torch.Tensor)


def _history(path: Path) -> None:
    history = History(path)
    history.close()
    assert all(0 <= record.outcome.seconds < np.inf for record in history.records)


def _epochs(path: Path) -> None:
    log = _EpochLog(path)
    log.close()
    assert 0 <= log.seconds < np.inf


def _log(path: Path) -> None:
    assert all(int(row["step"]) >= 0 for row in read_log(path))


def _checkpoint(path: Path) -> None:
    assert 0 <= read_checkpoint(path).state.step <= 2**53


def _division(path: Path) -> None:
    division = read_division(path.parent)
    assert division is not None
    names = [name for of in division.classes.values() for name in of]
    assert len(set(names)) == len(names) > 0


def _config(path: Path) -> None:
    Config.read(path.parent).to_yaml(path.parent)


def _augmentation(path: Path) -> None:
    augment = load_augmentation(path)
    augment.set_epoch(1)
    augmented = augment(torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)))
    assert 0 <= augmented.min() <= augmented.max() <= 1
    augment.save(path)
    assert load_augmentation(path).augmenting == augment.augmenting


def _cache(path: Path) -> None:
    pool = _load(path)
    assert pool is None or np.array_equal(pool.images, labelled_pool([2, 3]).images)


def _table(load: Callable[[Path], Any]) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        entries = load(path).entries.values()
        assert all(0 <= entry.validation <= 1 for entry in entries)
        assert all(0 <= test <= 1 for entry in entries for test in entry.tests.values())

    return read


def _idx(path: Path) -> None:
    assert read_idx(path).size > 0


def _images(path: Path) -> None:
    folder = path.parents[1] if path.suffix != ".zip" else path
    for mode in ("grey", "rgb"):
        pool = load_folder(folder, 8, mode)
        assert pool.images.shape[1:] == (1 if mode == "grey" else 3, 8, 8)
        assert pool.sizes.sum() == len(pool.images) > 0


_NETWORK = {
    "space": "nasbench201", "options": {"channels": 2, "cells": 1}, "tokens": [0] * 6, "input_shape": [1, 8, 8],
    "outputs": 3, "norm": None,
}  # fmt: skip
_SEARCH = {
    "data": "digits", "method": "darts", "seed": 0, "epochs": 2, "seconds": 1.0, "validation_accuracy": 0.5,
    "architecture": "a", "retrained": {"parameters": 3, "test_accuracy": 0.5}, "control": None, "retrain_epochs": 1,
}  # fmt: skip
_TEST = {
    "method": "maml", "protocol": "P", "ways": 5, "shots": 1, "tasks": 2, "seed": 0, "queries": 5,
    "accuracy": {"inductive": {"mean": 0.5, "ci95": 0.1}}, "loss": {"mean": 1.0, "ci95": None},
    "by_step": [{"step": 0, "loss": 1.0, "accuracy": 0.2}], "start": {"run": "a", "method": None, "frozen": None},
}  # fmt: skip
_ASKED = {"asked": 0, "tokens": [0, 1], "parent": None}
_TOLD = {"told": 0, "loss": 0.5, "seconds": 1.0, "failure": "", "measures": {"a": 1}, "standing": {}}
_EPOCH = {"epoch": 1, "seconds": 2.5, "loss": 0.5}
_POLICY = {
    "augmentation": "policy",
    "scale": "fast",
    "fill": [0, 1, 2.5],
    "sub_policies": [[["Rotate", 0.5, 0.1], ["Color", 1, 1]]],
}
_PBA = {"augmentation": "pba", "fill": [0], "vector": [1, 2] * 30}
_RAND = {"augmentation": "randaugment", "fill": [9], "count": 2, "magnitude": 3.5}
_TRIVIAL = {"augmentation": "trivialaugment", "fill": [9], "scale": "wide"}
_SCHEDULE = {
    "augmentation": "schedule",
    "segments": [{"epochs": 2, "policy": p} for p in (_POLICY, _PBA, _RAND, _TRIVIAL)],
}
_MACRO = {"".join(digits): {"test_acc": [90.0], "params": 10} for digits in product("012", repeat=8)}
_FEW_MACRO = dict(list(_MACRO.items())[:3])

FORMATS = {
    "architecture": Format("architecture.json", _architecture, (_NETWORK,)),
    "result": Format("result.json", _result, (_SEARCH,)),
    "record": Format("P/run/tests/5w1s.json", _record, (_TEST,)),
    "history": Format("history.jsonl", _history, (_ASKED, _TOLD)),
    "epochs": Format("history.jsonl", _epochs, (_EPOCH, {**_EPOCH, "epoch": 2})),
    "classes": Format(CLASSES, _division, ({"train": ["a", "b"], "test": ["c"]},)),
    "macro table": Format("table.json", _table(load_nasbench_macro), (_FEW_MACRO,)),
    "policy": Format("policy.json", _augmentation, (_POLICY,)),
    "schedule": Format("schedule.json", _augmentation, (_SCHEDULE,)),
    "scores": Format("tests/5w1s.safetensors", _scores),
    "log": Format("log.csv", _log),
    "checkpoint": Format("last.safetensors", _checkpoint),
    "configuration": Format("config.yaml", _config),
    "cache": Format("toy.npz", _cache),
    "201 table": Format("table.csv", _table(load_nasbench201)),
    "idx": Format("images-idx3-ubyte", _idx),
    "packed idx": Format("images-idx3-ubyte.gz", _idx),
    "zip": Format("images.zip", _images),
    **{kind: Format(f"images/a/1.{kind}", _images)
       for kind in ("png", "jpg", "gif", "bmp", "webp", "tif", "ppm", "pgm", "pfm")},
}  # fmt: skip


def whole(name: str, folder: Path) -> bytes:
    """The content of a file that is as it should be, made in a folder."""
    form = FORMATS[name]
    if form.tree:
        return b"".join(json.dumps(part).encode() + b"\n" for part in form.tree)
    array = np.arange(64, dtype=np.uint8).reshape(8, 8)
    idx = b"\0\0\x08\3" + b"".join(n.to_bytes(4, "big") for n in (2, 4, 8)) + array.tobytes()
    if name in _IMAGES:
        return _IMAGES[name](array)
    makers: dict[str, Callable[[], bytes]] = {
        "scores": lambda: safetensors.torch.save({"loss": torch.ones(2)}),
        "log": lambda: b"step,train_loss,seconds\n1,0.5,1.0\n2,0.25,2.0\n",
        "checkpoint": lambda: _of_checkpoint(folder / "made"),
        "configuration": lambda: _CONFIGURATION,
        "cache": lambda: _of_cache(folder),
        "201 table": _of_201,
        "idx": lambda: idx,
        "packed idx": lambda: gzip.compress(idx),
        "zip": lambda: _of_zip(array),
    }
    return makers[name]()


_CONFIGURATION = (
    b"method: maml\ntasks: hershey\nways: 5\nshots: 1\nsteps: 10\ninner_lr: 0.4\nnetwork: conv4\n"
)


def _of_checkpoint(path: Path) -> bytes:
    learner = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(learner.parameters())
    save_checkpoint(path, learner, optimizer, TrainingState(step=3, seconds=1.0))
    return path.read_bytes()


def _of_cache(folder: Path) -> bytes:
    _save(folder / "cache.npz", labelled_pool([2, 3]))
    return (folder / "cache.npz").read_bytes()


def _of_201() -> bytes:
    columns = ("c10_val12", "c100_val12", "in16_val12", "c10_test200", "c100_test200", "in16_test200")
    costs = ("time12_train50k_s", "time12_test10k_total_s", "cost_c10valid12_s")
    head = ",".join(("arch_str", *columns, *costs))
    cells = ([0] * 6, [1] * 6, [4] * 6)
    lines = [",".join([NASBench201Space().text(tuple(c)), *["50.0"] * 6, *["100.0"] * 3]) for c in cells]
    return "\n".join([head, *lines, ""]).encode()


def _of_zip(array: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for c in "abc":
            archive.writestr(f"{c}/1.png", _saved(array, "PNG"))
    return buffer.getvalue()


def _saved(array: Any, kind: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **how)
    return buffer.getvalue()


_IMAGES: dict[str, Callable[[Any], bytes]] = {
    "png": lambda a: _saved(a, "PNG"),
    "jpg": lambda a: _saved(a, "JPEG"),
    "gif": lambda a: _saved(a, "GIF", save_all=True, append_images=[Image.fromarray(255 - a)]),
    "bmp": lambda a: _saved(a, "BMP"),
    "webp": lambda a: _saved(a, "WEBP"),
    "tif": lambda a: _saved(a.astype(np.uint16) * 256, "TIFF", compression="tiff_lzw"),
    "ppm": lambda a: _saved(np.stack([a] * 3, -1), "PPM"),
    "pgm": lambda a: _saved(a, "PPM"),
    "pfm": lambda a: _saved(a.astype(np.float32), "PPM"),
}
