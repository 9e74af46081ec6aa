"""Learned weights against cleaned labels on texts: the 77 intents of BANKING77 with wrong labels put in.

``FPHI_DATA=… python benchmarks/label_noise.py`` trains an MLP on words that are weighed by how rare they are
(tf-idf): plainly, on what confident learning leaves of the labels (fphi's own, and cleanlab's where it is
installed), and with learned weights, all for the same epochs from the same first weights and with the same
clean examples. Images are ``fphi train reweight --data mnist`` and the like. What is printed: test accuracy
after the last and the best epoch, how well the list of suspicious labels tells wrong from right ones (AUROC),
and seconds.
"""

import argparse
import csv
import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

from fphi.experiment.search.options import NetworkOptions
from fphi.experiment.weighting.options import BesideOptions, WeighedTask
from fphi.experiment.weighting.standing import Standing
from fphi.experiment.weighting.trainings import CLEANED, PLAIN, Trainings
from fphi.methods.families.weighting import WeightingMethod
from fphi.methods.meta_weight_net import MetaWeightNetMethod
from fphi.methods.reweight import LearningToReweight
from fphi.tasks.corruption import corrupted
from fphi.tasks.supervised import Supervised
from fphi.tasks.types import Examples
from fphi.within.cleaning import auroc
from fphi.within.training import NetworkTraining

WORDS = 2000


class ByCleanlab(Trainings):
    """Confident learning as cleanlab has it."""

    def issues(self, standing: Standing) -> Tensor:
        find = import_module("cleanlab.filter").find_label_issues
        labels, probabilities = self.task.data.train.y.numpy(), self.probabilities(standing).numpy()
        found = find(labels, probabilities, filter_by="confident_learning", n_jobs=1)
        return torch.from_numpy(np.asarray(found))


def intents(folder: Path, per_class: int, share: float, seed: int) -> WeighedTask:
    """BANKING77: ``per_class`` clean examples of each class, as many for validation, the rest with noise."""
    parts = []
    for part in ("train", "test"):
        with (folder / f"banking77_{part}.csv").open(encoding="utf-8", newline="") as file:
            parts.append([(row["text"], row["category"]) for row in csv.DictReader(file)])
    words = TfidfVectorizer(max_features=WORDS, ngram_range=(1, 2)).fit([text for text, _ in parts[0]])
    names = sorted({name for _, name in parts[0]})
    train, test = (
        Examples(
            torch.from_numpy(words.transform([text for text, _ in part]).toarray()).float() * WORDS**0.5,
            torch.tensor([names.index(name) for _, name in part]),
        )
        for part in parts
    )
    order = torch.randperm(len(train.y), generator=torch.Generator().manual_seed(seed))
    of_class = [order[train.y[order] == label] for label in range(len(names))]
    clean, validation, rest = (
        torch.cat([rows[begin:end] for rows in of_class])
        for begin, end in ((0, per_class), (per_class, 2 * per_class), (2 * per_class, None))
    )
    chosen = [Examples(train.x[rows], train.y[rows]) for rows in (rest, validation, clean)]
    data = Supervised("intents", chosen[0], chosen[1], test, len(names))
    made = corrupted(data, "uniform", share, seed=seed)
    return WeighedTask(made.data, chosen[2], made.truth)


def report(name: str, trainings: Trainings, standing: Standing, suspicion: Tensor, training: str) -> None:
    """A line of one training."""
    tests = [100 * row["test_accuracy"] for row in standing.rows_of(training)]
    judged = [*(trainings.folds if training == CLEANED else ()), training]
    seconds = sum(row["seconds"] for judging in judged for row in standing.rows_of(judging))
    wrong = trainings.task.wrong
    area = None if wrong is None else auroc(suspicion, wrong)
    said = "" if area is None else f"{area:7.3f}"
    print(f"{name:<24}{tests[-1]:7.2f}{max(tests):8.2f}{said}{seconds:9.0f} s")


def main() -> None:
    """Print a table for each share of noise."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.2, 0.4])
    parser.add_argument("--clean", type=int, default=5, help="clean examples of each class")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if "FPHI_DATA" not in os.environ:
        parser.error("name the folder that has intents/banking77_train.csv: FPHI_DATA=DIR")
    folder = Path(os.environ["FPHI_DATA"]) / "intents"
    training = NetworkTraining(epochs=options.epochs, batch_size=100, lr=options.lr, weight_decay=5e-4)
    for share in options.shares:
        task = intents(folder, options.clean, share, options.seed)
        assert task.wrong is not None
        print(f"\nuniform noise {share:g}: {int(task.wrong.sum())} of {len(task.wrong)} labels are wrong")
        print(f"{'':<24}{'last':>7}{'best':>8}{'AUROC':>7}{'time':>11}")
        methods: dict[str, tuple[type[Trainings], WeightingMethod]] = {
            "cleaned": (Trainings, LearningToReweight()),
            "meta-weight-net": (Trainings, MetaWeightNetMethod()),
        }
        if find_spec("cleanlab") is not None:
            methods["cleaned, cleanlab"] = ByCleanlab, LearningToReweight()
        for name, (kind, method) in methods.items():
            beside = BesideOptions(control=name != "meta-weight-net")
            made = kind(task, method, NetworkOptions("mlp"), training, beside, options.seed)
            standing = Standing()
            while (current := made.next(standing)) is not None:
                if name == "cleaned, cleanlab" and current == method.title:
                    break
                made.epoch(standing)
            if beside.control:
                rows, y = torch.arange(len(task.data.train.y)), task.data.train.y
                report(name, made, standing, 1 - made.probabilities(standing)[rows, y], CLEANED)
            if name == "cleaned":
                report("plain", made, standing, standing.left[PLAIN]["losses"], PLAIN)
            if name != "cleaned, cleanlab":
                report(method.title, made, standing, standing.left[method.title]["suspicion"], method.title)


if __name__ == "__main__":
    main()
