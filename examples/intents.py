"""Learn to initialize, and to compare, for texts: meta-trained on CLINC150, tested on BANKING77's classes.

Sentences are the features of a frozen encoder (extra ``text``). Each learner sees the same test tasks, beside
class means, ridge and logistic regression on the frozen features, and the same network from scratch.

    FPHI_DATA=DIR python examples/intents.py --out runs/intents --methods prototypical maml reptile anil
"""

import argparse
import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import fphi
from fphi.few_shot.encoders import encoder_for
from fphi.few_shot.heads import RULES
from fphi.few_shot.items import Items
from fphi.tasks import FeatureTasks

Split = tuple[NDArray[np.float32], NDArray[np.str_]]


class Refined(nn.Module):
    """Features and what a small network adds to them, which is nothing to begin with, times a learned scale.

    Args:
        width: of the features.
        hidden: width of the small network.
    """

    def __init__(self, width: int, hidden: int = 256) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width, hidden), nn.Linear(hidden, width)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        refined: Tensor = (x + self.outer(self.inner(x).relu())) * self.log_scale.exp()
        return refined


class Answers(nn.Module):
    """Refined features, and a linear layer of them: ``body`` and ``head``, of which ANIL adapts the latter.

    Args:
        width: of the features.
        outputs: numbers that the linear layer makes; None: the features are the answer.
    """

    def __init__(self, width: int, outputs: int | None) -> None:
        super().__init__()
        self.body = Refined(width)
        self.head = nn.Identity() if outputs is None else nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.head(self.body(x))
        return answers


def network(input_shape: tuple[int, ...], outputs: int | None) -> nn.Module:
    """What the methods learn: they find it by ``network="examples/intents.py:network"``."""
    return Answers(input_shape[0], outputs)


def features(texts: Sequence[str], cache: Path, encoder: str | None) -> NDArray[np.float32]:
    """Of a frozen encoder, the usual one if None; kept in a file."""
    if cache.is_file():
        kept: NDArray[np.float32] = np.load(cache)
        return kept
    found: NDArray[np.float32] = encoder_for(encoder, "texts").encode(Items("texts", list(texts))).numpy()
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.save(cache, found)
    return found


def splits(data: Path, out: Path, each: int, encoder: str | None = None) -> dict[str, Split]:
    """CLINC150's classes for training and validation, four to one, and BANKING77's for test."""
    said = json.loads((data / "clinc150_full.json").read_text(encoding="utf-8"))
    by_class: dict[str, list[str]] = {}
    for text, label in said["train"]:
        by_class.setdefault(label, []).append(text)
    labels = np.random.default_rng(0).permutation(sorted(by_class))
    found: dict[str, Split] = {}
    shown = len(labels) * 4 // 5
    for split, own in (("train", labels[:shown]), ("validation", labels[shown:])):
        texts = [(text, label) for label in own for text in by_class[label][:each]]
        found[split] = _features(texts, out / f"{split}-{each}.npy", encoder)
    with (data / "banking77_test.csv").open(encoding="utf-8") as file:
        texts = [(row["text"], f"banking {row['category']}") for row in csv.DictReader(file)]
    found["test"] = _features(texts, out / "test.npy", encoder)
    mean = found["train"][0].mean(0)  # of the training classes alone
    return {split: (_of_length_1(x - mean), y) for split, (x, y) in found.items()}


def _of_length_1(x: NDArray[np.float32]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-9)
    return scaled


def _features(texts: Sequence[tuple[str, str]], cache: Path, encoder: str | None) -> Split:
    return features([text for text, _ in texts], cache, encoder), np.array([label for _, label in texts])


# Few steps: on features as good as these a small network soon knows the training classes by heart.
_OPTIONS: dict[str, dict[str, Any]] = {
    "prototypical": {"steps": 300, "meta_batch": 4, "outer_lr": 1e-4},
    "maml": {"steps": 300, "meta_batch": 8, "inner_lr": 0.1, "inner_steps": 3, "test_steps": 5},
    "anil": {"steps": 300, "meta_batch": 8, "inner_lr": 0.1, "inner_steps": 3, "test_steps": 5},
    "reptile": {"steps": 300, "meta_batch": 5},
    "from-scratch": {"inner_lr": 0.1},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("runs/intents"))
    parser.add_argument("--methods", nargs="+", default=list(_OPTIONS), choices=list(_OPTIONS))
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5, 10])
    parser.add_argument("--tasks", type=int, default=600)
    parser.add_argument("--each", type=int, default=40, help="sentences of a training class")
    parser.add_argument("--encoder", help="of the texts, in place of the usual one")
    parser.add_argument("--steps", type=int, help="meta-steps, in place of each method's own")
    o = parser.parse_args()
    if "FPHI_DATA" not in os.environ:
        parser.error("name the folder that has intents/clinc150_full.json: FPHI_DATA=DIR")
    data = splits(Path(os.environ["FPHI_DATA"]) / "intents", o.out, o.each, o.encoder)
    rows: list[dict[str, Any]] = []
    for shots in o.shots:
        tasks = FeatureTasks(data, ways=5, shots=shots, queries=10, protocol="CLINC150 to BANKING77")
        results = {name: frozen(tasks, name, o.tasks) for name in ("means", "ridge", "logistic, C=10")}
        for name in o.methods:
            results[name] = learned(name, tasks, shots, o.out, o.tasks, o.steps)
        for name, (accuracy, half) in results.items():
            print(f"5-way {shots}-shot, {name}: {100 * accuracy:.2f} ± {100 * half:.2f}", flush=True)
            rows.append({"method": name, "shots": shots, "accuracy": accuracy, "half_width": half})
    found = {"ways": 5, "tasks": o.tasks, "rows": rows}
    (o.out / "results.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def learned(
    name: str, tasks: FeatureTasks, shots: int, out: Path, count: int, steps: int | None
) -> tuple[float, float]:
    """Accuracy on test tasks after meta-training, and half its 95 % interval."""
    options = {**_OPTIONS[name], "network": f"{__file__}:network", "ways": tasks.ways, "shots": shots}
    if name != "from-scratch":
        options |= {"validate_every": 50, "validation_tasks": min(200, count)} | (
            {"steps": steps} if steps else {}
        )
    run = out / f"{name}-{shots}"
    if not (run / "best.safetensors").is_file():
        fphi.train(name, tasks=tasks, out=run, threads=1, **options)
    learner: Any = fphi.load(run, network=f"{__file__}:network")
    right = fphi.evaluate(learner, tasks, count=count, threads=1).inductive.double()
    return float(right.mean()), 1.96 * float(right.std()) / len(right) ** 0.5


def frozen(tasks: FeatureTasks, rule: str, count: int) -> tuple[float, float]:
    """The same of a rule on the frozen features."""
    right = []
    for i in range(count):
        support, query = tasks.task("test", i)
        answer = RULES[rule].learn(support.x, support.y.numpy(), tasks.ways, unit=True)(query.x).argmax(1)
        right.append(float((answer == query.y).double().mean()))
    values = torch.tensor(right)
    return float(values.mean()), 1.96 * float(values.std()) / len(right) ** 0.5


if __name__ == "__main__":
    main()
