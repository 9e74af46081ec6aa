"""What a run with learned weights leaves: result.json, tables, a picture; and what it says in the end."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fphi.experiment.config import Config
from fphi.experiment.search.options import DataOptions
from fphi.experiment.versions import versions
from fphi.experiment.weighting.options import ExampleOptions
from fphi.experiment.weighting.standing import Row, Standing
from fphi.experiment.weighting.trainings import CLEANED, PLAIN, Trainings
from fphi.learnable.weighting import WeightNet
from fphi.optimize.meta_weight_net import MetaWeightNet
from fphi.report.compare import paired_difference
from fphi.report.weighting import WeightPicture, draw_weights
from fphi.run.disk.files import replace_file, write_text
from fphi.run.search.history_table import to_csv
from fphi.within.cleaning import auroc
from fphi.within.trained import parameter_count
from fphi.within.uncompiled import uncompiled

__all__ = ["ISSUES", "LOG", "PICTURE", "RESULT", "log_of", "result_of", "write_pictures", "write_tables"]

LOG, RESULT, ISSUES, PICTURE = "log.csv", "result.json", "issues.csv", "weights.png"
_POINTS = 40  # of the curve


def log_of(rows: Sequence[Row]) -> str:
    """The rows of all epochs as CSV."""
    return to_csv(rows)


def write_tables(trainings: Trainings, standing: Standing, out: Path) -> None:
    """The training examples with what was found of each, most suspicious first."""
    left, data, wrong = standing.left[trainings.method.title], trainings.task.data, trainings.task.wrong
    numbers = torch.arange(len(data.train.y)) if data.rows is None else data.rows
    columns: dict[str, Tensor] = {
        "example": numbers,
        "label": data.train.y,
        "suspicion": left["suspicion"],
        "doubted": left["doubted"].int(),
        "weight": left["weights"],
        "mean_loss": left["mean_losses"],
    }
    if trainings.beside.control:
        columns["cleaned_away"] = trainings.issues(standing).int()
    if wrong is not None:
        columns["wrong"] = wrong.int()
    order = torch.argsort(left["suspicion"], descending=True, stable=True)
    lists = {name: column[order].tolist() for name, column in columns.items()}
    rows: list[Row] = [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
    for row in rows:
        if data.names:
            row["label"] = data.names[row["label"]]
        if data.files:
            row["file"] = data.files[row["example"]]
    write_text(out / ISSUES, to_csv(rows))


def write_pictures(trainings: Trainings, standing: Standing, out: Path) -> None:
    """Weight by loss."""
    left = standing.left[trainings.method.title]
    net = _weight_net(trainings, standing)
    picture = WeightPicture(left["mean_losses"], left["weights"], trainings.task.wrong, _curve(net, left))
    replace_file(out / PICTURE, draw_weights(trainings.method.title, picture))


def result_of(trainings: Trainings, standing: Standing, config: Config, command: str) -> dict[str, Any]:
    """The content of ``result.json``."""
    method, task, left = trainings.method, trainings.task, standing.left[trainings.method.title]
    own, examples = method.title, asdict(config.part(ExampleOptions))
    reported = [name for name in trainings.names if name not in trainings.folds]
    return {
        "kind": "example weights",
        "method": own,
        "data": config.part(DataOptions).data,
        **{key: list(value) if isinstance(value, tuple) else value for key, value in examples.items()},
        "clean_examples": len(task.clean.y),
        "class_count": task.data.classes,
        "network": trainings.network.network,
        "parameters": parameter_count(trainings.module(standing)),
        "epochs": trainings.training.epochs,
        "lr": trainings.training.lr,
        "training_examples": len(task.data.train.y),
        "validation_examples": len(task.data.validation.y),
        "test_examples": len(task.data.test.y),
        "wrong_labels": None if task.wrong is None else int(task.wrong.sum()),
        "trainings": {name: _record(trainings, standing, name) for name in reported},
        "differences": {
            name: _difference(standing.left[name]["right"], left["right"]) for name in reported if name != own
        },
        "skipped_minibatches": int(standing.going["objective"]["skipped"]),
        "mean_weight_of_wrong": _mean_weight(left["weights"], task.wrong),
        "curve": _curve(_weight_net(trainings, standing), left),
        "versions": versions(),
        "command": command,
    }


def _record(trainings: Trainings, standing: Standing, name: str) -> dict[str, Any]:
    """Of one training."""
    rows, options = standing.rows_of(name), trainings.training
    tests = [row["test_accuracy"] for row in rows]
    validation = [row["validation_accuracy"] for row in rows]
    last = validation[-options.last_epochs :]
    best, chosen = max(tests), max(range(len(rows)), key=validation.__getitem__)
    folds = sum(r["seconds"] for fold in trainings.folds for r in standing.rows_of(fold))
    seconds = sum(row["seconds"] for row in rows) + (folds if name == CLEANED else 0.0)
    return {
        "test_accuracy": tests[-1],
        "best_test_accuracy": best,
        "best_epoch": tests.index(best) + 1,
        "validation_accuracy": max(last) if options.of_last == "max" else sum(last) / len(last),
        "chosen_epoch": chosen + 1,
        "chosen_test_accuracy": tests[chosen],
        "seconds": round(seconds, 3),
        "issues": _issues(trainings, standing, name),
    }


def _issues(trainings: Trainings, standing: Standing, name: str) -> dict[str, Any]:
    """How well a training tells which labels are wrong."""
    wrong, y = trainings.task.wrong, trainings.task.data.train.y
    if name == PLAIN:
        scores, found = standing.left[name]["losses"], None
    elif name == CLEANED:
        of_label = trainings.probabilities(standing).gather(1, y[:, None])[:, 0]
        scores, found = 1 - of_label, trainings.issues(standing)
    else:
        scores, found = standing.left[name]["suspicion"], standing.left[name]["doubted"]
    return {
        "found": None if found is None else int(found.sum()),
        "found_wrong": None if found is None or wrong is None else int((found & wrong).sum()),
        "auroc": None if wrong is None else auroc(scores, wrong),
    }


def _difference(control: Tensor, own: Tensor) -> dict[str, float]:
    """The method's test accuracy less the control's, on the same examples."""
    if len(own) < 2:
        return {"mean": float(own.double().mean() - control.double().mean()), "ci95": 1.0}
    mean, ci95 = paired_difference(control, own)
    return {"mean": mean, "ci95": ci95}


def _mean_weight(weights: Tensor, wrong: Tensor | None) -> float | None:
    return float(weights[wrong].mean()) if wrong is not None and bool(wrong.any()) else None


def _weight_net(trainings: Trainings, standing: Standing) -> WeightNet | None:
    """The weighting network at the end, if there is one."""
    module = trainings.module(standing)
    with torch.random.fork_rng(devices=[]):
        weighting = trainings.method.begin(module, uncompiled(torch.optim.SGD)(module.parameters(), 1.0))
        weighting.load_state_dict(standing.going["objective"]["weighting"])
    return weighting.net if isinstance(weighting, MetaWeightNet) else None


def _curve(net: WeightNet | None, left: dict[str, Tensor]) -> list[list[float]] | None:
    """Losses up to the greatest of an example, each with its weight."""
    if net is None:
        return None
    losses = torch.linspace(0, max(1.0, float(left["mean_losses"].max())), _POINTS).tolist()
    return [[loss, weight] for loss, weight in zip(losses, net.curve(losses), strict=True)]
