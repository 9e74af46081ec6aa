"""Every number of an option has a range, and every text says something; messages are short."""

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fphi
from cli_helpers import refused, save_images
from fphi import FphiError, adam, learned_rate, sgd, train
from fphi.experiment.config import Config
from fphi.experiment.evaluation import EvaluationOptions
from fphi.experiment.parser import fields_of
from fphi.experiment.search.options import BudgetOptions, MetaOptions, RetrainOptions
from fphi.learnable.architecture import SPACES, NASBenchMacroSpace
from fphi.methods.meta_sgd import MetaSGD
from fphi.methods.table import methods
from fphi.run.meta.training import Training
from fphi.tasks.options import TaskOptions
from fphi.within.training import NetworkTraining

OPTIONS = [*methods().values(), *SPACES.values(), Training, TaskOptions, NetworkTraining]
OPTIONS += [BudgetOptions, MetaOptions, RetrainOptions, EvaluationOptions]
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("value", [10**19, 10**400, -(10**19), 1e300, -1e300, math.nan, math.inf, -math.inf])
def test_no_number_is_without_bounds(options: type, value: float) -> None:
    numbers = [f for f in fields(options) if "int" in str(f.type) or "float" in str(f.type)]
    for field in numbers:
        if field.name == "seed" and 0 <= value < 2**64:
            continue
        with pytest.raises(FphiError, match=rf"^--{field.name.replace('_', '-')} is .*; it must be ") as told:
            fields_of(options, {field.name: value})
        assert len(str(told.value)) < 200


@pytest.mark.parametrize(
    "options", [*methods().values(), Training, TaskOptions], ids=lambda cls: cls.__name__
)
def test_an_empty_text_is_none(options: type) -> None:
    for field in fields(options):
        if "str" in str(field.type):
            for empty in ("", "  "):
                with pytest.raises(FphiError, match="is empty; give it a value, or leave it out"):
                    fields_of(options, {field.name: empty})


def test_every_default_is_within_its_range() -> None:
    for options in OPTIONS:
        fields_of(options, {})


def test_sizes_of_the_papers_are_within_their_ranges() -> None:
    assert fields_of(NASBenchMacroSpace, {"channels": 32, "features": 1280}).features == 1280


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train maml --steps 10000000000000000000", "--steps is 10000000000000000000; it must be at most"),
        ("train maml --outer-lr 1e300", "--outer-lr is 1e+300; it must be at most 1000"),
        ("train reptile --epsilon inf", "--epsilon is 'inf'; it must be a number"),
        ("train maml --image-size 100000", "--image-size is 100000; it must be at most 1024"),
        ("train maml --ways 1000000000000", "--ways is 1000000000000; it must be at most 10000"),
        ("evaluate run --test-tasks 1000000000000", "--test-tasks is 1000000000000; it must be at most"),
        ("search random-search --child-lr nan", "--child-lr is 'nan'; it must be a number"),
        ("search random-search --cells 1000000", "--cells is 1000000; it must be at most 1024"),
        ("compare run run --test-tasks 1000000000000", "--test-tasks is 1000000000000"),
        ("train maml --tasks=", "an argument is empty; give it a value"),
    ],
)
def test_the_command_line_says_so(words: str, message: str, capsys: Capture) -> None:
    assert message in refused(capsys, *words.split())


@pytest.mark.parametrize("words", [("train", ""), ("train", "maml", "--out", ""), ("data", " ")])
def test_an_empty_name_is_no_name(words: tuple[str, ...], capsys: Capture) -> None:
    assert "an argument is empty" in refused(capsys, *words)


def test_neither_is_it_in_python() -> None:
    with pytest.raises(FphiError, match="out is empty"):
        train("maml", out="")


def test_a_low_bound_is_not_above_the_high_one() -> None:
    for make in (lambda: learned_rate((0.2, 0.1)), lambda: MetaSGD(rate_low=0.3, rate_high=0.1)):
        with pytest.raises(FphiError, match=r"lowest first rate is 0\.\d and the highest 0\.1"):
            make()


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_rates_of_inner_optimizers_are_numbers(bad: float) -> None:
    for make in (lambda: sgd(bad), lambda: adam(bad), lambda: sgd(0.1, bad), lambda: adam(0.1, (0.9, bad))):
        with pytest.raises(FphiError, match="it must be"):
            make()


