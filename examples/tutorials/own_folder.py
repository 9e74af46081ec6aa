"""
A folder of images
==================

You have a few images of each class, in one folder per class, and want the class of new ones.
"""

# %%
# Some images
# -----------
# Yours are photographs, scans, or anything else that Pillow reads. Here scikit-learn's digits are written
# to a folder: of each of five digits five images to learn from and twenty to ask about. The digit 9 is
# nobody's class.

from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import fphi

folder = Path(mkdtemp())
images, digits = load_digits(return_X_y=True)
for digit in (0, 1, 2, 3, 4, 9):
    for i, pixels in enumerate(images[digits == digit][:25]):
        known = i < 5 and digit != 9
        path = folder / ("photos" if known else "new") / str(digit) / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray((pixels.reshape(8, 8) / 16 * 255).astype(np.uint8))
        picture.resize((32, 32)).save(path)

# %%
# Fit
# ---
# Several learners are tried on examples that are held out in turn. One sentence says which of them answers,
# by which validation, and how sure one may be. ``fphi fit photos --out digits.fphi`` is the same on the
# command line.

fitted = fphi.few_shot.fit_data(folder / "photos")
print(fitted.model.decision_)

# %%
# Predict
# -------
# A prediction has a class, its probability, the two next classes, and whether the image is of a known class
# at all: ``known`` is False where the model answers "none of these". ``fphi predict digits.fphi new``
# prints a table of them.

answers = fphi.few_shot.predict_files(fitted.model, [folder / "new"])
right = [answer.label == Path(answer.name).parent.name for answer in answers if "/9/" not in answer.name]
accuracy = sum(right) / len(right)
print(f"{accuracy:.0%} of {len(right)} new images are right")
for answer in answers[:3]:
    print(Path(answer.name).relative_to(folder), answer.label, f"{answer.probability:.2f}", answer.next)

strange = [answer for answer in answers if "/9/" in answer.name]
refused = sum(answer.known is False for answer in strange)
print(f'{refused} of {len(strange)} nines are "none of these"')

# %%
# Keep
# ----
# One file of numbers and names, no code, which answers without the images.

fitted.model.save(folder / "digits.fphi")
again = fphi.FewShotClassifier.load(folder / "digits.fphi")
print(again.predict([folder / "new/3/7.png"]))
