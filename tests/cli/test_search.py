"""``fphi search`` and ``fphi build``: what they print and write, and what they refuse."""

import csv
import gzip
import json
import math
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import fphi as package
from cli_helpers import contents, fphi, quietly, refused
from fphi.learnable.architecture import SPACES, NASBenchMacroSpace
from fphi.methods import methods
from fphi.methods.families.searching import EpochwiseMethod, SearchMethod
from fphi.run.disk.directory import claim
from policy_helpers import everything
from search_helpers import EVOLUTION, TINY, TINY_DATA, events, result, searched, small_table
from waiting import Clock

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return searched(tmp_path_factory.mktemp("search") / "run")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_table(tmp_path_factory.mktemp("table"))


def printed(capsys: Capture, *words: object) -> dict[str, Any]:
    """The one JSON object that a search prints."""
    capsys.readouterr()
    assert fphi("search", *words, "--json") == 0
    output = capsys.readouterr().out
    assert output.count("\n") == 1
    content: dict[str, Any] = json.loads(output)
    return content


def test_random_search_on_a_table_is_its_closed_form(table: Path, capsys: Capture) -> None:
    """The best of n draws has at most the digit sum s with probability F(s)^n."""
    n, seeds = 5, 400
    counts = [0] * 17
    for tokens in everything(NASBenchMacroSpace()):
        counts[sum(tokens)] += 1
    below = [Fraction(sum(counts[: s + 1]), 6561) for s in range(17)]
    chances = [float(below[s] ** n - (below[s - 1] ** n if s else 0)) for s in range(17)]
    mean = sum(p * (50 + s) for s, p in enumerate(chances))
    deviation = math.sqrt(sum(p * (50 + s - mean) ** 2 for s, p in enumerate(chances)))
    words = ("random-search", "--space", "nasbench-macro", "--table", table, "--evaluations", n)
    record = printed(capsys, *words, "--seeds", seeds)
    assert record.keys() == {"method", "dataset", "seconds", "seeds", "test_accuracy", "evaluations"}
    assert (record["method"], record["seeds"], record["seconds"]) == ("random-search", seeds, None)
    assert record["evaluations"] == {"mean": n}
    assert abs(record["test_accuracy"]["mean"] - mean) < 3 * deviation / math.sqrt(seeds)
    assert record["test_accuracy"]["std"] == pytest.approx(deviation, rel=0.15)


