"""Optimizers that load no compiler: the same steps as torch's."""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fphi.within.uncompiled import uncompiled

KINDS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (torch.optim.Adam, {"lr": 0.1}),
    "adamw": (torch.optim.AdamW, {"lr": 0.1, "weight_decay": 0.2}),
    "sgd": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
}


def steps(optimizer: torch.optim.Optimizer, layer: nn.Linear, count: int) -> None:
    for i in range(count):
        optimizer.zero_grad()
        layer(torch.full((2, 3), 0.5 + i)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("name", KINDS)
def test_its_steps_are_those_of_torch(name: str) -> None:
    kind, options = KINDS[name]
    layers = [nn.Linear(3, 2)]
    layers.append(copy.deepcopy(layers[0]))
    made: tuple[Any, Any] = (uncompiled(kind), kind)
    ours, theirs = (make(layer.parameters(), **options) for make, layer in zip(made, layers, strict=True))
    assert isinstance(ours, kind)
    for optimizer, layer in zip((ours, theirs), layers, strict=True):
        steps(optimizer, layer, 3)
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        steps(optimizer, layer, 2)
    assert all(torch.equal(a, b) for a, b in zip(*(layer.parameters() for layer in layers), strict=True))


def test_hooks_are_called() -> None:
    layer, met = nn.Linear(3, 2), []
    optimizer = uncompiled(torch.optim.SGD)(layer.parameters(), lr=0.1)
    optimizer.register_step_post_hook(lambda *given: met.append(type(given[0]).__name__))
    steps(optimizer, layer, 2)
    assert met == ["SGD", "SGD"]


# Each takes more than a second to load.
SLOW_TO_LOAD = ("torch._dynamo", "torch._inductor", "sympy", "sklearn")


@pytest.mark.parametrize(
    "call",
    [
        "'maml', steps=1, meta_batch=1, validation_tasks=1, network='mlp'",
        "'autoaugment', evaluations=1, child={'epochs': 1}, retrain_epochs=1, train_examples=100, control=False",
    ],
    ids=["maml", "autoaugment"],
)
def test_a_training_loads_no_compiler_and_nothing_else_that_is_slow(tmp_path: Path, call: str) -> None:
    script = (
        "import sys, fphi\n"
        f"fphi.train({call}, out='run', progress=False)\n"
        f"print([name for name in {SLOW_TO_LOAD} if name in sys.modules])\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.splitlines()[-1:] == ["[]"], run.stderr
