"""The experiment of the learned optimizer on MNIST: the page has its numbers, and a loop takes what was learned."""

import json
from pathlib import Path

import torch

import fphi

ROOT = Path(__file__).parent.parent.parent
KEPT = ROOT / "results" / "experiments" / "optimizer-mnist"
ROWS = {
    "20 units": ("20 units", 100),
    "20 units, after 200": ("20 units", 200),
    "40 units": ("40 units", 100),
    "two layers": ("2 layers", 100),
    "ReLUs": ("ReLU", 100),
}


def test_the_page_has_the_numbers() -> None:
    courses = json.loads((KEPT / "optimizer.json").read_text(encoding="utf-8"))["measured"]["loss_by_step"]
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8").partition("--data mnist\n```")[2]
    rows = [line.strip("| ").replace("*", "").split(" | ") for line in page.splitlines() if line[:2] == "| "]
    told = {name: cells for name, *cells in rows if name in ROWS}
    assert told.keys() == ROWS.keys()
    for name, (network, step) in ROWS.items():
        for cell, losses in zip(told[name], courses[network].values(), strict=True):
            assert abs(float(cell) - losses[step]) <= 0.5 * 10.0 ** -len(cell.partition(".")[2]) + 1e-12


def test_every_training_of_the_record_is_kept() -> None:
    record = json.loads((KEPT / "optimizer.json").read_text(encoding="utf-8"))
    for training in record["trainings"]:
        run = KEPT / training["run"]
        assert {path.name for path in run.iterdir()} == {"best.safetensors", "config.yaml", "log.csv"}
        assert f"--out {training['run']} " in training["command"]
    assert len(record["trainings"]) == 2 + 5 * 4


def test_what_was_learned_trains_a_network() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(64, 8), torch.randint(3, (64,))
    model = torch.nn.Sequential(torch.nn.Linear(8, 20), torch.nn.Sigmoid(), torch.nn.Linear(20, 3))
    optimizer = fphi.optim.load(KEPT / "trainings/lstm-on-20-units-869e4ae9")(model.parameters())
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step(loss=loss)
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
