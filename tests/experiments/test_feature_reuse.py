"""Feature reuse: what its control is, and what it refuses before a training."""

from pathlib import Path

import torch
from torch import Tensor

import fphi
from fphi.experiments.parts.trainings import TrainedRun
from fphi.learnable import GradientLearner


def parameters(learner: object) -> dict[str, Tensor]:
    assert isinstance(learner, GradientLearner)
    return {name: p.detach() for name, p in learner.network.named_parameters()}


def test_nothing_that_was_trained_is_left_in_the_untrained_network(tmp_path: Path) -> None:
    """It is the same after a training of another length, and unlike both, norms too."""
    small = {"network": "conv4-stride", "meta_batch": 1, "validation_tasks": 2, "outer_lr": 0.1}
    runs = []
    for steps in (1, 2):
        fphi.train("maml", out=tmp_path / str(steps), steps=steps, **small)  # type: ignore[arg-type]
        runs.append(TrainedRun(tmp_path / str(steps), "maml", {"seed": 0}, 2))
    state = torch.get_rng_state()
    one, other = (parameters(run.untrained()) for run in runs)
    assert torch.get_rng_state().equal(state)
    assert all(map(torch.equal, one.values(), other.values()))
    norms = [name for name, p in one.items() if "norm" in name or (p.ndim == 1 and bool((p == 1).all()))]
    assert norms
    for run in runs:
        trained = parameters(run.learner())
        assert not any(torch.equal(trained[name], one[name]) for name in norms)
        assert not any(torch.equal(trained[name], p) for name, p in one.items() if p.ndim > 1)
