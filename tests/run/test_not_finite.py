"""Weights that are nan or infinite are neither kept nor loaded, whenever they became so."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fphi import FphiError, train
from fphi.learnable import LEOLearner
from fphi.networks.pairs import PairEncoder
from fphi.objective.meta_gradient import mean_of_tasks
from fphi.optimize import GradientDescent
from fphi.run.disk.checkpoint import load_parameters, load_shared_parameters, read_checkpoint, save_parameters
from fphi.run.meta.loop import Training, meta_train
from fphi.run.meta.loop import train as train_learner
from fphi.run.meta.step import _gradient
from run_fakes import FakeLearner, FakeTasks, distance

ONE_RATE = 1e38


def descent(learner: nn.Module, lr: float = ONE_RATE) -> GradientDescent:
    """The first step leads beyond the largest number of float32, where losses before it are fine."""
    optimizer = GradientDescent(torch.optim.SGD(learner.parameters(), lr=lr))
    optimizer.schedule = lambda progress: 1.0 if progress > 0.6 else 0.0
    return optimizer


@pytest.mark.parametrize("validated", [True, False])
def test_weights_that_the_last_update_spoils_are_not_the_best(tmp_path: Path, validated: bool) -> None:
    learner = FakeLearner(0.0)
    training = Training(steps=3, meta_batch=2, validate_every=0, checkpoint_seconds=0.0)
    learner.vector.data *= 1e3
    with pytest.raises(
        FphiError, match=r"vector became nan or infinite in meta-step 3; .*keeps the last good"
    ):
        train_learner(
            learner, descent(learner), FakeTasks(), training, tmp_path / "run",
            validate=distance if validated else None, progress=False,
        )  # fmt: skip
    kept = read_checkpoint(tmp_path / "run" / "last.safetensors")
    assert kept.learner["vector"].isfinite().all()
    best = tmp_path / "run" / "best.safetensors"
    assert not best.exists() or load_parameters(best, FakeLearner())["step"] == 1


def test_where_no_step_was_kept_none_is_spoken_of(tmp_path: Path) -> None:
    learner, training = FakeLearner(0.0), Training(steps=3, meta_batch=2, validate_every=0)
    learner.vector.data *= 1e3
    with pytest.raises(FphiError, match="meta-step 3") as error:
        train_learner(learner, descent(learner), FakeTasks(), training, tmp_path / "run", progress=False)
    assert "keeps the last good" not in str(error.value)
    assert not list((tmp_path / "run").glob("*.safetensors"))


def test_in_memory_too() -> None:
    learner = FakeLearner(0.0)
    learner.vector.data *= 1e3
    with pytest.raises(FphiError, match="vector became nan or infinite in meta-step 3"):
        meta_train(learner, descent(learner), FakeTasks(), Training(steps=3, meta_batch=2))


def test_a_training_whose_validations_are_no_numbers_has_no_best(tmp_path: Path) -> None:
    learner, training = FakeLearner(), Training(steps=3, meta_batch=2, validate_every=1)
    with pytest.raises(FphiError, match="validation loss was nan in all of 3 meta-steps"):
        train_learner(
            learner, descent(learner, 1e-3), FakeTasks(), training, tmp_path / "run",
            validate=lambda _: (0.2, float("nan")), progress=False,
        )  # fmt: skip
    assert not (tmp_path / "run" / "best.safetensors").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_not_loaded(tmp_path: Path, value: float) -> None:
    learner, path = FakeLearner(), tmp_path / "best.safetensors"
    learner.vector.data[2] = value
    save_parameters(path, learner)
    for load in (load_parameters, load_shared_parameters):
        fresh = FakeLearner()
        with pytest.raises(FphiError, match=r"best.safetensors has nan or infinite values in vector; take"):
            load(path, fresh)
        assert torch.equal(fresh.vector, FakeLearner().vector)


def test_neither_are_those_of_a_file_of_weights(tmp_path: Path) -> None:
    state = {"head.bias": torch.tensor([0.0, 1.0, torch.nan, 0.0, 0.0])}
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(FphiError, match=r"--weights .* has nan or infinite values in head.bias"):
        train(
            "maml", out=tmp_path / "run", steps=1, meta_batch=1, weights=str(tmp_path / "weights.safetensors")
        )


@pytest.mark.parametrize("chunk_size", [None, 1])
def test_tasks_that_a_rank_refuses_are_not_mended_as_a_nan_is(
    chunk_size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside other ranks its sum is infinite, which a learner such as LEO leaves as it is."""

    def refused(*given: object, **options: object) -> None:
        raise FphiError("no such tasks")

    monkeypatch.setattr("fphi.run.meta.step.summed_gradient", refused)
    learner = LEOLearner(nn.Flatten(), PairEncoder(4, 3, 6), nn.Linear(3, 8, bias=False))
    ranks = SimpleNamespace(size=2, device=torch.device("cpu"), of_this_machine=2)
    run = SimpleNamespace(learner=learner, training=SimpleNamespace(chunk_size=chunk_size, threads=1))
    loss, gradients = mean_of_tasks(learner, 4, *_gradient(ranks, run, None, 1))  # type: ignore[arg-type]
    assert loss == torch.inf
    assert not any(g.any() for g in gradients.values())
