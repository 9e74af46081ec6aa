"""Learn to compare spoken words: meta-trained on a synthesizer's words, tested on digits that people say.

    python examples/spoken_words.py make WORDS    # by espeak-ng: a folder of WAV files for each word
    fphi train prototypical --tasks WORDS --image-size 32 --ways 5 --shots 1 --out runs/words
    FPHI_DATA=DIR python examples/spoken_words.py test runs/words

No word, no speaker and no recording device of the test is in the training. In a test task the support set is
one person's and the queries are other people's. Beside the run stand the learners on features made by hand.
"""

import argparse
import json
import os
import subprocess
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.io import wavfile
from scipy.signal import resample_poly

import fphi
from fphi.experiment.loading import trained_run
from fphi.few_shot.encoders import Descriptor
from fphi.few_shot.heads import RULES
from fphi.few_shot.items import FileList, Items
from fphi.tasks.sound import log_mel, read_wave

_WAYS, _QUERIES = 5, 10
_RATE = 8000  # of the recordings of people
_AT_ONCE = 20  # tasks that a learner answers
_WORDS = """
apple river window garden yellow summer engine pocket silver mountain basket travel winter pencil doctor
music button carpet dinner forest guitar hammer island jacket kitchen ladder market number orange paper
queen rabbit school table uncle village water bottle candle dragon eagle finger ginger honey insect jungle
kettle lemon mirror needle ocean picture quarter rocket spider ticket umbrella valley whistle zebra arrow
bridge cloud dance earth flame grass house iron juice knife light mouse night olive plant quiet round stone
train under voice wheel young blue child dream fish green heart ice king leaf moon nose open pink rain ship
tree vase wolf box cup dog egg fox hat ink jam key lamp map net oak pen red sun toy urn van web yes yard
bell cake desk fork goat hill jump kite line milk nail oven path rope sand tail wave yarn bread chair drum
field glass horse knee lunch month north plate rose sheep spoon tooth wind hello thanks please maybe never
always away back down forward left right stop go up follow learn visual off on
"""


def make(folder: Path, each: int = 20, seed: int = 0) -> None:
    """Say each word in ``each`` voices, speeds and pitches, some with noise."""
    rng = np.random.default_rng(seed)
    voices = [
        f"en{accent}+{voice}" for accent in ("", "-us", "-gb-scotland", "-gb-x-rp") for voice in _VOICES
    ]
    for word in _WORDS.split():
        (folder / word).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            how = [
                "-v",
                str(rng.choice(voices)),
                "-s",
                str(rng.integers(110, 220)),
                "-p",
                str(rng.integers(10, 90)),
            ]
            said = subprocess.run(
                ["espeak-ng", *how, "--stdout", word], check=True, capture_output=True
            ).stdout
            wave, rate = read_wave(_whole(said), word)
            heard = resample_poly(wave, _RATE, rate)
            noise = 10 ** rng.uniform(-4, -1.7) * rng.normal(size=len(heard))
            samples = 0.5 * heard / np.abs(heard).max() + noise
            wavfile.write(folder / word / f"{i}.wav", _RATE, samples.clip(-1, 1).astype(np.float32))


_VOICES = ["m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5"]


def _whole(said: bytes) -> bytes:
    """A WAV file from a pipe, whose header could not know how long it would be."""
    start = said.index(b"data") + 8
    size = (len(said) - start).to_bytes(4, "little")
    return said[:4] + (len(said) - 8).to_bytes(4, "little") + said[8 : start - 4] + size + said[start:]


