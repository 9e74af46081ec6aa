"""Runs of MAML++, NIL and implicit MAML: paused and gone on with they end with the same bits; and starts."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import fphi
from cli_helpers import SMALL, evaluated, quietly, refused, trained
from fphi.run.meta.training import TrainingResult

OPTIONS: dict[str, dict[str, Any]] = {
    "maml++": {"inner_steps": 2, "multi_step": 0.6, "first_order": 0.6},
    "nil": {"inner_steps": 2},
    "imaml": {"inner_steps": 2, "solver_steps": 1},
}
QUICK: dict[str, Any] = {"meta_batch": 1, "validation_tasks": 2, "threads": 1, "network": "conv4-stride"}


@pytest.mark.parametrize("method", OPTIONS)
def test_a_paused_run_ends_with_the_bits_of_one_in_one_go(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    fphi.train(method, out=whole, steps=3, **QUICK, **OPTIONS[method])
    with monkeypatch.context() as stopping:
        stopping.setattr("fphi.run.disk.interrupt.Interrupt.requested", True)
        paused = fphi.train(method, out=parts, steps=3, **QUICK, **OPTIONS[method])
    assert isinstance(paused, TrainingResult)
    assert (paused.step, paused.interrupted) == (1, True)
    fphi.train(method, out=parts, resume=True)
    one, other = (load_file(out / "last.safetensors") for out in (whole, parts))
    learned = [name for name in one if "network" in name or "optimizer" in name]
    assert learned
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in learned)


def test_nil_begins_with_the_parameters_of_a_run_of_anil(tmp_path: Path) -> None:
    anil = trained(tmp_path / "anil", "--inner-steps", 1, method="anil", steps=1)
    nil = tmp_path / "nil"
    quietly("train", "nil", "--out", nil, "--steps", 1, "--start-from", anil, "--outer-lr", 1e-12, *SMALL)
    before, after = (fphi.load(run).state_dict() for run in (anil, nil))
    assert before.keys() == after.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=1e-10)


@pytest.mark.parametrize("method", ["anil", "reptile", "meta-sgd"])
def test_a_run_of_a_gradient_learner_is_tested_as_nil_as_it_is(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the features of its network answer, and nothing is kept."""
    run = trained(tmp_path / "run", "--inner-steps", 1, method=method, steps=1)
    found = evaluated(capsys, run, "--method", "nil", "--test-tasks", 4)
    learner = fphi.load(run)
    assert isinstance(learner, fphi.GradientLearner)
    tasks = fphi.load_tasks("hershey", ways=5, shots=1)
    alone = fphi.evaluate(fphi.NILLearner.of(learner), tasks, count=4)
    assert found["accuracy"]["transductive"]["mean"] == pytest.approx(float(alone.transductive.mean()))
    assert found["method"] == f"{method} as nil"
    assert not (run / "tests").exists()
    again = fphi.evaluate(run, method="nil", test_tasks=4, executor="processes", workers=1)
    assert again["accuracy"] == found["accuracy"]


def test_what_has_no_features_of_its_own_is_not_tested_as_nil(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few: dict[str, Any] = {"steps": 1, "meta_batch": 1, "validation_tasks": 1, "threads": 1}
    fphi.train("prototypical", out=tmp_path / "compares", network="conv4-stride", **few)
    fphi.train("tuned-optimizer", out=tmp_path / "rule", tasks="quadratics", inner_steps=1, **few)
    fphi.train("maml", out=tmp_path / "waves", tasks="sine", **few)
    for name, own in (("compares", "prototypical"), ("rule", "tuned-optimizer"), ("waves", "maml")):
        said = refused(capsys, "evaluate", tmp_path / name, "--method", "nil")
        assert said == f"--method is 'nil', and {tmp_path / name} was trained with {own}; leave it out"


def test_the_statistics_of_each_step_are_kept_and_answer_alone(tmp_path: Path) -> None:
    words: dict[str, Any] = {"inner_steps": 2, "norm": "per-step-running", "network": "conv4-stride"}
    fphi.train("maml++", out=tmp_path, steps=1, meta_batch=1, validation_tasks=2, threads=1, **words)
    kept = load_file(tmp_path / "best.safetensors")
    means = [value for name, value in kept.items() if "running_mean" in name]
    assert len(means) == 4
    assert all(mean.shape == (3, 64) and bool((mean.abs().sum(1) > 0).all()) for mean in means)
    learner = fphi.load(tmp_path)
    assert isinstance(learner, fphi.LearningAlgorithm)
    x, y = torch.rand(1, 5, 1, 28, 28), torch.arange(5)[None]
    assert not learner.shares_queries(fphi.Examples(x, y), x)
