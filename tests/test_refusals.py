"""Values that mean nothing are refused where they are given, by name, before anything is written."""

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cli_helpers import contents, evaluated, quietly, refused, trained
from fphi import MatchingLearner, PrototypicalLearner
from fphi.cli import search_problem
from fphi.errors import FphiError
from fphi.learnable import MemoryCore
from fphi.learnable.architecture import SPACES, NASBenchMacroSpace
from fphi.learnable.architecture.controller import LSTMController
from fphi.optimize import AgingEvolution, PolicyGradient, PolicyUpdate, RandomSearch, SearchOptimizer
from fphi.run.bilevel import BilevelPhase
from fphi.run.child_training import ChildTraining
from fphi.run.retrain import retrain
from search_helpers import TINY, TINY_DATA, searched

Capture = pytest.CaptureFixture[str]
SPACE = NASBenchMacroSpace()


def by_policy() -> SearchOptimizer:
    policy = LSTMController(SPACE, 0, hidden=4)
    return PolicyGradient(policy, torch.optim.SGD(policy.parameters(), 0.1))


@pytest.mark.parametrize(
    "make", [by_policy, lambda: AgingEvolution(SPACE, size=3, sample=2), lambda: RandomSearch(SPACE)]
)
def test_an_optimizer_learns_each_candidates_loss_once_and_no_other(
    make: Callable[[], SearchOptimizer],
) -> None:
    optimizer, other = make(), make()
    first, _, third = (optimizer.ask() for _ in range(3))
    for loss in (math.nan, math.inf):
        with pytest.raises(FphiError, match=r"the loss of candidate 0 is (nan|inf); tell a finite one"):
            optimizer.tell(first, loss)
    optimizer.tell(third, 0.5)
    with pytest.raises(FphiError, match="candidate 2 was told before"):
        optimizer.tell(third, 0.4)
    with pytest.raises(FphiError, match="candidate 2 was not asked for"):
        other.tell(third, 0.4)
    optimizer.tell(first, 0.1)
    assert SPACE.check(optimizer.ask().tokens)


def test_an_unknown_rule_is_none() -> None:
    with pytest.raises(FphiError, match="unknown rule 'trpo': choose one of reinforce, ppo"):
        PolicyUpdate("trpo")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SPACES)
def test_no_network_is_built_of_half_an_architecture(name: str) -> None:
    space = SPACES[name]()
    with pytest.raises(FphiError, match="too few for an architecture"):
        space.build((), (1, 16, 16), 10)


def test_a_token_is_a_whole_number() -> None:
    with pytest.raises(FphiError, match=r"token 1\.0 at place 0 is no answer"):
        SPACE.check([1.0] * 8)  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MatchingLearner(nn.Flatten(), distance="l1"), "distance='l1'.*euclidean or cosine"),  # type: ignore[arg-type]
        (lambda: PrototypicalLearner(nn.Flatten(), distance="l2"), "distance='l2'"),  # type: ignore[arg-type]
        (lambda: MatchingLearner(nn.Flatten(), scale=0), "scale=0"),
        (lambda: PrototypicalLearner(nn.Flatten(), batching="x"), "unknown batching 'x'"),  # type: ignore[arg-type]
        (lambda: MemoryCore(8, 5, heads=0), "heads=0.*at least 1"),
        (lambda: MemoryCore(8, 5, decay=5), "decay=5.*below 1"),
        (lambda: ChildTraining(clip_norm=-1), "clip_norm is -1"),
        (lambda: BilevelPhase(clip_norm=0), "clip_norm=0"),
        (lambda: BilevelPhase(momentum=-3), "momentum=-3"),
    ],
)
def test_values_out_of_range_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises((ValueError, FphiError), match=message):
        make()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train mann --heads -1", "mann cannot be set up so .*heads=-1"),
        ("train metric --scale -5", "scale=-5"),
        ("train prototypical --ways 1", "--ways is 1; it must be at least 2"),
        ("train prototypical --norm per-step", "--norm is 'per-step'; it must be one of query-batch"),
        ("train relation --train-ways 20", "--train-ways 20 needs --train-queries too"),
        ("train prototypical --train-ways 0", "--train-ways is 0, which leaves nothing to compare"),
        ("search enas --space enas-macro", "enas searches cells"),
        ("search enas-macro --skip-target 2", "skip_target"),
        ("search enas --controller-lr -1", "enas cannot be set up so .*learning rate: -1"),
        ("search darts --supernet-channels 0", "channels"),
        ("search reinforce --space nasbench-macro --lr -1", "reinforce cannot be set up so"),
        ("search nasnet --seed -3", "--seed is -3; it must be from 0"),
        ("search zoph-le --heights 2", r"--heights is '2'; it must be a list such as \[3,4\]"),
        ("search zoph-le --max-depth -1", "max_depth=-1"),
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
    assert evaluated(capsys, run, "--tasks", 1, "--ways", 155, "--queries", 1)["ways"] == 155
    assert evaluated(capsys, run, "--tasks", 1, "--shots", 19, "--queries", 1)["shots"] == 19
    said = refused(capsys, "evaluate", run, "--split", "exam")
    assert said == "there is no split 'exam' here; there are: train, validation, test"
    (tmp_path / "file").touch()
    assert "is there already" in refused(capsys, "evaluate", run, "--out", tmp_path / "file")


def test_the_limit_of_candidates_is_none_of_the_last_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings: list[ChildTraining] = []

    def noted(space: Any, tokens: Any, data: Any, training: ChildTraining, seed: int) -> Any:
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
        assert "result.json is damaged; delete it" in refused(capsys, *again)
    for file in ("result.json", "command.txt"):
        (run / file).unlink()
    quietly(*again)
    ended = json.loads((run / "result.json").read_text())
    assert {k: ended[k] for k in ("architecture", "evaluations")} == {
        k: result[k] for k in ("architecture", "evaluations")
    }
    said = refused(capsys, "evaluate", run)
    assert said == f"{run} is the directory of a search: give the --out of an fphi train"
    architecture = json.loads((run / "architecture.json").read_text())
    for shape in ("ab", [1], [1, 8, 0]):
        (run / "architecture.json").write_text(json.dumps(architecture | {"input_shape": shape}))
        assert "architecture.json is damaged" in refused(capsys, "build", run)
    (run / "architecture.json").unlink()
    assert "has not ended: go on with its --resume" in refused(capsys, "build", run)
    shutil.rmtree(run)
