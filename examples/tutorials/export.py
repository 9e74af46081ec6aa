"""
Take the learner elsewhere
==========================

A trained learner is written as one file: a model for any ONNX runtime, or a page that opens from disk.
"""

# %%
# Train
# -----
# A few steps only; a real training takes some minutes.

from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import onnxruntime
import torch

import fphi

folder = Path(mkdtemp())
fphi.train("prototypical", out=folder / "run", steps=3, meta_batch=2, train_ways=5, validation_tasks=4)

# %%
# As an ONNX model
# ----------------
# Not a network for fixed classes: what is exported *learns*. Each call brings the examples of a new task,
# of as many classes as one likes, and questions. It needs neither Python nor fphi.

fphi.export.export_onnx(folder / "run", folder / "learner.onnx")
session = onnxruntime.InferenceSession(folder / "learner.onnx")

task = fphi.load_tasks("hershey", ways=3, shots=2, queries=4).task("test", 0)
names = {"support_x": task.support.x, "support_y": task.support.y, "query_x": task.query.x}
(logits,) = session.run(["logits"], {name: tensor.numpy() for name, tensor in names.items()})

learner = fphi.load(folder / "run")
with torch.no_grad():
    here = learner(task.support, task.query.x)
difference = float(np.abs(logits - here.numpy()).max())
print(f"the largest difference from PyTorch is {difference:.1e}")

# %%
# As a page
# ---------
# Draw examples and a question, and see the answer, in one file without a server.

size = fphi.export.export_html(folder / "run", folder / "learner.html")
print(f"learner.html has {size / 1000:.0f} KB")