def test_messages_are_short_whatever_was_given(capsys: Capture) -> None:
    for words in (("train", "x" * 10**5), ("train", "maml", "--ways", "9" * 10**5), ("data", "a b" * 10**4)):
        assert len(refused(capsys, *words)) < 2500


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ways": "5"}, "--ways is '5'; it must be a whole number"),
        ({"shots": 1.0}, "--shots is 1; it must be a whole number"),
        ({"ways": None}, "--ways is None; it must be a whole number"),
        ({"ways": True}, "--ways is True; it must be a whole number"),
        ({"queries": [1]}, r"--queries is \[1\]; it must be a whole number or None"),
        ({"data_root": 3}, "--data-root is 3; it must be a text or None"),
        ({"mode": "grau"}, "--mode is 'grau'; it must be one of grey, rgb"),
        ({"train_on_validation": 1}, "--train-on-validation is 1; it must be True or False"),
        ({"splits": "test"}, "splits is 'test'; it must be a tuple or a list"),
        ({"splits": []}, r"splits is \[\]; it must be a list of names"),
        ({"splits": [1]}, r"splits is \[1\]; it must be of entries that are each a text"),
    ],
)
def test_an_option_of_python_is_of_its_type(options: dict[str, Any], message: str) -> None:
    with pytest.raises(FphiError, match=f"^{message}"):
        fphi.load_tasks("hershey", **options)


def test_paths_and_numbers_of_numpy_are_options(tmp_path: Path) -> None:
    images = save_images(tmp_path / "images", 8, 3)
    small: dict[str, Any] = {"meta_batch": np.int64(1), "validation_tasks": 2, "network": "mlp"}
    run, rate = tmp_path / "run", np.float32(0.25)
    where: dict[str, Any] = {"out": run, "tasks": images, "data_root": tmp_path}
    fphi.train("maml", steps=1, ways=2, seed=np.int64(3), inner_lr=rate, **where, **small)
    begun = Config.read(run).to_dict()
    assert (begun["tasks"], begun["data_root"], begun["seed"], begun["inner_lr"]) == (
        *(str(images), str(tmp_path)), *(3, 0.25),
    )  # fmt: skip
    tested = fphi.evaluate(run, images, data_root=tmp_path, test_tasks=np.int64(2))
    assert tested == fphi.evaluate(run, test_tasks=2)
    from_it: dict[str, Any] = {"start_from": run, "tasks": images, "ways": 2, **small}
    fphi.train("maml", out=tmp_path / "next", steps=1, **from_it)
    assert fphi.load_tasks(images, ways=2).ways == 2
    with pytest.raises(FphiError, match=r"^tasks is 5; it must be a text or a path"):
        fphi.train("maml", tasks=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, "0.1", [0.1], True, {}, b"1"])
def test_a_rate_is_a_number(value: Any) -> None:
    with pytest.raises(FphiError, match=r"^lr is .*; it must be a number$"):
        fphi.sgd(value)


@pytest.mark.parametrize("value", [np.float32(0.5), np.float64(0.5), np.int64(1)])
def test_numbers_of_numpy_are_numbers(value: Any) -> None:
    fphi.sgd(value)


@pytest.mark.parametrize("value", [None, 3, b"runs", []])
def test_a_run_is_named_by_its_path(value: Any) -> None:
    for call in (fphi.load, fphi.evaluate):
        with pytest.raises(FphiError, match=r"it must be a path|neither a learner nor a path"):
            call(value)


@pytest.mark.parametrize("word", ["--out=", "--out= ", "--tasks=\t", "--method=\n"])
def test_neither_is_one_of_spaces(word: str, capsys: Capture) -> None:
    assert refused(capsys, "train", "maml", word).startswith("an argument is empty")
