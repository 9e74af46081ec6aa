"""
A method of your own
====================

Forty lines make a method that trains, validates, resumes and is compared like those that are there.
"""

# %%
# Ridge regression on learned features
# ------------------------------------
# What is learnable: a network, and how strongly the ridge is damped. A task is learned in closed form
# (`Bertinetto et al. 2019 <https://arxiv.org/abs/1805.08136>`_): the weights from features to classes that
# solve ridge regression on the support set. Its gradient reaches the network through
# ``torch.linalg.solve``.

from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import torch
from torch import Tensor, nn

import fphi


class RidgeLearner(fphi.LearningAlgorithm):
    """Answers by ridge regression on the features of a network."""

    def __init__(self, network: nn.Module, ways: int) -> None:
        super().__init__()
        self.network, self.ways = network, ways
        self.log_damping = nn.Parameter(torch.zeros(()))
        self.scale = nn.Parameter(torch.tensor(5.0))

    def forward(self, support: fphi.Examples, query_x: Tensor) -> Tensor:
        """One task: ``support.x [n, ...]`` and ``query_x [q, ...]`` to ``[q, ways]``."""
        seen, asked = self.network(support.x), self.network(query_x)
        targets = nn.functional.one_hot(support.y, self.ways).to(seen.dtype)
        damped = seen @ seen.T + self.log_damping.exp() * torch.eye(len(seen), dtype=seen.dtype)
        answers: Tensor = self.scale * asked @ seen.T @ torch.linalg.solve(damped, targets)
        return answers


@fphi.method("ridge", paper="Bertinetto et al. 2019")
@dataclass(frozen=True)
class Ridge(fphi.FewShotMethod):
    """Ridge regression on learned features.

    Args:
        outer_lr: Adam's learning rate.
    """

    outer_lr: float = 1e-3

    def learner(self, setting: fphi.Setting) -> RidgeLearner:
        """What is learnable."""
        return RidgeLearner(fphi.MLP(28 * 28, (64,), 32), setting.ways or 5)

    def optimizer(self, learner: fphi.LearningAlgorithm) -> fphi.GradientDescent:
        """How it is optimized."""
        return fphi.GradientDescent(torch.optim.Adam(learner.parameters(), lr=self.outer_lr))


# %%
# Use it
# ------
# Its fields are options. On the command line, with the class in ``ridge.py``, it is ``fphi train
# ridge.py:Ridge --outer-lr 0.002``.

out = Path(mkdtemp()) / "ridge"
tasks = fphi.load_tasks("hershey", ways=5, shots=1)
untrained = RidgeLearner(fphi.MLP(28 * 28, (64,), 32), 5)
before = fphi.evaluate(untrained, tasks, count=100)
fphi.train("ridge", out=out, steps=100, meta_batch=8, validation_tasks=40, outer_lr=2e-3)
after = fphi.evaluate(out, test_tasks=100)["accuracy"]["inductive"]
print("untrained", before)
print("trained", after)
