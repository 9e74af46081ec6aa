"""``fphi fit DATA`` and ``fphi predict MODEL FILE…``: from a user's examples to answers."""

import csv
import json
import sys
from pathlib import Path
from typing import get_args

from fphi.cli.arguments import add_files, files_named, require_no_folder
from fphi.experiment.parser import Parser, at_least
from fphi.few_shot.classifier import FewShotClassifier
from fphi.few_shot.encoders import Channels
from fphi.few_shot.output import make_ready
from fphi.few_shot.own_data import fit_data, predict_files, predictions_table
from fphi.few_shot.telling import standings_table
from fphi.report.tables import percent

__all__ = ["predict", "run"]


def run(arguments: list[str]) -> int:
    """Fit, say what was decided, write the model."""
    o = _parser().read(arguments)
    require_no_folder(o.out)
    at_least(8, image_size=o.image_size)
    make_ready(o.out, o.data)
    named = {"label": o.label, "text": o.text}
    options = {"channels": o.channels, "image_size": o.image_size, "random_state": o.seed}
    options["files"] = files_named(o)
    fitted = fit_data(o.data, learner=o.learner or "auto", encoder=o.encoder, **named, **options)
    fitted.model.save(o.out)
    if o.json:
        print(json.dumps(fitted.to_json(), allow_nan=False))
        return 0
    for note in fitted.notes:
        print(note)
    if fitted.model.fitted_.standings:
        standings_table(fitted.model.fitted_).show()
    print(fitted.model.decision_)
    if fitted.tested is not None:
        accuracy, count = fitted.tested
        print(f"{percent(accuracy)} % of the {count} test examples are answered rightly")
    print(f"the model is in {o.out}; ask it with: fphi predict {o.out} FILE")
    return 0


def predict(arguments: list[str]) -> int:
    """Answer, as a table, JSON or CSV."""
    parser = Parser("predict", "Tell the classes of new examples, with a model that fphi fit wrote.")
    parser.add_argument("model", type=Path, help="file of the model")
    parser.add_argument(
        "files", nargs="+", help="images, WAV files, tables or texts, as the model has learned"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    parser.add_argument("--csv", action="store_true", help="print comma-separated values")
    add_files(parser)
    o = parser.read(arguments)
    answers = predict_files(FewShotClassifier.load(o.model, **files_named(o)), o.files)
    if o.json:
        print(json.dumps([answer.to_json() for answer in answers], allow_nan=False))
    elif o.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("example", "class", "probability", "none_of_these"))
        for a in answers:
            writer.writerow((a.name, a.label, f"{a.probability:.6f}", "" if a.known is None else not a.known))
    else:
        predictions_table(answers).show()
    return 0


def _parser() -> Parser:
    parser = Parser("fit", "Learn classes from a few examples of each, and say how sure the answers will be.")
    parser.add_argument(
        "data", type=Path, help="folder or zip, one folder per class; or a table (.csv, .tsv)"
    )
    parser.add_argument("--out", type=Path, required=True, help="file of the model")
    parser.add_argument(
        "--learner",
        action="append",
        help="auto, means, ridge, logistic, or the folder of an fphi train; several: the best of them",
    )
    option = parser.add_option
    option(
        "--encoder",
        str,
        None,
        "descriptor, words, sentences, columns, timm:MODEL or sentence-transformers:MODEL",
    )
    option("--label", str, None, "of a table, the column of the labels")
    option("--text", str, None, "of a table, the column of texts to learn from")
    parser.add_argument("--channels", choices=get_args(Channels), default="auto", help="of images")
    option("--image-size", int, None, "pixels of a side that the descriptor sees; 32 if not given")
    option("--seed", int, 0, "of the splits by which is chosen")
    add_files(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return parser
