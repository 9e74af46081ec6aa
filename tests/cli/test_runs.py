"""Training, testing, repeating, resuming and comparing runs through the command line."""

import json
import re
import shutil
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from cli_helpers import TINY, contents, evaluated, fphi, quietly, refused, save_images, trained
from fphi.cli import demo
from fphi.errors import FphiError
from fphi.experiment.config import Config
from fphi.experiment.loading import load
from fphi.methods.maml import MAML
from fphi.report.files import read_tests
from fphi.report.results import read_rows, results_csv
from fphi.report.runs import read_run
from fphi.run.disk.checkpoint import read_note, save_parameters
from fphi.run.meta.training import Training
from fphi.tasks.options import TaskOptions

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "maml")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "proto", "--train-ways", 5, method="prototypical")


def test_a_run_holds_its_full_configuration(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert list(config) == ["method", *(f.name for cls in (TaskOptions, Training, MAML) for f in fields(cls))]
    assert (config["method"], config["steps"], config["network"]) == ("maml", 3, "conv4-stride")
    assert contents(run).keys() >= {"last.safetensors", "best.safetensors", "log.csv", "command.txt"}
    assert (run / "best.safetensors").stat().st_size < 1_000_000


def test_evaluate_prints_one_json_object_and_keeps_it(run: Path, capsys: Capture) -> None:
    result = evaluated(capsys, run, "--test-tasks", 5)
    expected = {
        "method": "maml",
        "protocol": "alphabet",
        "ways": 5,
        "shots": 1,
        "queries": 1,
        "tasks": 5,
        "seed": 0,
    }
    assert {key: result[key] for key in expected} == expected
    seconds = result["budget"]["seconds"]
    assert result["budget"] == {"meta-steps": 3, "training tasks": 6, "seconds": seconds, "threads": 1}
    assert result["threads"] == torch.get_num_threads()
    assert [record["step"] for record in result["by_step"]] == [0, 1, 2, 3]
    assert result["by_step"][3]["accuracy"] == pytest.approx(result["accuracy"]["transductive"]["mean"])

    assert json.loads((run / "tests" / "5w1s.json").read_text()) == result == read_tests(run)["5w1s"]
    scores = load_file(run / "tests" / "5w1s.safetensors")
    for kind in ("transductive", "inductive"):
        values = scores[kind].double()
        assert values.shape == (5,)
        assert result["accuracy"][kind]["mean"] == pytest.approx(float(values.mean()))
        assert result["accuracy"][kind]["ci95"] == pytest.approx(float(1.96 * values.std() / 5**0.5))


def test_the_same_seed_gives_the_same_result_and_another_one_other_tasks(run: Path, capsys: Capture) -> None:
    first = evaluated(capsys, run, "--test-tasks", 5, "--seed", 3)
    assert evaluated(capsys, run, "--test-tasks", 5, "--seed", 3) == first
    assert evaluated(capsys, run, "--test-tasks", 5, "--seed", 4)["by_step"] != first["by_step"]
    in_chunks = evaluated(capsys, run, "--test-tasks", 5, "--seed", 3, "--chunk-size", 2)
    assert in_chunks["accuracy"] == first["accuracy"]
    assert in_chunks["loss"]["mean"] == pytest.approx(first["loss"]["mean"], rel=1e-4)


def test_by_step_goes_as_far_as_is_asked(run: Path, capsys: Capture) -> None:
    result = evaluated(capsys, run, "--test-tasks", 2, "--steps", 5)
    assert [record["step"] for record in result["by_step"]] == [0, 1, 2, 3, 4, 5]


def test_a_single_task_has_no_interval_and_json_no_infinity(run: Path, capsys: Capture) -> None:
    result = evaluated(capsys, run, "--test-tasks", 1)
    assert result["accuracy"]["inductive"]["ci95"] is None
    assert fphi("evaluate", run, "--test-tasks", 1) == 0
    assert "nan" not in capsys.readouterr().out


def test_development_tasks_leave_the_test_result_alone(run: Path, capsys: Capture) -> None:
    evaluated(capsys, run, "--test-tasks", 4)
    before = contents(run)
    development = evaluated(capsys, run, "--test-tasks", 4, "--split", "validation")
    assert development["by_step"] != json.loads(before["tests/5w1s.json"])["by_step"]
    assert contents(run) == before


def test_a_table_of_the_result(run: Path, capsys: Capture) -> None:
    assert fphi("evaluate", run, "--test-tasks", 4) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    assert {"maml", "alphabet", "5-way", "1-shot"} <= set(re.findall(r"[\w-]+", output))


def test_a_result_without_its_log_keeps_what_was_known_of_the_training(
    run: Path, tmp_path: Path, capsys: Capture
) -> None:
    """``results/`` holds configurations, weights and results, and ``fphi evaluate`` repeats the numbers."""
    result = evaluated(capsys, run, "--test-tasks", 3)
    (tmp_path / "tests").mkdir()
    for name in ("config.yaml", "best.safetensors", "tests/5w1s.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    assert evaluated(capsys, tmp_path, "--test-tasks", 3) == result


def test_the_same_command_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    again = trained(tmp_path / "again")
    for name in ("best.safetensors", "config.yaml"):
        assert (again / name).read_bytes() == (run / name).read_bytes()
    assert (trained(tmp_path / "other", "--seed", 1) / "best.safetensors").read_bytes() != (
        run / "best.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("written", ["--config", "command.txt"])
def test_a_run_s_configuration_repeats_it(written: str, run: Path, tmp_path: Path) -> None:
    words = ["train", "--config", str(run / "config.yaml")]
    if written == "command.txt":  # as no command was typed here, one that does the same
        said = (run / "command.txt").read_text().split()
        assert said[-2:] == ["--out", f"{run}-again"]
        assert said[1:-2] == words
    quietly(*words, "--out", tmp_path / "again")
    assert (tmp_path / "again" / "best.safetensors").read_bytes() == (run / "best.safetensors").read_bytes()


def test_the_command_line_overrides_the_configuration(run: Path, tmp_path: Path) -> None:
    quietly("train", "maml", "--config", run / "config.yaml", "--steps", 1, "--out", tmp_path / "run")
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (config["steps"], config["network"]) == (1, "conv4-stride")


def test_a_finished_run_that_is_resumed_stays_as_it_is(tmp_path: Path, capsys: Capture) -> None:
    """Numbers come back from the file as they went in, also a whole one for a rate."""
    run = trained(tmp_path / "run", "--inner-lr", 1, "--outer-lr", 1e-5)
    weights = (run / "best.safetensors").read_bytes()
    quietly("train", "maml", "--out", run, "--resume")
    quietly("train", "maml", f"--out={run}", "--resume", "--steps", 3, "--checkpoint-seconds", 1)
    assert (run / "best.safetensors").read_bytes() == weights
    evaluated(capsys, run, "--test-tasks", 2)


def test_what_was_given_more_steps_says_so_and_its_commands_repeat_it(
    tmp_path: Path, capsys: Capture
) -> None:
    run, again = trained(tmp_path / "run", steps=2), tmp_path / "run-again"
    quietly("train", "maml", "--out", run, "--resume", "--steps", 3)
    quietly("train", "maml", "--out", run, "--resume", "--steps", 5)
    commands = (run / "command.txt").read_text().splitlines()
    assert commands == [
        f"fphi train --config {run / 'config.yaml'} --out {again} --steps 2",
        f"fphi train maml --out {again} --resume --steps 3",
        f"fphi train maml --out {again} --resume --steps 5",
    ]
    for line in commands:
        quietly(*line.split()[1:])
    last, repeated = (load_file(folder / "last.safetensors") for folder in (run, again))
    assert all(torch.equal(last[name], repeated[name]) for name in last)
    result = evaluated(capsys, run, "--test-tasks", 2)
    assert result["command"] == " && ".join(commands)
    assert result["budget"]["extended after"] == [2, 3]
    assert fphi("train", "--config", run / "config.yaml", "--out", tmp_path / "other") == 0
    assert f"{run} was given more steps after 2, 3, and its learning rate" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--executor processes", "--seeds 4"])
def test_more_steps_that_are_refused_leave_the_run_as_it_is(
    words: str, tmp_path: Path, capsys: Capture
) -> None:
    run = trained(tmp_path / "run", steps=1)
    before = contents(run)
    refused(capsys, "train", "maml", "--out", run, "--resume", "--steps", 500, *words.split())
    assert contents(run) == before


def test_the_data_of_a_run_are_found_from_any_folder(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    run = trained(Path("runs/run"), "--data-root", "data", steps=1)
    config = run / "config.yaml"
    assert "data_root: ../../data" in config.read_text()
    before = Config.read(run.absolute())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert Config.read(tmp_path / run) == before
    assert before.part(TaskOptions).data_root == str(tmp_path / "data")
    quietly("train", "maml", "--out", tmp_path / run, "--resume")
    monkeypatch.chdir(tmp_path)
    config.write_text(config.read_text().replace("../../data", "data"))  # as fphi wrote it before
    assert Config.read(run) == before
    evaluated(capsys, run, "--test-tasks", 2)


def test_a_run_of_an_fphi_that_lacked_an_option_is_resumed_and_evaluated(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = Config.to_dict

    def before(config: Config) -> dict[str, object]:
        return {name: value for name, value in today(config).items() if name != "train_distortion"}

    with monkeypatch.context() as earlier:
        earlier.setattr(Config, "to_dict", before)
        run = trained(tmp_path / "run")
    assert "train_distortion" not in (run / "config.yaml").read_text()
    quietly("train", "maml", "--out", run, "--resume")
    evaluated(capsys, run, "--test-tasks", 2)
    assert "began without train_distortion, not with affine" in refused(
        capsys, "train", "maml", "--out", run, "--resume", "--train-distortion", "affine"
    )


def _accuracies(run: Path, on: str) -> Tensor:
    scores = load_file(run / "tests" / "5w1s.safetensors")
    return scores.get(on, scores["inductive"]).double()


def test_two_runs_are_compared_task_by_task(run: Path, other: Path, tmp_path: Path, capsys: Capture) -> None:
    for folder in (run, other):
        evaluated(capsys, folder, "--test-tasks", 5)
    for on in ("transductive", "inductive"):
        assert fphi("compare", run, other, "--on", on, "--html", tmp_path / "page.html") == 0
        output = capsys.readouterr().out
        first, second = (_accuracies(folder, on) for folder in (run, other))
        difference = f"{100 * float((second - first).mean()):+.2f}".replace("-", "−").replace("+0.00", "0.00")
        interval = f"{100 * float(1.96 * (second - first).std() / 5**0.5):.2f}"
        assert f"Differences ({on})" in output
        line = next(
            line for line in output.splitlines() if difference in line and "±" in line and "proto" in line
        )
        assert re.search(rf"proto .* maml .* {re.escape(difference)} ± {interval} .* 5 ", line)
        page = (tmp_path / "page.html").read_text()
        assert f"The same test tasks, {on} accuracy subtracted task by task" in page
        assert f"{difference} ± {interval}" in page


def test_a_run_without_a_result_is_tested_on_the_tasks_of_the_others(
    run: Path, other: Path, tmp_path: Path, capsys: Capture
) -> None:
    evaluated(capsys, run, "--test-tasks", 3, "--seed", 9)
    shutil.rmtree(other / "tests", ignore_errors=True)
    assert fphi("compare", other, run, "--markdown", tmp_path / "table.md") == 0
    written = (tmp_path / "table.md").read_text()
    assert written.startswith("**Accuracy on test tasks (%)**\n\n| Method |")
    assert "\n**Differences (inductive)**\n" in written
    result = read_tests(other)["5w1s"]
    assert (result["tasks"], result["seed"]) == (3, 9)


def test_a_test_that_is_named_is_made_as_another_run_has_it(
    other: Path, tmp_path: Path, capsys: Capture
) -> None:
    runs = [Path(shutil.copytree(other, tmp_path / name)) for name in ("one", "two")]
    for run in runs:
        shutil.rmtree(run / "tests", ignore_errors=True)
    assert "none of the runs has a test 7w1s-turns4" in refused(
        capsys, "compare", *runs, "--test", "7w1s-turns4"
    )
    words = ("--ways", 7, "--queries", 2, "--turns", 4, "--seed", 5)
    evaluated(capsys, runs[0], "--test-tasks", 3, *words)
    before = evaluated(capsys, runs[1], "--test-tasks", 4)
    quietly("compare", *runs, "--test", "7w1s-turns4")
    assert read_tests(runs[1]).keys() == {"5w1s", "7w1s-turns4"}
    assert read_tests(runs[1])["5w1s"] == before
    quietly("compare", *runs, "--test", "5w1s", "--test-tasks", 4)  # of their own sizes, one has it
    assert read_tests(runs[0])["5w1s"]["tasks"] == 4


def test_a_head_is_not_tested_at_other_sizes_for_a_comparison(
    run: Path, other: Path, tmp_path: Path, capsys: Capture
) -> None:
    evaluated(capsys, other, "--test-tasks", 3, "--ways", 7)
    mine = Path(shutil.copytree(run, tmp_path / "mine"))
    evaluated(capsys, mine, "--test-tasks", 3)
    before = contents(mine)
    assert "bound to that" in refused(capsys, "compare", other, mine, "--test", "7w1s")
    assert contents(mine) == before


@pytest.mark.parametrize("words", [("--ways", 7), ("--turns", 4)])
def test_a_run_with_another_test_alone_is_tested_at_its_own_sizes(
    words: tuple[object, ...], run: Path, other: Path, tmp_path: Path, capsys: Capture
) -> None:
    mine = Path(shutil.copytree(other, tmp_path / "mine"))
    shutil.rmtree(mine / "tests", ignore_errors=True)
    evaluated(capsys, mine, "--test-tasks", 2, *words)
    evaluated(capsys, run, "--test-tasks", 3)
    quietly("compare", mine, run)
    assert read_tests(mine)["5w1s"]["tasks"] == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--test-tasks", 3, "--seed", 1), "were tested on different tasks: seed is 0 and 1; evaluate both with the same seed"),
        (("--test-tasks", 2, "--seed", 0), "were tested on 3 and 2 tasks; evaluate both on the same number"),
    ],
)  # fmt: skip
def test_runs_tested_on_different_tasks_are_not_compared(
    words: tuple[object, ...], message: str, run: Path, other: Path, capsys: Capture
) -> None:
    evaluated(capsys, run, "--test-tasks", 3)
    evaluated(capsys, other, *words)
    assert refused(capsys, "compare", run, other).endswith(message)


def test_of_runs_with_several_test_sets_those_with_the_same_are_paired(
    run: Path, other: Path, tmp_path: Path, capsys: Capture
) -> None:
    for folder, seed in ((run, 0), (other, 1)):
        evaluated(capsys, folder, "--test-tasks", 3, "--seed", seed)
    third = shutil.copytree(other, tmp_path / "third")
    assert fphi("compare", run, other, third, "--markdown", tmp_path / "table.md") == 0
    every, pairs = (tmp_path / "table.md").read_text().split("**Differences")
    assert all(f" {folder.name} " in every for folder in (run, other, third))
    assert [line.split("|")[1:6:2] for line in pairs.splitlines() if "0.00" in line] == [
        [" third ", f" {other.name} ", " 3 "]
    ]
    capsys.readouterr()


def test_a_test_of_parameters_that_a_run_had_before_is_none_of_it(tmp_path: Path, capsys: Capture) -> None:
    run = trained(tmp_path / "run", steps=1)
    evaluated(capsys, run, "--test-tasks", 3)
    best = run / "best.safetensors"
    learner, note = load(run), read_note(best)
    next(learner.parameters()).data += 1
    save_parameters(best, learner, note)  # as a training does that is gone on with

    assert read_tests(run) == {}
    with pytest.raises(FphiError, match="no tests of the parameters that it has"):
        read_run(run)
    assert read_rows(tmp_path) == []
    assert results_csv(tmp_path).count("\n") == 1
    assert "5w1s.json is left out: it measured other parameters" in capsys.readouterr().err
    quietly("compare", run, "--test-tasks", 2)
    assert (read_tests(run)["5w1s"]["tasks"], len(read_rows(tmp_path))) == (2, 1)


def test_a_test_of_before_that_does_not_say_what_it_measured_counts(tmp_path: Path, capsys: Capture) -> None:
    run = trained(tmp_path / "run", steps=1)
    evaluated(capsys, run, "--test-tasks", 2)
    path = run / "tests" / "5w1s.json"
    record = json.loads(path.read_text())
    del record["parameters"]
    for mark, tests in (({}, 1), ({"parameters": "0" * 16}, 0)):
        path.write_text(json.dumps(record | mark))
        assert len(read_tests(run)) == tests
    (run / "best.safetensors").unlink()  # of a number alone, nobody can say that it is another's
    assert len(read_tests(run)) == 1


def test_regression_has_a_loss_and_no_accuracy(tmp_path: Path, capsys: Capture) -> None:
    run = tmp_path / "sine"
    words = ("--tasks", "sine", "--shots", 10, "--inner-lr", 0.01, "--out", run, "--steps", 3, *TINY)
    assert fphi("train", "maml", *words) == 0
    assert "accuracy" not in capsys.readouterr().out
    result = evaluated(capsys, run, "--test-tasks", 4)
    assert "accuracy" not in result
    assert (result["protocol"], result["ways"], result["shots"], result["queries"]) == ("sine", None, 10, 10)
    assert 0 < result["loss"]["mean"] < 100
    assert all(record.keys() == {"step", "loss"} for record in result["by_step"])
    assert fphi("evaluate", run, "--test-tasks", 4) == 0
    assert f"{result['loss']['mean']:.4f} ± {result['loss']['ci95']:.4f}" in capsys.readouterr().out
    assert fphi("compare", run, run) == 0
    assert "0.0000" in capsys.readouterr().out


def test_a_loss_that_has_overflowed_is_null(tmp_path: Path, capsys: Capture) -> None:
    run = tmp_path / "sine"
    words = ("--tasks", "sine", "--inner-lr", 0.9, "--inner-steps", 1, "--test-steps", 9, "--out", run)
    assert fphi("train", "maml", *words, "--steps", 1, *TINY) == 0
    assert evaluated(capsys, run, "--test-tasks", 4)["loss"]["mean"] is None
    assert fphi("evaluate", run, "--test-tasks", 4) == 0


def test_a_folder_of_images_is_a_data_set(tmp_path: Path, capsys: Capture) -> None:
    images = save_images(tmp_path / "images", classes=12, images=4, size=20)
    run = trained(tmp_path / "run", "--tasks", images, "--ways", 2, "--shots", 2, steps=1)
    result = evaluated(capsys, run, "--test-tasks", 3)
    assert (result["protocol"], Path(result["data"]).resolve()) == ("fraction", images.resolve())
    assert (result["ways"], result["shots"]) == (2, 2)


def test_the_demo_trains_tests_and_draws_three_methods(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ever, but for a smaller network and fewer tasks."""
    small = {"network": "conv4-stride", "meta_batch": 2, "validation_tasks": 2}
    parts = {name: {**part, **small} for name, part in demo._PARTS.items()}
    parts["from-scratch"] |= {"inner_steps": 2}
    monkeypatch.setattr(demo, "_PARTS", parts)
    monkeypatch.setattr(demo, "_TASKS", 4)
    words = ("demo", "--steps", 2, "--runs", tmp_path / "runs", "--out", tmp_path / "report.html")
    assert fphi(*words) == 0
    page, output = (tmp_path / "report.html").read_text(), capsys.readouterr().out
    for method in ("maml", "prototypical", "from-scratch"):
        assert f"To repeat {method}" in page
        assert method[:8] in output

    before = contents(tmp_path / "runs")
    assert fphi(*words) == 0  # nothing is trained or tested twice
    assert contents(tmp_path / "runs") == before
    capsys.readouterr()
    message = refused(capsys, *words, "--seed", 1)
    assert (
        message
        == f"{tmp_path / 'runs' / 'maml'} was trained with other options; repeat them, or choose another --runs"
    )

    shutil.rmtree(tmp_path / "runs" / "from-scratch" / "tests")  # stopped between training and testing
    assert fphi(*words) == 0
    assert contents(tmp_path / "runs").keys() == before.keys()


def test_a_metric_learner_is_tested_at_any_size(tmp_path: Path, capsys: Capture) -> None:
    run = trained(tmp_path / "run", "--train-ways", 5, method="prototypical", steps=1)
    first = evaluated(capsys, run, "--test-tasks", 2)
    result = evaluated(capsys, run, "--test-tasks", 2, "--ways", 7, "--shots", 3, "--queries", 2)
    assert (result["ways"], result["shots"], result["queries"]) == (7, 3, 2)
    assert read_tests(run) == {"5w1s": first, "7w3s": result}


def test_a_head_is_bound_to_the_ways_it_was_trained_with(run: Path, capsys: Capture) -> None:
    message = refused(capsys, "evaluate", run, "--ways", 7)
    assert message == "maml was trained with --ways 5 and is bound to that; train it with --ways 7"
    assert evaluated(capsys, run, "--test-tasks", 2, "--shots", 2)["shots"] == 2


def test_the_inner_steps_of_the_test_can_be_others(run: Path, tmp_path: Path, capsys: Capture) -> None:
    evaluated(capsys, run, "--test-tasks", 4)
    before = read_tests(run)
    result = evaluated(capsys, run, "--test-tasks", 4, "--test-steps", 6)
    assert result["test_steps"] == 6
    assert read_tests(run) == before | {"5w1s-steps6": result}
    by_step = evaluated(capsys, run, "--test-tasks", 4, "--steps", 6)["by_step"]
    assert result["by_step"] == by_step
    assert result["accuracy"]["transductive"]["mean"] == pytest.approx(by_step[6]["accuracy"])
    metric = trained(tmp_path / "metric", "--train-ways", 5, method="prototypical", steps=1)
    assert (
        refused(capsys, "evaluate", metric, "--test-steps", 6)
        == "prototypical has no option --test-steps; leave it out"
    )


def test_a_relative_folder_of_images_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    images = save_images(tmp_path / "images", classes=30, images=4)
    monkeypatch.chdir(tmp_path)
    out = trained(tmp_path / "run", "--tasks", images.name, "--ways", 2, steps=1)
    monkeypatch.chdir(out)
    assert Path(evaluated(capsys, out, "--test-tasks", 2)["data"]) == images
