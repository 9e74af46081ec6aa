"""The rows in results/: what is kept of each, that nothing in them is of one machine, that the tables are theirs."""

import math
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from fphi.experiment.config import Config
from fphi.experiment.evaluation import EvaluationOptions, evaluate_run
from fphi.report.files import read_scores, read_tests
from fphi.report.results import summary_table, write_results
from fphi.run.disk.checkpoint import BEST
from fphi.run.disk.files import read_sealed

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "results"
RUNS = sorted(path.parent for path in RESULTS.glob("*/*/config.yaml"))
NAMES = [run.relative_to(RESULTS).as_posix() for run in RUNS]

each_run = pytest.mark.parametrize("run", RUNS, ids=NAMES)


def config_of(run: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    return config


def test_all_rows_are_here() -> None:
    assert len(RUNS) == len(set(NAMES)) >= 28
    assert sum(len(read_tests(run)) for run in RUNS) >= 46


@each_run
def test_a_folder_says_what_was_trained(run: Path) -> None:
    config = config_of(run)
    assert run.name == config["method"] or run.name.startswith(config["method"] + "-")
    assert run.parent.name == config["protocol"]
    start = config.get("start_from")
    if start is not None:
        assert not Path(start).is_absolute()
        assert (run / start / "config.yaml").is_file()
    allowed = {"config.yaml", "command.txt", "log.csv", "tests", BEST}
    assert {path.name for path in run.iterdir()} <= allowed


@each_run
def test_weights_are_kept_and_say_what_they_are_for(run: Path) -> None:
    _, content = read_sealed(run / BEST)
    assert isinstance(content, dict)
    note, config = content["note"], config_of(run)
    assert isinstance(note, dict)
    size = config.get("image_size", 28)
    expected = {"ways": config["ways"], "shots": config["shots"], "input_shape": [1, size, size]}
    setting = note["setting"]
    assert isinstance(setting, dict)
    # A pooled training has a number of classes too.
    assert {key: value for key, value in setting.items() if key != "classes"} == expected
    assert note.keys() - {"threads"} == {"step", "accuracy", "loss", "fingerprint", "setting"}
    assert (run / BEST).stat().st_size < 25_000_000


def test_no_two_rows_keep_the_same_weights() -> None:
    kept = [load_file(run / BEST) for run in RUNS if (run / BEST).is_file()]
    sums = [sum(float(tensor.double().sum()) for tensor in tensors.values()) for tensors in kept]
    assert len(set(sums)) == len(kept)


@each_run
def test_a_row_says_how_it_came_about(run: Path) -> None:
    tests = read_tests(run)
    assert tests
    for name, record in tests.items():
        assert record["protocol"] == run.parent.name
        assert record["method"] == config_of(run)["method"]
        assert record["command"].startswith(f"fphi train {record['method']} ")
        kept = read_scores(run, name)
        fewest = 20 if record.get("split") == "trials" else 600  # of the trials there are no more
        for kind, interval in record["accuracy"].items():
            values = kept[kind].double()
            assert len(values) == record["tasks"] >= fewest
            assert interval["mean"] == pytest.approx(float(values.mean()), abs=1e-9)
            half = 1.96 * float(values.std()) / math.sqrt(len(values))
            assert interval["ci95"] == pytest.approx(half, abs=1e-9)


@each_run
def test_there_are_two_accuracies_only_where_queries_share_statistics(run: Path) -> None:
    shared = config_of(run).get("norm") in ("query-batch", "support+1", "per-step")
    for name, record in read_tests(run).items():
        kinds = {"transductive", "inductive"} if shared else {"inductive"}
        assert record["accuracy"].keys() == kinds
        scores = read_scores(run, name)
        assert shared == ("transductive" in scores)
        assert not shared or not torch.equal(scores["transductive"], scores["inductive"])


def test_nothing_is_of_one_machine() -> None:
    texts = [path for path in RESULTS.rglob("*") if path.suffix in (".yaml", ".txt", ".json", ".csv", ".md")]
    assert len(texts) > 200
    path = re.compile(r"(?<![\w.)])/(work|home|root|tmp|Users|mnt|data|opt|var|usr)\b|[A-Z]:\\\\")
    found = {text.relative_to(ROOT).as_posix() for text in texts if path.search(text.read_text("utf-8"))}
    assert found == set()


def test_the_tables_are_those_of_the_rows() -> None:
    assert write_results(ROOT / "README.md", RESULTS, check=True) == []
    assert len(summary_table(RESULTS).splitlines()) <= 14


@each_run
def test_a_configuration_can_be_read(run: Path) -> None:
    config = Config.read(run)
    assert config.name == config_of(run)["method"]


TESTS = [(run, name) for run in RUNS if (run / BEST).is_file() for name in read_tests(run)]


@pytest.mark.data
@pytest.mark.parametrize(
    ("run", "name"), TESTS, ids=[f"{run.relative_to(RESULTS).as_posix()}/{name}" for run, name in TESTS]
)
def test_a_row_is_repeated_from_its_weights(run: Path, name: str) -> None:
    """The losses of the first tasks, of which no two are alike, and their accuracies."""
    if "FPHI_DATA" not in os.environ:
        pytest.skip("FPHI_DATA does not name a folder with Omniglot")
    record = read_tests(run)[name]
    count = 2 if record["method"] == "from-scratch" else 6  # which takes fifty steps on every task
    values: dict[str, Any] = {**record}
    other: dict[str, Any] = {key: values[key] for key in ("ways", "shots", "test_steps") if key in values}
    again = evaluate_run(
        run,
        EvaluationOptions(
            test_tasks=count,
            seed=record["seed"],
            split=record.get("split", "test"),
            turns=record.get("turns", 1),
            other=other,
        ),
    )
    kept = read_scores(run, name)
    torch.testing.assert_close(again.scores["loss"], kept["loss"][:count], rtol=1e-3, atol=1e-5)
    for kind in record["accuracy"]:
        differing = int((again.scores[kind] != kept[kind][:count]).sum())
        assert differing <= 1, (
            f"{kind}: {differing} of {count} tasks differ"
        )  # another machine rounds otherwise