def test_without_json_a_table_is_printed(table: Path, capsys: Capture) -> None:
    words = ("--space", "nasbench-macro", "--table", table, "--evaluations", 30, "--seeds", 3)
    quietly("search", "regularized-evolution", *words)
    assert fphi("search", "regularized-evolution", *words) == 0
    output = capsys.readouterr().out
    assert "regularized-evolution" in output
    assert "±" in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--evaluations 5 --seconds 5", r"--evaluations 5 and --seconds 5: give one of them"),
        (
            "--table TABLE",
            r"a search on a table needs a budget: give --seconds \(simulated\) or --evaluations",
        ),
        ("--table TABLE --seconds 5", r"TABLE knows no costs; give --evaluations in place of --seconds"),
        (
            "--table TABLE --evaluations 5 --dataset svhn",
            r"unknown data set 'svhn': NAS-Bench-Macro has cifar10",
        ),
        ("--table TABLE --evaluations 5 --seeds 0", r"--seeds is 0; it must be at least 1"),
        ("--table TABLE --evaluations 5 --out x", r"a search on a table leaves no directory; leave --out"),
        ("--table TABLE --evaluations 5 --executor processes", r"leave --executor and --workers out"),
        ("--dataset cifar10 --evaluations 5", r"--dataset is of a table: give --table too, or --data for"),
        (
            "--table TABLE --evaluations 5 --data mnist --child-epochs 3 --control true --seeds 2",
            r"a search on a table looks up .*; leave --data, --child-epochs, --control out",
        ),
        (
            "--table TABLE --evaluations 5 --retrain-epochs 10 --channels 8",
            r"--channels, --retrain-epochs out",
        ),
        ("--table no.json --evaluations 5", r"there is no table no.json; give the path of the file"),
        ("--evaluations 0", r"--evaluations is 0; it must be at least 1"),
        ("--evaluations few", r"--evaluations is 'few'; it must be a whole number"),
        ("--seconds -1", r"--seconds is -1; it must be above 0"),
        ("--population 0", r"--population is 0; it must be at least 1"),
        ("--channels 0", r"channels=0, features=128: both must be at least 1"),
        ("--child-epochs 0", r"--child-epochs is 0; it must be at least 1"),
        ("--retrain-epochs 0", r"--retrain-epochs is 0; it must be at least 1"),
        ("--data nowhere", r"data 'nowhere' are neither digits, .*nor an existing folder or zip"),
        ("--train-examples 5", r"5 training examples of digits leave class"),
        ("--layerz 5", r"unrecognized arguments: --layerz 5; see fphi search regularized-evolution --help"),
        ("--executor cloud", r"--executor is 'cloud'; it must be one of in-process, processes, ray"),
        ("--workers 0 --executor processes", r"--workers is 0; it must be at least 1"),
        ("--workers 2", r"2 workers in one process: choose the executor processes or ray"),
        ("--method reinforce", r"--method is 'reinforce' and 'regularized-evolution': give it once"),
        (
            "--resume",
            r"there is no run to resume in runs/regularized-evolution \(no config.yaml\); check the folder",
        ),
        ("--config no.yaml", r"cannot read no.yaml: .*No such file"),
    ],
)
def test_a_wrong_search_says_what_is_wrong_and_writes_nothing(
    words: str, message: str, table: Path, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = words.replace("TABLE", str(table)).split()
    said = refused(capsys, "search", "regularized-evolution", "--space", "nasbench-macro", *given)
    assert re.search(message.replace("TABLE", re.escape(str(table))), said)
    assert contents(tmp_path) == {}


def test_unknown_methods_and_spaces_are_answered_with_the_known_ones(capsys: Capture) -> None:
    assert re.search(
        r"unknown method 'darwin': choose one of .*random-search", refused(capsys, "search", "darwin")
    )
    said = refused(capsys, "search", "reinforce", "--space", "outer")
    assert re.search(r"unknown space 'outer': choose one of nasbench201, nasbench-macro", said)
    assert "the method comes first" in refused(capsys, "search", "--space", "nasbench201")
    said = refused(
        capsys, "search", "random-search", "--space", "enas-micro", "--table", "x", "--evaluations", 1
    )
    assert "the space enas-micro has no table: nasbench201 and nasbench-macro have" in said


def test_damaged_tables_are_refused(tmp_path: Path, table: Path, capsys: Capture) -> None:
    words = ("search", "random-search", "--evaluations", 2, "--table", tmp_path / "t", "--space")
    cases: dict[bytes, str] = {
        b"[]": "is no table of NAS-Bench-Macro ('list' object has no attribute 'items')",
        b'{"0000": {}}': "is no table of NAS-Bench-Macro (no 'test_acc')",
        b'{"0000": {"test_acc": [1], "params": 1}}': "'0000' is no network of NAS-Bench-Macro",
        small_table(tmp_path, changed=1).read_bytes(): "has 6560 of 6561 architectures; fetch it again",
        gzip.compress(table.read_bytes())[:-1]: "cannot be read (Compressed file ended",
        b"\xff": "cannot be read ('utf-8'",
    }
    for raw, expected in cases.items():
        (tmp_path / "t").write_bytes(raw)
        assert expected in refused(capsys, *words, "nasbench-macro")
    (tmp_path / "t").write_text("arch_str,c10_test200\nx,1\n")
    assert "is no table of NAS-Bench-201 (no " in refused(capsys, *words, "nasbench201")


def test_a_search_leaves_one_directory(run: Path) -> None:
    assert {path.name for path in run.iterdir()} >= {
        "config.yaml", "command.txt", "history.jsonl", "history.csv", "random.jsonl", "random.csv", "result.json",
        "architecture.json", "architecture.png", "search.png", "best.safetensors",
    }  # fmt: skip
    with (run / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    told = [event for event in events(run / "history.jsonl") if "told" in event]
    assert [float(row["loss"]) for row in rows] == [event["loss"] for event in told]
    assert [float(row["best"]) for row in rows] == [
        min(e["loss"] for e in told[: i + 1]) for i in range(len(told))
    ]
    assert {"number", "seconds", "failure", "parent", "text", "parameters", "population_loss"} <= rows[
        0
    ].keys()
    assert [row["parent"] == "" for row in rows] == [True] * 3 + [False] * 5
    for picture in ("architecture.png", "search.png"):
        assert (run / picture).read_bytes().startswith(b"\x89PNG")


def test_the_result_says_what_was_compared(run: Path) -> None:
    said = result(run)
    best = max(
        (e for e in events(run / "history.jsonl") if "told" in e), key=lambda e: (1 - e["loss"], -e["told"])
    )
    assert said["validation_accuracy"] == 1 - best["loss"]
    assert (said["evaluations"], said["control"]["evaluations"]) == (8, 8)
    assert said["control"]["budget"] == "8 evaluations"
    assert said["examples"] == {"train": 100, "validation": 60, "test": 50}
    settings = said["settings"]
    assert (settings["method"], settings["child"]["epochs"], settings["evaluations"]) == (
        said["method"],
        2,
        8,
    )
    assert not {"seed", "out", "workers"} & settings.keys()
    for search in (said, said["control"]):
        assert (search["retrained"]["test_accuracy"] * 50) % 1 == pytest.approx(0)
    assert {"torch", "fphi"} <= said["versions"].keys()
    assert said["command"] == f"fphi train --config {run / 'config.yaml'} --out {run}-again"


def test_a_budget_that_teaches_nothing_is_no_secret(tmp_path: Path, capsys: Capture) -> None:
    words = ("--control", "false", "--population", 2, "--evaluations", 2)
    assert fphi("search", "large-scale-evolution", "--out", tmp_path / "run", *TINY, *words) == 0
    assert "nothing is learned in this search: the first 2 candidates" in capsys.readouterr().err


def test_no_candidate_is_tested(run: Path) -> None:
    """The test data are used by the retrained networks alone."""
    for file in ("history.jsonl", "random.jsonl"):
        assert "test" not in (run / file).read_text()


def test_build_gives_the_network_that_was_tested(run: Path, tmp_path: Path, capsys: Capture) -> None:
    module = package.load(run)
    assert not module.training
    from fphi.tasks.supervised import load_supervised

    data = load_supervised("digits", train=100, validation=60, test=50, seed=0)
    with torch.no_grad():
        right = int((module(data.test.x).argmax(-1) == data.test.y).sum())
    assert right / 50 == result(run)["retrained"]["test_accuracy"]
    assert data.levels is not None
    images = (data.test.x * data.levels[1] + data.levels[0]).round().byte()
    with torch.no_grad():
        assert torch.equal(package.load(run, images=True)(images), module(data.test.x))
    assert fphi("build", run, "--out", tmp_path / "weights.safetensors") == 0
    assert (
        f"{result(run)['retrained']['parameters']:,} parameters, from 1 x 8 x 8 to 10"
        in capsys.readouterr().out
    )
    state = load_file(tmp_path / "weights.safetensors")
    assert all(torch.equal(state[name], tensor) for name, tensor in module.state_dict().items())


def test_build_refuses_what_is_no_search(run: Path, tmp_path: Path, capsys: Capture) -> None:
    assert (
        refused(capsys, "build", tmp_path / "x")
        == f"{tmp_path / 'x'} is no folder: give the --out of an fphi search"
    )
    assert "holds no architecture (no architecture.json)" in refused(capsys, "build", tmp_path)
    architecture = json.loads((run / "architecture.json").read_text())
    damages = ({"tokens": [5]}, {"space": "x"}, {"options": {"x": 1}}, {"tokens": 1})
    for change in damages:
        (tmp_path / "architecture.json").write_text(json.dumps(architecture | change))
        assert "architecture.json is damaged" in refused(capsys, "build", tmp_path), change
    (tmp_path / "architecture.json").write_text(json.dumps(architecture))
    assert "there is no" in refused(capsys, "build", tmp_path)
    assert contents(tmp_path).keys() == {"architecture.json"}


def test_the_configuration_repeats_the_search(run: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    quietly("search", "regularized-evolution", "--config", run / "config.yaml", "--out", again)
    for file in ("history.jsonl", "random.jsonl"):
        assert events(again / file) == events(run / file)
    for file in ("config.yaml", "architecture.json", "best.safetensors"):
        assert (again / file).read_bytes() == (run / file).read_bytes()
    assert yaml.safe_load((run / "config.yaml").read_text())["features"] == 4


def test_a_search_that_ended_is_told_again_and_not_repeated(run: Path, capsys: Capture) -> None:
    before = contents(run)
    assert printed(capsys, "regularized-evolution", "--out", run, "--resume") == result(run)
    assert contents(run) == before
    for words, message in (
        (("--sample", 3), "began with sample 2, not 3; resume it without --sample"),
        (
            ("--space", "nasbench201"),
            "began with space nasbench-macro, not nasbench201; resume it without --space",
        ),
    ):
        assert message in refused(capsys, "search", "regularized-evolution", "--out", run, "--resume", *words)
    assert "is a run of regularized-evolution, not reinforce" in refused(
        capsys, "search", "reinforce", "--out", run, "--resume"
    )
    said = refused(capsys, "search", "regularized-evolution", "--out", run, *TINY)
    assert said.endswith("already holds a run (config.yaml); choose another folder, or go on with --resume")
    assert contents(run) == before


def test_a_folder_in_which_another_process_works_stays_its_own(tmp_path: Path, capsys: Capture) -> None:
    with claim(tmp_path, resume=False):
        assert "another process is" in refused(capsys, "search", "random-search", "--out", tmp_path, *TINY)
    assert contents(tmp_path) == {".lock": b""}


def test_random_search_needs_no_control(tmp_path: Path) -> None:
    quietly("search", "random-search", "--out", tmp_path / "random", *TINY)
    assert result(tmp_path / "random")["control"] is None
    searched(tmp_path / "alone", "--control", "false")
    assert result(tmp_path / "alone")["control"] is None
    assert not (tmp_path / "alone" / "random.jsonl").exists()


def test_weights_are_kept_of_those_alone_who_may_have_heirs(tmp_path: Path) -> None:
    words = (
        *TINY_DATA,
        "--child-epochs",
        1,
        "--child-batch-size",
        50,
        "--retrain-epochs",
        1,
        "--population",
        3,
    )
    quietly("search", "large-scale-evolution", "--out", tmp_path, *words, "--evaluations", 9)
    asked = [event for event in events(tmp_path / "history.jsonl") if "asked" in event]
    assert any(event.get("parent") is not None for event in asked)
    kept = {int(path.stem) for path in (tmp_path / "weights").iterdir()}
    # Every child that is born takes the place of one that died, and there were three.
    assert len(kept) == 3
    assert kept < set(range(9))


def test_the_control_draws_networks_as_deep_as_the_search(tmp_path: Path) -> None:
    words = (*TINY_DATA, "--child-epochs", 1, "--child-batch-size", 50, "--retrain-epochs", 1)
    depths = ("--depth", 2, "--depth-step", 1, "--depth-every", 2, "--max-depth", 4, "--evaluations", 6)
    quietly("search", "zoph-le", "--out", tmp_path, *words, *depths)
    for name in ("history.csv", "random.csv"):
        with (tmp_path / name).open(newline="", encoding="utf-8") as file:
            found = [row["text"].count("|") + 1 for row in csv.DictReader(file)]
        assert found == [2, 2, 3, 3, 4, 4]


def test_candidates_that_cannot_be_trained_are_on_record(tmp_path: Path, capsys: Capture) -> None:
    words = (*TINY, *EVOLUTION, "--child-lr", 1000, "--child-weight-decay", 1000, "--child-clip-norm", "null")
    assert fphi("search", "regularized-evolution", "--out", tmp_path, *words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.search(
        r"none of 8 candidates of regularized-evolution could be trained; the first: diverged", said
    )
    assert all(event["failure"] for event in events(tmp_path / "history.jsonl") if "told" in event)


def test_candidates_whose_time_is_up_need_a_longer_limit(
    tmp_path: Path, capsys: Capture, clock: Clock
) -> None:
    clock.tick = 0.5
    words = (*TINY, "--evaluations", 2, "--child-limit-seconds", 0.25)
    assert fphi("search", "random-search", "--out", tmp_path, *words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "out of time: 0.25 s were over in epoch 1 of 2; search anew in another folder" in said
    assert "with a longer --child-limit-seconds" in said


@pytest.mark.parametrize(
    "method", [name for name, cls in methods().items() if issubclass(cls, SearchMethod | EpochwiseMethod)]
)
@pytest.mark.parametrize("space", sorted(SPACES))
def test_every_pair_has_options_of_its_own(method: str, space: str, capsys: Capture) -> None:
    """No two parts of a search have an option of one name."""
    with pytest.raises(SystemExit):
        fphi("search", method, "--space", space, "--help")
    assert "--child-epochs" in capsys.readouterr().out
