"""Options that mean nothing are refused by name, before anything is written."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from cli_helpers import contents, evaluated, quietly, refused, trained
from fphi.experiment.search import problem as search_problem
from fphi.run.search.retrain import retrain
from fphi.within.training import NetworkTraining
from search_helpers import TINY, TINY_DATA, searched

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train mann --heads -1", "--heads is -1; it must be at least 1"),
        ("train metric --scale -5", "--scale is -5; it must be above 0"),
        ("train prototypical --ways 1", "--ways is 1; it must be at least 2"),
        ("train prototypical --norm per-step", "--norm is 'per-step'; it must be one of query-batch"),
        ("train relation --train-ways 20", "--train-ways 20 needs --train-queries too"),
        ("train prototypical --train-ways 0", "--train-ways is 0, which leaves nothing to compare"),
        ("search enas --space enas-macro", "enas searches cells"),
        ("search enas-macro --skip-target 2", "--skip-target is 2; it must be below 1"),
        ("search enas --steps 0", "--steps is 0; it must be at least 1"),
        ("search reinforce --space graphs", "choose the LSTM controller, as nasnet and zoph-le have it"),
        ("search enas --controller-lr -1", "--controller-lr is -1; it must be above 0"),
        ("search darts --supernet-channels 0", "channels"),
        ("search reinforce --space nasbench-macro --lr -1", "--lr is -1; it must be above 0"),
        ("search nasnet --seed -3", "--seed is -3; it must be at least 0"),
        ("search zoph-le --heights 2", r"--heights is '2'; it must be a list such as \[3,4\]"),
        ("search zoph-le --max-depth -1", "--max-depth is -1; it must be at least 0"),
    ],
)
def test_options_out_of_range_leave_nothing_behind(
    words: str, message: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = words.split()
    said = refused(capsys, *given, *(TINY_DATA if given[0] == "search" else ()))
    assert re.search(message, said)
    assert contents(tmp_path) == {}


def test_a_test_may_be_as_large_as_its_own_split(tmp_path: Path, capsys: Capture) -> None:
    """Hershey has 150 validation classes, 173 to test on, and 20 examples of each."""
    run = trained(tmp_path / "run", "--train-ways", 5, method="prototypical", steps=1)
    assert evaluated(capsys, run, "--test-tasks", 1, "--ways", 155, "--queries", 1)["ways"] == 155
    assert evaluated(capsys, run, "--test-tasks", 1, "--shots", 19, "--queries", 1)["shots"] == 19
    said = refused(capsys, "evaluate", run, "--split", "exam")
    assert said == "there is no split 'exam' here; there are: train, validation, test"


def test_the_limit_of_candidates_is_none_of_the_last_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings: list[NetworkTraining] = []

    def noted(space: Any, tokens: Any, data: Any, training: NetworkTraining, seed: int) -> Any:
        trainings.append(training)
        return retrain(space, tokens, data, training, seed)

    monkeypatch.setattr(search_problem, "retrain", noted)
    words = ("--evaluations", 1, "--child-limit-seconds", 1e3, "--retrain-epochs", 3)
    quietly("search", "random-search", *TINY, *words, "--out", tmp_path / "run")
    assert [(training.epochs, training.limit_seconds) for training in trainings] == [(3, None)]


def test_a_search_that_lost_its_notes_still_ends(tmp_path: Path, capsys: Capture) -> None:
    run = searched(tmp_path / "run")
    result = json.loads((run / "result.json").read_text())
    again = ("search", "regularized-evolution", "--out", run, "--resume")
    for damage in ("{", "[]", "{}"):
        (run / "result.json").write_text(damage)
        assert re.search(r"result\.json is damaged \(.+\); delete it", refused(capsys, *again))
    for file in ("result.json", "command.txt"):
        (run / file).unlink()
    quietly(*again)
    ended = json.loads((run / "result.json").read_text())
    assert {k: ended[k] for k in ("architecture", "evaluations")} == {
        k: result[k] for k in ("architecture", "evaluations")
    }
    said = refused(capsys, "evaluate", run)
    assert said == f"{run} is the directory of a search: give the --out of an fphi train of a learner"
    architecture = json.loads((run / "architecture.json").read_text())
    for shape in ("ab", [1], [1, 8, 0]):
        (run / "architecture.json").write_text(json.dumps(architecture | {"input_shape": shape}))
        assert "architecture.json is damaged" in refused(capsys, "build", run)
    (run / "architecture.json").unlink()
    assert "has found nothing yet: --resume goes on, or says why it cannot" in refused(capsys, "build", run)
    shutil.rmtree(run)
