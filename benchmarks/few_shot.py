"""A few examples of one's own: fphi's classifier beside scikit-learn's on the same features, draw by draw.

Of each data set 20 draws of a support set (5 classes, 5 examples of each; of the table its 3 classes), and as
many others of each class to test on. Both get the features that fphi's usual encoder makes. The peers are
logistic regression and a support vector machine, each as scikit-learn has it and with its penalty chosen by
cross-validation on the support set; "better" is the best of these four on average over the draws. Needs the
folder that FPHI_DATA names.

    FPHI_DATA=DIR python benchmarks/few_shot.py --draws 20 --json few_shot.json
"""

import argparse
import csv
import json
import os
import time
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from fphi import FewShotClassifier
from fphi.few_shot.encoders import encoder_for
from fphi.few_shot.items import FileList, Items
from fphi.run.meta.confidence import calibration_error, separation

_SHOTS, _QUERIES, _WAYS = 5, 15, 5
_PEERS = ("logistic", "logistic, tuned", "SVM", "SVM, tuned")
_GRID = [0.01, 0.1, 1.0, 10.0, 100.0]
Rows = NDArray[np.int64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--sets", nargs="+", default=list(_SETS), choices=list(_SETS))
    parser.add_argument("--shots", type=int, default=_SHOTS)
    parser.add_argument("--json", type=Path)
    o = parser.parse_args()
    results = {}
    header = ("data", "fphi", *_PEERS, "fphi - better", "ECE", "AUROC", "seconds")
    print(f"| {' | '.join(header)} |\n| --- |{' ---: |' * (len(header) - 1)}")
    for name in o.sets:
        results[name] = _compared(*_SETS[name](), draws=o.draws, shots=o.shots)
        print(_line(name, results[name]), flush=True)
    if o.json:
        o.json.write_text(json.dumps(results, indent=1))


def _compared(items: Items, labels: NDArray[Any], *, draws: int, shots: int) -> dict[str, Any]:
    """Accuracy of each system at each draw, fphi's calibration error and AUROC, and its seconds."""
    own: dict[str, Any] = {"accuracy": {}, "auroc": [], "seconds": []}
    sure, right = [], []
    for draw in range(draws):
        support, query, unknown = _draw(labels, shots, np.random.default_rng(draw))
        start = time.perf_counter()
        model = FewShotClassifier().fit(_values(items, support), labels[support])
        own["seconds"].append(time.perf_counter() - start)
        probabilities = model.predict_proba(_values(items, query))
        codes = np.searchsorted(model.classes_, labels[query])
        sure.append(probabilities)
        right.append(codes)
        _note(own, "fphi", probabilities.argmax(1) == codes)
        if len(unknown) and model.fitted_.known is not None:
            own["auroc"].append(_auroc(model, _values(items, query), _values(items, unknown)))
        encoder = encoder_for(None, items.kind).learn(items.taken(support))
        x, q = (encoder.encode(items.taken(rows)).double().numpy() for rows in (support, query))
        for name, peer in _peers(scaled=items.kind == "rows", folds=min(5, shots)).items():
            _note(own, name, peer.fit(x, labels[support]).predict(q) == labels[query])
    own["calibration_error"] = calibration_error(np.concatenate(sure), np.concatenate(right))
    return own


def _note(own: dict[str, Any], name: str, right: NDArray[np.bool_]) -> None:
    own["accuracy"].setdefault(name, []).append(float(right.mean()))


def _auroc(model: FewShotClassifier, known: Any, unknown: Any) -> float:
    """How well the model's own rule tells examples of its classes from others."""
    return separation(model.familiarity(known), model.familiarity(unknown))


def _draw(labels: NDArray[Any], shots: int, rng: np.random.Generator) -> tuple[Rows, Rows, Rows]:
    """Rows of a support set, of queries of the same classes, and of examples of others."""
    there = np.unique(labels)
    classes = rng.permutation(there)[:_WAYS]
    parts = [rng.permutation(np.flatnonzero(labels == label))[: shots + _QUERIES] for label in classes]
    others = np.flatnonzero(~np.isin(labels, classes))
    return (
        np.concatenate([part[:shots] for part in parts]),
        np.concatenate([part[shots:] for part in parts]),
        rng.permutation(others)[: _WAYS * _QUERIES],
    )


def _values(items: Items, rows: Rows) -> Any:
    return items.taken(rows)


def _peers(scaled: bool, folds: int) -> dict[str, Any]:
    def made(model: Any) -> Any:
        return make_pipeline(StandardScaler(), model) if scaled else model

    def tuned(model: Any) -> Any:
        return made(GridSearchCV(model, {"C": _GRID}, cv=folds)) if folds > 1 else made(model)

    logistic, svm = LogisticRegression(max_iter=2000), SVC()
    made_peers = (made(logistic), tuned(logistic), made(svm), tuned(SVC(kernel="linear")))
    return dict(zip(_PEERS, made_peers, strict=True))


def _line(name: str, own: dict[str, Any]) -> str:
    means = {key: 100 * float(np.mean(values)) for key, values in own["accuracy"].items()}
    better = max((key for key in means if key != "fphi"), key=lambda key: means[key])
    differences = 100 * (np.array(own["accuracy"]["fphi"]) - np.array(own["accuracy"][better]))
    half = 1.96 * differences.std(ddof=1) / len(differences) ** 0.5
    auroc = f"{np.mean(own['auroc']):.3f}" if own["auroc"] else ""
    cells = [
        name,
        *(f"{means[key]:.1f}" for key in means),
        f"{differences.mean():+.2f} ± {half:.2f} ({better})",
    ]
    cells += [f"{own['calibration_error']:.3f}", auroc, f"{np.median(own['seconds']):.1f}"]
    return f"| {' | '.join(cells)} |"


def _archive(zipped: str, label_of: Callable[[str], str], kind: Any, each: int) -> tuple[Items, NDArray[Any]]:
    """The first files of each class of a zip."""
    archive = zipfile.ZipFile(_data(zipped))
    by_class: dict[str, list[str]] = {}
    for name in sorted(n for n in archive.namelist() if n.endswith((".jpg", ".wav"))):
        by_class.setdefault(label_of(name), []).append(name)
    spread = [
        (name, label) for label, names in by_class.items() for name in names[:: max(len(names) // each, 1)]
    ]
    items = Items(
        kind, [name for name, _ in spread], FileList([(n, partial(archive.read, n)) for n, _ in spread])
    )
    return items, np.array([label for _, label in spread])


def _data(name: str) -> Path:
    if "FPHI_DATA" not in os.environ:
        raise SystemExit("set FPHI_DATA to the folder of the data sets")
    return Path(os.environ["FPHI_DATA"]) / name


def _colours() -> tuple[Items, NDArray[Any]]:
    return _archive("cifar10/test.zip", lambda name: name.split("/")[-2], "images", 100)


def _digits() -> tuple[Items, NDArray[Any]]:
    return _archive("spoken_digits/recordings.zip", lambda name: Path(name).name.split("_")[0], "sounds", 100)


def _intents() -> tuple[Items, NDArray[Any]]:
    with _data("intents/banking77_test.csv").open(encoding="utf-8") as file:
        rows: Sequence[dict[str, str]] = list(csv.DictReader(file))
    return Items("texts", [row["text"] for row in rows]), np.array([row["category"] for row in rows])


def _wine() -> tuple[Items, NDArray[Any]]:
    data = load_wine()
    return Items("rows", data.data), data.target_names[data.target]


_SETS: dict[str, Callable[[], tuple[Items, NDArray[Any]]]] = {
    "CIFAR-10 (lossy copies)": _colours,
    "BANKING77": _intents,
    "spoken digits": _digits,
    "wine": _wine,
}

if __name__ == "__main__":
    main()
