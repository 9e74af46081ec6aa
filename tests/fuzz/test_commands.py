"""Command lines and configurations of any values: a run that is whole, or one line and nothing left behind."""

import contextlib
import io
import json
import math
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cli_helpers import TINY, fphi, quietly, the_error, trained
from experiments_helpers import SMALL as SMALL_EXPERIMENT
from experiments_helpers import SMALLER
from fphi.experiment.schema import Schema
from fphi.experiments.running import Asked
from fphi.methods.base import FewShotMethod
from fphi.methods.table import methods
from fuzzing import inputs, limited, tally

FEW_SHOT = sorted(name for name, cls in methods().items() if issubclass(cls, FewShotMethod))
SEARCHES = ("random-search", "regularized-evolution", "reinforce", "darts", "enas")
# Small where they are numbers: a large one is a large job, and no fault.
WORDS = [
    *("", " ", "-1", "0", "1", "2", "3", "0.5", "-0.5", "1e19", "1e300", "-1e300", "1e-300", "nan", "inf", "-inf"),
    *("null", "true", "false", "x" * 3000, "[1]", "[0.1, 0.2]", "{}", "{a: 1}", "1_0", "०", "10**9", "\x00", "\x1b[2J"),
    *("9" * 500, "9" * 5000, "../../nowhere", "a:b", "x.py:y", "query-batch", "running", "rgb", "grey", "conv4-stride"),
    *("none", "sine", "hershey", "euclidean", "cosine", "[" * 200, "!!python/object:os.system", "&a [*a]", "2s", "0s"),
]  # fmt: skip
VALUES = [
    *(None, True, False, -1, 0, 1, 2, 3, 10**9 + 1, 10**18, 10**30, 10**40, 0.5, -0.5, 1e300, 1e-300, math.nan, math.inf),
    *("", " ", "3", "x" * 3000, "\x1b[2J", "nowhere", "nan", "1e19", "null", [], [1], [0.1, "a"], [[1]], {}, {"a": 1}),
]  # fmt: skip
USUAL = ["1", "2", "3", "0.5", "0.1", "null", "true", "false", "2s"]
SHORT = ("--steps", "1", *TINY, "--ways", "2", "--queries", "1")
CHILDREN = (
    *("--space", "nasbench201", "--channels", "1", "--cells", "1", "--train-examples", "30", "--validation-examples"),
    *("20", "--test-examples", "20", "--retrain-epochs", "1", "--control", "false"),
)  # fmt: skip
FEW = {
    "child-epochs": 1,
    "epochs": 1,
    "evaluations": 2,
    "control-evaluations": 1,
    "supernet-channels": 1,
    "supernet-cells": 1,
}
# What would make a job large or a folder elsewhere, whatever else is said.
LAST = ("--max-time", "5s", "--threads", "1")


def options_of(method: str, command: str = "train", **names: str) -> list[str]:
    """All options in the words of the command line."""
    parser = Schema.named(method, **names).parser(command)
    return sorted({a.option_strings[0] for a in parser._actions if a.option_strings} - {"-h", "--help"})