class People:
    """Recordings of digits: their pictures, digits, and speakers.

    Args:
        archive: recordings named DIGIT_SPEAKER_NUMBER.wav.
        each: recordings of each digit by each speaker.
    """

    def __init__(self, archive: Path, each: int = 20) -> None:
        with zipfile.ZipFile(archive) as files:
            names = sorted(name for name in files.namelist() if name.endswith(".wav"))
            names = [name for name in names if int(Path(name).stem.split("_")[2]) < each]
            contents = {name: files.read(name) for name in names}
        parts = [Path(name).stem.split("_") for name in names]
        self.digits = np.array([int(part[0]) for part in parts])
        self.speakers = np.unique([part[1] for part in parts], return_inverse=True)[1]
        self._waves = [read_wave(contents[name], name) for name in names]
        files_ = FileList([(name, partial(bytes, content)) for name, content in contents.items()])
        self.items = Items("sounds", names, files_)

    def pictures(self, size: int) -> torch.Tensor:
        """``[n, 1, size, size]``, of 256 levels as a folder's are, which a run was trained on."""
        heard = np.stack([log_mel(*wave, size, size) for wave in self._waves])[:, None]
        return torch.from_numpy(np.rint(255 * heard).astype(np.float32) / 255)

    def task(
        self, index: int, ways: int, shots: int, queries: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of task ``index``: the support set of one speaker, the queries of the others."""
        rng = np.random.default_rng([7, index])
        speaker = rng.integers(self.speakers.max() + 1)
        support, asked = [], []
        for digit in rng.permutation(10)[:ways]:
            own = np.flatnonzero((self.digits == digit) & (self.speakers == speaker))
            others = np.flatnonzero((self.digits == digit) & (self.speakers != speaker))
            support.append(rng.permutation(own)[:shots])
            asked.append(rng.permutation(others)[:queries])
        return np.concatenate(support), np.concatenate(asked)


def compare(runs: Sequence[Path], archive: Path, tasks: int) -> list[dict[str, Any]]:
    """Accuracy, and half of its 95 % interval, of each learner at 1 and 5 shots; printed too."""
    learners: dict[str, Any] = {run.name: fphi.load(run) for run in runs}
    people = People(archive)
    trained = {run.name: trained_run(run) for run in runs}
    sizes = {name: run.options.image_size for name, run in trained.items()}
    pictures = {size: people.pictures(size) for size in set(sizes.values())}
    features = Descriptor(32, "grey").encode(people.items)
    found: list[dict[str, Any]] = []
    ways, queries = _WAYS, _QUERIES
    for shots in (1, 5):
        right: dict[str, list[float]] = {}
        y, asked_y = (np.repeat(np.arange(ways), n) for n in (shots, queries))
        drawn = [people.task(index, ways, shots, queries) for index in range(tasks)]
        for name, learner in learners.items():
            if "shots" in trained[name].method.bound_to and trained[name].options.shots != shots:
                continue  # It would have to be trained anew.
            x, known = pictures[sizes[name]], torch.from_numpy(y)
            for some in (drawn[i : i + _AT_ONCE] for i in range(0, tasks, _AT_ONCE)):
                rows, asked_rows = (torch.from_numpy(np.stack(each)) for each in zip(*some, strict=True))
                examples = fphi.Examples(x[rows], known.expand(len(some), -1))
                answers = learner.solve_alone(examples, x[asked_rows]).argmax(2).numpy()
                right.setdefault(name, []).extend((answers == asked_y).mean(1).tolist())
        for support, asked in drawn:
            for name in ("means", "ridge", "logistic, C=10"):
                network = RULES[name].learn(features[support], y, ways, unit=True)
                answer = network(features[asked]).argmax(1).numpy()
                right.setdefault(f"{name} on features by hand", []).append(float((answer == asked_y).mean()))
        for name, values in right.items():
            accuracy, half = float(np.mean(values)), 1.96 * float(np.std(values)) / len(values) ** 0.5
            print(f"{ways}-way {shots}-shot, {name}: {100 * accuracy:.1f} ± {100 * half:.1f}")
            found.append({"method": name, "shots": shots, "accuracy": accuracy, "half_width": half})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("do", choices=("make", "test"))
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--tasks", type=int, default=600)
    parser.add_argument("--json", type=Path, help="the numbers, in a file")
    o = parser.parse_args()
    if o.do == "make":
        make(o.paths[0])
    elif "FPHI_DATA" not in os.environ:
        parser.error("name the folder that has spoken_digits/recordings.zip: FPHI_DATA=DIR")
    else:
        with torch.no_grad():
            archive = Path(os.environ["FPHI_DATA"]) / "spoken_digits" / "recordings.zip"
            found = {"ways": _WAYS, "tasks": o.tasks, "rows": compare(o.paths, archive, o.tasks)}
        if o.json:
            o.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
