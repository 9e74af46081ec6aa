"""What a sealed checkpoint says is checked before anything of the run is touched."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cli_helpers import contents, refused, trained
from fphi.errors import FphiError
from fphi.optimize.restored import restore_optimizer
from fphi.run.disk.checkpoint import Checkpoint, TrainingState
from fphi.run.disk.files import read_sealed, write_sealed

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("states") / "run")


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A run to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def change(path: Path, how: Callable[[Any], object]) -> None:
    """Another content under a right checksum, which whoever makes the file can compute."""
    tensors, content = read_sealed(path)
    how(content)
    write_sealed(path, tensors, content)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", 2.5), ("step", "3"), ("step", None), ("step", 10**30), ("step", -1), ("step", True),
        ("step", 4), ("step", [1]), ("seconds", -1.0), ("seconds", float("nan")), ("seconds", "long"),
        ("best_step", 3.0), ("best_step", -2), ("best_step", 99), ("best_accuracy", 7), ("best_accuracy", "x"),
        ("best_loss", {}), ("misses", -1), ("misses", 0.5), ("misses", None), ("unknown", 1),
    ],
)  # fmt: skip
def test_a_state_that_no_training_has_is_refused_and_nothing_touched(
    name: str, value: object, run: Path, capsys: Capture
) -> None:
    change(run / "last.safetensors", lambda content: content["standing"].update({name: value}))
    before = contents(run)
    message = refused(capsys, "train", "maml", "--resume", "--out", run)
    assert len(message) < 400
    assert name in message or "has done 4 of 3 steps" in message
    assert contents(run) == before | {".lock": b""}


@pytest.mark.parametrize("fingerprint", [None, 3, ["x"], "other"])
def test_a_fingerprint_is_a_text_and_the_run_s_own(fingerprint: object, run: Path, capsys: Capture) -> None:
    change(run / "last.safetensors", lambda content: content.update(fingerprint=fingerprint))
    before = contents(run)
    refused(capsys, "train", "maml", "--resume", "--out", run)
    assert contents(run) == before | {".lock": b""}


def test_an_optimizer_without_its_moments_is_refused(run: Path, capsys: Capture) -> None:
    def forget(content: Any) -> None:
        (state,) = (value for key, value in content["optimizer"]["dict"] if key == "state")
        state["dict"].clear()

    change(run / "last.safetensors", forget)
    before = contents(run)
    message = refused(capsys, "train", "maml", "--resume", "--out", run)
    assert "optimizer state does not fit this optimizer (it lacks the state of parameter 0)" in message
    assert contents(run) == before | {".lock": b""}


def optimizer() -> torch.optim.Adam:
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    made = torch.optim.Adam(network.parameters(), lr=0.1)
    network(torch.ones(1, 3)).sum().backward()
    made.step()
    return made


STATES: dict[str, Callable[[dict[str, Any]], object]] = {
    "one moment": lambda s: s["state"][0].pop("exp_avg"),
    "shape": lambda s: s["state"][0].update(exp_avg=torch.zeros(1)),
    "kind": lambda s: s["state"][0].update(exp_avg="x"),
    "whole numbers": lambda s: s["state"][1].update(exp_avg=torch.zeros(2, dtype=torch.int64)),
    "negative steps": lambda s: s["state"][0].update(step=torch.tensor(-1.0)),
    "steps of nan": lambda s: s["state"][0].update(step=torch.tensor(float("nan"))),
    "one parameter": lambda s: s["state"].pop(1),
    "all parameters": lambda s: s["state"].clear(),
    "a list": lambda s: s.update(state=[1]),
    "a parameter more": lambda s: s["state"].update({7: s["state"][0]}),
    "a name": lambda s: s["state"].update(x=s["state"][0]),
    "rate": lambda s: s["param_groups"][0].update(lr=float("nan")),
    "rate of a text": lambda s: s["param_groups"][0].update(lr="0.1"),
    "betas": lambda s: s["param_groups"][0].update(betas=(0.5, 0.9)),
    "parameters": lambda s: s["param_groups"][0].update(params=[1, 0]),
    "groups": lambda s: s["param_groups"].append(s["param_groups"][0]),
    "no groups": lambda s: s.pop("param_groups"),
}


@pytest.mark.parametrize("damage", STATES)
def test_what_no_step_leaves_is_no_state(damage: str) -> None:
    state = copy.deepcopy(optimizer().state_dict())
    STATES[damage](state)
    mine = optimizer()
    before = copy.deepcopy(mine.state_dict())
    with pytest.raises((ValueError, KeyError, TypeError)):
        restore_optimizer(mine, state, stepped=True)
    assert str(mine.state_dict()) == str(before)


def test_the_rate_and_the_moments_are_put_back() -> None:
    state = copy.deepcopy(optimizer().state_dict())
    state["param_groups"][0]["lr"] = 0.025
    fresh = torch.optim.Adam(nn.Linear(3, 2).parameters(), lr=0.1)
    restore_optimizer(fresh, state, stepped=True)
    assert str(fresh.state_dict()) == str(state)


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.bool])
def test_parameters_of_another_kind_are_not_converted(dtype: torch.dtype) -> None:
    network = nn.Linear(2, 1)
    state = {name: tensor.to(dtype) for name, tensor in network.state_dict().items()}
    with pytest.raises(FphiError, match=r"does not fit this learner: weight is of torch\."):
        Checkpoint(TrainingState(), "", state, {}).restore(network, torch.optim.SGD(network.parameters()))
