"""The learner for tables as it is, on what it was not trained for: rows that are embeddings of drawings.

``FPHI_DATA=… python benchmarks/tables_of_embeddings.py`` embeds Omniglot's test tasks by the prototypical
network of results/P-VIN, and gives support and query embeddings (64 columns) to the weights that come with
fphi, and to logistic regression, beside the prototypical answers: accuracy and log-loss, mean and 95 %
interval over tasks.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fphi
from fphi.learnable import PrototypicalLearner
from fphi.learnable.base import evaluation_mode
from fphi.learnable.sequence.tables import table_probabilities

RUN = Path(__file__).parent.parent / "results" / "P-VIN" / "prototypical"


def interval(values: list[float]) -> str:
    """Mean and half of its 95 % interval."""
    return f"{np.mean(values):.4f} ± {1.96 * np.std(values) / len(values) ** 0.5:.4f}"


@torch.no_grad()
def main() -> None:
    """Print a line for each size of task and each learner."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--tasks", type=int, default=200)
    options = parser.parse_args()
    learner = fphi.load(RUN)
    assert isinstance(learner, PrototypicalLearner)
    for ways, shots in ((5, 1), (5, 5), (10, 5), (10, 10)):
        tasks = fphi.load_tasks("omniglot", protocol="P-VIN", ways=ways, shots=shots, queries=5, seed=1)
        found: dict[str, tuple[list[float], list[float]]] = {}
        for i in range(options.tasks):
            support, query = tasks.task("test", i)
            with evaluation_mode(learner) as frozen:
                rows, asked = (part[0].numpy() for part in frozen.embed(support.x[None], query.x[None]))
                own = frozen(support, query.x).double().softmax(1).numpy()
            known, y = support.y.numpy(), query.y.numpy()
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(rows, known)
            answers = {
                "prototypical": own,
                "logistic regression": model.predict_proba(asked),
                "in context": table_probabilities(rows, known, asked),
            }
            for name, p in answers.items():
                right, losses = found.setdefault(name, ([], []))
                right.append(float((p.argmax(1) == y).mean()))
                losses.append(float(-np.log(np.maximum(p[np.arange(len(y)), y], 1e-7)).mean()))
        for name, (right, losses) in found.items():
            print(f"{ways}w{shots}s {name:<22} accuracy {interval(right)}  loss {interval(losses)}")


if __name__ == "__main__":
    main()
