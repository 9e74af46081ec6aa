"""
A few sounds of each class
==========================

Three signals, told apart after three recordings of each.
"""

# %%
# Some recordings
# ---------------
# Yours are WAV files of any rate and length, one folder for each class. These are synthetic: a beep, a siren
# and a hiss, each at another pitch and loudness, with some noise.

import wave
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

import fphi

RATE = 8000
random = np.random.default_rng(0)
folder = Path(mkdtemp())


def signal(kind: str) -> np.ndarray:
    """Half a second of it, in -1..1."""
    time = np.arange(RATE // 2) / RATE
    wavering = 0.3 * np.sin(30 * time) if kind == "siren" else 0
    phase = 2 * np.pi * np.cumsum(random.uniform(400, 800) * (1 + wavering + 0 * time)) / RATE
    tone = np.sin(phase) if kind != "hiss" else random.normal(0, 0.3, len(time))
    loud: np.ndarray = random.uniform(0.2, 0.8) * tone + random.normal(0, 0.02, len(time))
    return loud.clip(-1, 1)


for kind in ("beep", "siren", "hiss"):
    for i in range(13):
        path = folder / ("signals" if i < 3 else "new") / kind / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes((32767 * signal(kind)).astype("<i2").tobytes())

# %%
# Fit and predict
# ---------------
# A folder of WAV files is read as pictures of pitch over time. ``fphi fit signals --out signals.fphi`` does
# the same.

fitted = fphi.few_shot.fit_data(folder / "signals")
print(fitted.model.decision_)

answers = fphi.few_shot.predict_files(fitted.model, [folder / "new"])
accuracy = float(np.mean([answer.label == Path(answer.name).parent.name for answer in answers]))
print(f"{accuracy:.0%} of {len(answers)} new recordings are right")

# %%
# Waveforms
# ---------
# What is in memory already needs no file: lists of arrays, with their sampling rate.

model = fphi.FewShotClassifier(sampling_rate=RATE)
waves = [signal(kind) for kind in ("siren", "hiss") for _ in range(4)]
model.fit(waves, ["siren"] * 4 + ["hiss"] * 4)
print(model.predict([signal("hiss"), signal("siren")]))
