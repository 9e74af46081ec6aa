"""All 150 intents of CLINC150 from a few examples each, and sentences that are of none of them.

Needs the folder that FPHI_DATA names, and the extra ``text``.

    FPHI_DATA=DIR python benchmarks/out_of_scope.py --shots 5 10
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np

from fphi import FewShotClassifier
from fphi.run.meta.confidence import calibration_error, separation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shots", type=int, nargs="+", default=[5, 10])
    parser.add_argument("--asked", type=int, default=30, help="test sentences of each intent")
    parser.add_argument("--outside", type=int, default=1000, help="sentences out of scope")
    o = parser.parse_args()
    if "FPHI_DATA" not in os.environ:
        parser.error("name the folder that has intents/clinc150_full.json: FPHI_DATA=DIR")
    path = Path(os.environ["FPHI_DATA"]) / "intents" / "clinc150_full.json"
    said = json.loads(path.read_text(encoding="utf-8"))
    shown, asked = _by_class(said["train"]), _by_class(said["test"])
    queries = [(text, label) for label in sorted(asked) for text in asked[label][: o.asked]]
    outside = [text for text, _ in said["oos_test"]][: o.outside]
    for shots in o.shots:
        rng = np.random.default_rng(0)
        support = [(text, label) for label in sorted(shown) for text in rng.permutation(shown[label])[:shots]]
        model = FewShotClassifier().fit([str(text) for text, _ in support], [label for _, label in support])
        texts, labels = [text for text, _ in queries], np.array([label for _, label in queries])
        probabilities = model.predict_proba(texts)
        right = np.searchsorted(model.classes_, labels)
        accuracy = float((probabilities.argmax(1) == right).mean())
        error = calibration_error(probabilities, right)
        auroc = separation(model.familiarity(texts), model.familiarity(outside))
        print(
            f"{shots} shots: accuracy {accuracy:.4f}, calibration error {error:.4f}, AUROC {auroc:.4f}",
            flush=True,
        )


def _by_class(pairs: list[list[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text, label in pairs:
        found.setdefault(label, []).append(text)
    return found


if __name__ == "__main__":
    main()
