"""What every learner must learn: nothing before training, a small problem by it."""

import pytest
import torch

from fphi.learnable import LearningAlgorithm
from fphi.networks import calibrate
from fphi.objective import meta_gradient
from fphi.run.meta.evaluate import evaluate
from learners import LEARNERS, WAYS, Case, easy_tasks, random_tasks, separately

every_learner = pytest.mark.parametrize("case", LEARNERS, ids=lambda c: c.name)


@every_learner
def test_chance_before_training(case: Case) -> None:
    """On noise every learner is right in one of N answers, within four standard errors."""
    learner = case.build("vmap")
    calibrate(learner, separately(random_tasks(8, dtype=torch.float32)), learner.observe)
    result = evaluate(learner, random_tasks(75, dtype=torch.float32), chunk_size=75)
    for values in (result.transductive, result.inductive):
        # Before training a sequence learner may give all queries of a task one answer: no spread at all.
        error = float(values.std()) / len(values) ** 0.5 + 1e-6
        assert abs(float(values.mean()) - 1 / WAYS) < 4 * error


@every_learner
def test_learns_a_small_problem(case: Case) -> None:
    if case.sequence:
        pytest.skip("takes longer, and tasks in random order: see test_sequence")
    learner = case.build("vmap")
    optimizer = torch.optim.Adam(learner.parameters(), lr=case.lr)
    if case.name == "reptile":  # its step is ε (θ̃ - φ): gradient descent of rate εα
        optimizer = torch.optim.SGD(learner.parameters(), lr=0.01)  # type: ignore[assignment]
    calibrate(learner, separately(easy_tasks(8, seed=0)), learner.observe)
    before = evaluate(learner, easy_tasks(40, seed=-1), inductive=False).loss
    for step in range(case.steps):
        batch = easy_tasks(8, seed=step, pooled=case.pooled)
        _, gradients = meta_gradient(learner, batch, chunk_size=8, threads=1)
        for name, p in learner.named_parameters():
            p.grad = gradients[name]
        optimizer.step()
        # Most need half of their steps or fewer.
        if (step + 1) % 5 == 0 and has_learned(learner, before):
            break
    assert has_learned(learner, before)


def has_learned(learner: LearningAlgorithm, before: float) -> bool:
    calibrate(learner, separately(easy_tasks(8, seed=0)), learner.observe)
    after = evaluate(learner, easy_tasks(40, seed=-1), inductive=False)
    return after.loss < 0.7 * before and after.accuracy > 0.75
