"""A small network for spoken digits, found by evolution, beside Conv4 of as many parameters.

    FPHI_DATA=DIR python examples/spoken_network.py make DIGITS    # folders train (five speakers), test (one)
    fphi search regularized-evolution --data DIGITS --image-size 32 --evaluations 30 --out runs/spoken
    python examples/spoken_network.py compare runs/spoken

No speaker of the test is in the training, nor in the validation by which the search chooses.
"""

import argparse
import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import nn

from fphi.experiment.config import Config
from fphi.experiment.search.options import BudgetOptions, DataOptions, RetrainOptions
from fphi.run.search.retrain import retrain
from fphi.within.trained import parameter_count
from fphi.within.training import NetworkTraining

_TESTED = "theo"
"""The speaker of the test."""


def make(folder: Path, each: int = 50) -> None:
    """Write recordings as folders: ``each`` of a digit by a speaker, at most."""
    archive = Path(os.environ["FPHI_DATA"]) / "spoken_digits" / "recordings.zip"
    with zipfile.ZipFile(archive) as recordings:
        for name in recordings.namelist():
            stem = Path(name).stem.split("_")
            if not name.endswith(".wav") or len(stem) != 3 or int(stem[2]) >= each:
                continue
            digit, speaker, _ = stem
            path = folder / ("test" if speaker == _TESTED else "train") / digit / Path(name).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(recordings.read(name))


def conv4(filters: int, channels: int, side: int, classes: int) -> nn.Module:
    """Four blocks of convolution, batch norm, rectifier and pooling, of torch's own layers."""
    layers: list[nn.Module] = []
    for inputs in (channels, filters, filters, filters):
        layers += [
            nn.Conv2d(inputs, filters, 3, padding=1),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        side //= 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(filters * side * side, classes))


def conv4_of(parameters: int, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """With the filters that bring it nearest to so many parameters."""
    channels, side, _ = input_shape
    made = (conv4(filters, channels, side, classes) for filters in range(2, 129))
    return min(made, key=lambda module: abs(parameter_count(module) - parameters))


def compare(run: Path, seeds: int = 3) -> dict[str, Any]:
    """Train what was found and Conv4 from several seeds, in the same way; accuracy on the test's speaker."""
    config = Config.read(run)
    data = config.part(DataOptions).load(config.part(BudgetOptions).seed)
    epochs = config.part(RetrainOptions).retrain_epochs
    training = replace(config.part(NetworkTraining), epochs=epochs)
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    space: Any = config.space
    tokens = space.parse(result["architecture"])
    found = [retrain(space, tokens, data, training, seed) for seed in range(seeds)]
    conv4: list[float | None] = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        module = conv4_of(found[0].parameters, data.input_shape, data.classes)
        conv4.append(training.train(module, data, seed).test_accuracy())
    said = {
        "found": (found[0].parameters, [one.test for one in found]),
        "Conv4": (parameter_count(module), conv4),
    }
    for name, (count, accuracies) in said.items():
        values = [value for value in accuracies if value is not None]
        print(f"{name:<6} {count:>7,} parameters  {100 * fmean(values):.1f} ± {100 * stdev(values):.1f} %")
    return said


def main() -> None:
    """Make the folders, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("make", "compare"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--json", type=Path, help="of compare: the numbers, in a file")
    options = parser.parse_args()
    if options.what == "make":
        if "FPHI_DATA" not in os.environ:
            parser.error("name the folder that has spoken_digits/recordings.zip: FPHI_DATA=DIR")
        make(options.path)
        return
    found = compare(options.path)
    if options.json:
        named = {name: {"parameters": n, "test_accuracy": values} for name, (n, values) in found.items()}
        options.json.write_text(json.dumps(named, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
