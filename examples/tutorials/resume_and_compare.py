"""
Stop, go on, compare
====================

A training may be stopped at any moment, and two trainings are compared task by task.
"""

# %%
# Stop and go on
# --------------
# ``max_time`` ends a training in time, and so do Ctrl-C, a signal, or a kill. ``resume=True`` goes on, and
# in the end the parameters are those of a training that was never stopped, bit for bit.

from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from safetensors.torch import load_file

import fphi

runs = Path(mkdtemp())
size: dict[str, Any] = {"meta_batch": 4, "validation_tasks": 20, "train_ways": 5}

fphi.train("prototypical", out=runs / "stopped", steps=20, max_time="0.1s", **size)
fphi.train("prototypical", out=runs / "stopped", steps=20, max_time="1h", resume=True, **size)
fphi.train("prototypical", out=runs / "whole", steps=20, **size)

stopped, whole = (load_file(runs / name / "last.safetensors") for name in ("stopped", "whole"))
assert all(torch.equal(stopped[name], whole[name]) for name in whole)

# %%
# ``last.safetensors`` is where a training stands, ``best.safetensors`` the best parameters that it has seen.
# Those may differ here: a training that runs out of time is validated once more.

# %%
# Compare
# -------
# Both are tested on the same tasks, so the difference is taken task by task. Its interval is narrower than
# those of the two accuracies. ``fphi compare runs/prototypical runs/matching`` prints the table.

fphi.train("matching", out=runs / "matching", steps=20, **size)
compared = fphi.compare([runs / "whole", runs / "matching"], test_tasks=50)
(pair,) = compared.pairs
print(f"prototypical - matching: {100 * pair.mean:+.1f} ± {100 * pair.ci95:.1f} points on 50 tasks")

# %%
# What a run leaves
# -----------------
# Its options, the course of training, the best parameters, and its tests.

print(sorted(path.name for path in (runs / "whole").iterdir()))
