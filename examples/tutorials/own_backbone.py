"""
A backbone of your own
======================

A network that you trained elsewhere can be frozen, as the encoder of a few-shot classifier, or it can be
where meta-learning starts.
"""

# %%
# The network
# -----------
# Any ``nn.Module`` from examples to features. This one has learned to tell the digits 0 to 4 apart; 5 to 9
# are new to it.

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import fphi

torch.manual_seed(0)
images, digits = load_digits(return_X_y=True)
x, y = torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(digits)


def backbone(input_shape: tuple[int, ...], outputs: int | None) -> nn.Sequential:
    """From images of this shape to 128 features, or to answers where outputs are asked for."""
    body = [
        nn.Conv2d(input_shape[0], 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
    ]
    return nn.Sequential(*body, *([] if outputs is None else [nn.Linear(128, outputs)]))


network = backbone((1, 8, 8), 5)
optimizer = torch.optim.Adam(network.parameters(), 0.01)
for _ in range(300):
    optimizer.zero_grad()
    loss = cross_entropy(network(x[y < 5]), y[y < 5])
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
features = network[:-1]

# %%
# Frozen
# ------
# As an encoder it is asked in ``eval()``, each example by itself. Five examples of each new digit are
# shown.

new = np.flatnonzero(digits >= 5)
shown = np.concatenate([new[digits[new] == digit][:5] for digit in range(5, 10)])
asked = np.setdiff1d(new, shown)
model = fphi.FewShotClassifier(encoder=features).fit(x[shown], digits[shown])
accuracy = model.score(x[asked], digits[asked])
print(f"{accuracy:.0%} of the new digits are right")

# %%
# As a start
# ----------
# Or meta-learning starts from it: here prototypical networks, on characters of 28x28 pixels, for which its
# features have the same number. On the command line it is ``fphi train prototypical --network
# backbone.py:backbone --weights backbone.pt``, where the function is in that file.

learner = fphi.PrototypicalLearner(features)
tasks = fphi.load_tasks("hershey", ways=5, shots=1)
outer = fphi.GradientDescent(torch.optim.Adam(learner.parameters(), lr=3e-3))
before = fphi.evaluate(learner, tasks, count=100)
for step in range(40):
    loss, gradients = fphi.meta_gradient(learner, tasks.batch("train", range(8 * step, 8 * step + 8)))
    outer.step(learner, gradients)
after = fphi.evaluate(learner, tasks, count=100)
print("before", before)
print("after", after)