OPTIONS = {name: options_of(name) for name in FEW_SHOT}
OF_SEARCHES = {
    name: [o for o in options_of(name, "search", space="nasbench201") if o not in ("--workers", "--executor")]
    for name in SEARCHES
}


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """One for each input, so that nothing is left of the one before."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def answer(target: str, *words: object) -> str | None:
    """The output of a command that succeeds; None of one that refuses in one line."""
    tally[target] += 1
    output, errors = io.StringIO(), io.StringIO()
    with limited(), contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = fphi(*words)
    if status == 0:
        return output.getvalue()
    tally[f"{target}, refused"] += 1
    assert status == 2, (status, words, errors.getvalue())
    *_, last = errors.getvalue().splitlines()
    the_error(f"{last}\n")
    assert len(last) < 2200
    return None


def require_sound(run: Path) -> None:
    """It can be tested, and its accuracy is one."""
    said = answer("evaluations of these", "evaluate", run, "--test-tasks", 2, "--json")
    assert said is not None
    record = json.loads(said, parse_constant=pytest.fail)
    assert math.isfinite(record["loss"]["mean"])
    assert all(0 <= part["mean"] <= 1 for part in record.get("accuracy", {}).values())


def require_free(run: Path) -> None:
    """The next try, with the mended option, is not kept out."""
    left = {path.name for path in run.glob("*")}
    assert not left & {"last.safetensors", "best.safetensors", "config.yaml", "log.csv"}


@st.composite
def chosen(draw: st.DrawFn, known: dict[str, list[str]]) -> tuple[str, list[str]]:
    """A method with other values for one or two of its options."""
    method = draw(st.sampled_from(sorted(known)))
    options = draw(st.lists(st.sampled_from(known[method]), min_size=1, max_size=2, unique=True))
    words = st.sampled_from(WORDS) | st.sampled_from(USUAL)
    return method, [f"{option}={draw(words)}" for option in options]


@inputs(60)
@given(asked=chosen(OPTIONS))
def test_trainings(asked: tuple[str, list[str]]) -> None:
    method, words = asked
    with folder() as place:
        small = ["--network=conv4-stride"] if "--network" in OPTIONS[method] else []
        small += ["--inner-steps=3"] if "--unroll" in OPTIONS[method] else []  # they take many by themselves
        told = answer("trainings", "train", method, "--out", place / "run", *SHORT, *small, *words, *LAST)
        if told is None:
            require_free(place / "run")
        else:
            require_sound(place / "run")


@inputs(12)
@given(asked=chosen(OF_SEARCHES))
def test_searches(asked: tuple[str, list[str]]) -> None:
    method, words = asked
    with folder() as place:
        short = [f"--{o}={n}" for o, n in FEW.items() if f"--{o}" in OF_SEARCHES[method]]
        out = ("--out", place / "run", *CHILDREN, *short)
        told = answer("searches", "search", method, *out, *words)
        if told is None:
            assert not (place / "run" / "result.json").exists()
        else:
            result = json.loads((place / "run" / "result.json").read_text(), parse_constant=pytest.fail)
            assert 0 <= result["validation_accuracy"] <= 1
            assert answer("networks of these", "build", place / "run")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = trained(tmp_path_factory.mktemp("fuzz") / "run", "--ways", 2, "--queries", 1, steps=1)
    quietly("evaluate", made, "--test-tasks", 2)
    return made


OTHERS = {
    "evaluate": ["--test-tasks", "--tasks", "--ways", "--shots", "--queries", "--seed", "--split", "--turns",
                 "--test-steps", "--steps", "--chunk-size", "--accelerator", "--method", "--network"],
    "compare": ["--test-tasks", "--test", "--on", "--html", "--markdown", "--method", "--tasks"],
    "draw": ["--index", "--classes", "--each", "--out", "--network"],
    "data": ["--data-root"],
}  # fmt: skip


@inputs(40)
@given(asked=chosen(OTHERS))
def test_other_commands(asked: tuple[str, list[str]], run: Path) -> None:
    command, words = asked
    with folder() as place, contextlib.chdir(place):
        shutil.copytree(run, place / "run")
        first = () if command == "data" else ("run",)
        few = ("--test-tasks", 2) if command == "evaluate" else ()
        told = answer(command, command, *first, *few, *words, *(["--json"] if command == "evaluate" else []))
        if told is not None and command == "evaluate":
            json.loads(told, parse_constant=pytest.fail)


SINE = (
    "--tasks=sine",
    "--steps=2",
    "--meta-batch=1",
    "--validate-every=1",
    "--validation-tasks=2",
    "--trials=2",
)
TUNED = [
    "outer_lr",
    "inner_lr",
    "inner_steps",
    "steps",
    "network",
    "schedule",
    "threads",
    "seed",
    "nothing",
    "",
]
RANGES = [
    "0.01:1",
    "0.01:1:log",
    "1,3,5",
    "1:0",
    "0:1:log",
    "nan:1",
    "1:1e300",
    ",",
    ":",
    "true,false",
    "1:2:3:4",
]
SIZES = ("steps", "meta_batch", "seeds", "test_tasks")  # which are large where nobody says how large
EXPERIMENTS = {name: Asked.parser(name) for name in ("sine", "inner-steps", "reptile-gradient", "stability")}
OF_EXPERIMENTS = {
    name: [
        a.option_strings[0]
        for a in parser._actions
        if a.option_strings and a.dest not in ("help", "out", *SIZES)
    ]
    for name, parser in EXPERIMENTS.items()
}


@inputs(12)
@given(data=st.data())
def test_tunings(data: st.DataObject) -> None:
    """Whatever is varied, and over whatever values: every trial is counted, and the best one is one of them."""
    varied, option = ("outer_lr", "0.01:1:log"), []
    match data.draw(st.sampled_from(["name", "values", "option", "both"])):
        case "name":
            varied = data.draw(st.sampled_from(TUNED)), varied[1]
        case "values":
            varied = varied[0], data.draw(st.sampled_from(RANGES) | st.sampled_from(WORDS))
        case "both":
            varied = data.draw(
                st.tuples(st.sampled_from(TUNED), st.sampled_from(RANGES) | st.sampled_from(WORDS))
            )
        case _:
            named = data.draw(st.sampled_from([*OPTIONS["maml"], "--trials", "--prune-after"]))
            option = [f"{named}={data.draw(st.sampled_from(WORDS) | st.sampled_from(USUAL))}"]
    with folder() as place:
        words = ("--vary={}={}".format(*varied), *SINE, *option, *LAST, "--json")
        told = answer("tunings", "tune", "maml", "--out", place / "run", *words)
        if told is not None:
            found = json.loads(told, parse_constant=pytest.fail)
            assert found["best"] in {trial["number"] for trial in found["trials"]}


@inputs(12)
@given(asked=chosen(OF_EXPERIMENTS))
def test_experiments(asked: tuple[str, list[str]]) -> None:
    name, words = asked
    with folder() as place:
        small = (*SMALL_EXPERIMENT, *SMALLER.get(name, ()))
        told = answer("experiments", "experiment", name, "--out", place / "run", *small, *words, "--json")
        if told is not None:
            json.loads(told, parse_constant=pytest.fail)


@inputs(40)
@given(data=st.data())
def test_configurations(data: st.DataObject, run: Path) -> None:
    """Trained from, not only read."""
    values: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text())
    for key in data.draw(st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=2, unique=True)):
        values[key] = data.draw(st.sampled_from(VALUES))
    with folder() as place:
        (place / "c.yaml").write_text(yaml.safe_dump(values))
        words = ("--config", place / "c.yaml", "--out", place / "run")
        told = answer("configurations", "train", *words, *LAST)
        if told is None:
            require_free(place / "run")
        else:
            require_sound(place / "run")
