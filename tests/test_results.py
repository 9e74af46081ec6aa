"""The rows in results/ can be repeated: their weights give the values per task that are kept beside them."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fphi.cli.runs import load_run
from fphi.run import evaluate

# Their weights take more than a megabyte and are not kept; the command of the row makes them.
WITHOUT_WEIGHTS = {"lstm", "mann", "siamese", "snail"}
ROWS = sorted((Path(__file__).parent.parent / "results").glob("*/result.json"))


@pytest.mark.data
@pytest.mark.parametrize("path", ROWS, ids=lambda p: p.parent.name)
def test_a_row_is_repeated_from_its_weights(path: Path) -> None:
    if "FPHI_DATA" not in os.environ:
        pytest.skip("FPHI_DATA does not name a folder with Omniglot")
    result = json.loads(path.read_text(encoding="utf-8"))
    if result["method"] in WITHOUT_WEIGHTS:
        pytest.skip(f"the weights of {result['method']} take more than a megabyte and are not kept")
    _, learner, tasks = load_run(path.parent, seed=result["seed"])
    count = 5 if result["method"] == "from-scratch" else 20  # which takes fifty steps on every task
    found = evaluate(learner, tasks, count=count)
    kept = load_file(path.parent / "per_task.safetensors")
    for name in ("transductive", "inductive"):
        differing = int((found.per_task()[name] != kept[name][:count]).sum())
        assert differing <= 1, (
            f"{name}: {differing} of {count} tasks differ"
        )  # another machine rounds otherwise


@pytest.mark.parametrize("path", ROWS, ids=lambda p: p.parent.name)
def test_a_row_says_how_it_came_about(path: Path) -> None:
    result = json.loads(path.read_text(encoding="utf-8"))
    kept = load_file(path.parent / "per_task.safetensors")
    fewest = 20 if result.get("split") == "trials" else 600  # of the trials there are no more
    for name, interval in result["accuracy"].items():
        values = kept[name].double()
        assert len(values) == result["tasks"] >= fewest
        assert interval["mean"] == pytest.approx(float(values.mean()), abs=1e-9)
        assert interval["ci95"] == pytest.approx(1.96 * float(values.std()) / len(values) ** 0.5, abs=1e-9)
    assert result["command"].startswith("fphi train ")
    assert f"fphi train {result['method']}" in result["command"]
    assert ("--start-from" in result["command"]) == ("start" in result)
    weights = path.parent / "best.safetensors"
    assert weights.exists() == (result["method"] not in WITHOUT_WEIGHTS)
    assert not weights.exists() or weights.stat().st_size < 1_000_000
    assert torch.__version__.split("+")[0].split(".")[0] == result["versions"]["torch"].split(".")[0]
