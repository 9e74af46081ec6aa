"""Queries that influence each other through a network: found by trying, and asked one by one at an inductive test."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.learnable import (
    GradientLearner,
    LearningAlgorithm,
    MatchingLearner,
    PrototypicalLearner,
    RelationLearner,
)
from fphi.learnable.base import evaluation_mode
from fphi.networks import BatchNorm
from fphi.run.meta.evaluate import evaluate
from fphi.tasks.types import Examples, Task
from fphi.within import sgd
from learners import SIZE, WAYS, random_tasks

FEATURES = 6


def normalised(x: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, training=True)


def centred(x: Tensor) -> Tensor:
    return x - x.mean(0)


def attended(x: Tensor) -> Tensor:
    return (x @ x.T).softmax(-1) @ x


def beside_the_next(x: Tensor) -> Tensor:
    return x + x.roll(-1, 0)


MIXING = [normalised, centred, attended, beside_the_next]


class Layered(nn.Module):
    """A body of one layer, something done to its features, and a head."""

    def __init__(self, done: Callable[[Tensor], Tensor], outputs: int = WAYS, in_head: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = Done(done)
        first = [nn.Flatten(), nn.Linear(SIZE * SIZE, FEATURES)]
        self.body = nn.Sequential(*first, *([] if in_head else [layer]))
        self.head = nn.Sequential(*([layer] if in_head else []), nn.Linear(FEATURES, outputs))

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.head(self.body(x))
        return answers


class Done(nn.Module):
    def __init__(self, done: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.done = done
        self.rows: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.rows.append(len(x))
        return self.done(x)


class Related(nn.Module):
    """A relation of sums, whose rows are pairs."""

    def __init__(self, done: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.done, self.layer = done, nn.Linear(FEATURES, 1)

    def forward(self, classes: Tensor, queries: Tensor) -> Tensor:
        pairs = (queries[:, None] - classes).flatten(0, 1)
        related: Tensor = self.layer(self.done(pairs)).view(len(queries), len(classes)).sigmoid()
        return related


def body(done: Callable[[Tensor], Tensor]) -> nn.Module:
    return Layered(done).body


LEARNERS: dict[str, Callable[[Callable[[Tensor], Tensor]], LearningAlgorithm]] = {
    "gradient": lambda done: GradientLearner(Layered(done), optimizer=sgd(0.1), steps=1),
    "gradient, head, in the body": lambda done: GradientLearner(
        Layered(done), optimizer=sgd(0.1), steps=1, adapts="head"
    ),
    "gradient, head, in the head": lambda done: GradientLearner(
        Layered(done, in_head=True), optimizer=sgd(0.1), steps=1, adapts="head"
    ),
    "prototypical": lambda done: PrototypicalLearner(body(done)),
    "matching": lambda done: MatchingLearner(body(done)),
    "relation": lambda done: RelationLearner(body(torch.relu), Related(done)),
}
every_learner = pytest.mark.parametrize("build", LEARNERS.values(), ids=LEARNERS)


def others_changed(tasks: Task) -> Tensor:
    changed = tasks.query.x.clone()
    changed[:, 1:] = changed[:, 1:] * 3 - 5
    return changed


@every_learner
@pytest.mark.parametrize("done", MIXING)
def test_rows_that_mix_without_a_norm_layer_are_found_and_asked_alone(
    build: Callable[[Callable[[Tensor], Tensor]], LearningAlgorithm], done: Callable[[Tensor], Tensor]
) -> None:
    learner, tasks = build(done).double(), random_tasks()
    with evaluation_mode(learner), torch.no_grad():
        changed = others_changed(tasks)
        alone = [learner.solve_alone(tasks.support, x)[:, 0] for x in (tasks.query.x, changed)]
        together = [learner.solve(tasks.support, x)[:, 0] for x in (tasks.query.x, changed)]
    assert torch.equal(*alone)
    assert not torch.equal(*together)
    result = evaluate(learner, tasks)
    assert result.shares_queries
    assert result.to_json()["statistics"]["inductive"] == "support+1"


@every_learner
def test_rows_that_do_not_mix_are_asked_together(
    build: Callable[[Callable[[Tensor], Tensor]], LearningAlgorithm],
) -> None:
    learner, tasks = build(torch.relu).double(), random_tasks()
    assert not evaluate(learner, tasks).shares_queries
    layers = [m for m in learner.modules() if isinstance(m, Done)]
    with evaluation_mode(learner), torch.no_grad():
        assert torch.equal(
            learner.solve_alone(tasks.support, tasks.query.x), learner.solve(tasks.support, tasks.query.x)
        )
        for layer in layers:
            layer.rows.clear()
        learner.solve_alone(tasks.support, tasks.query.x)
    queries = tasks.query.x.shape[1]
    assert all(len(layer.rows) < queries for layer in layers)


def test_a_norm_layer_in_an_adapted_head_does_not_leak_either() -> None:
    learner = GradientLearner(
        Layered(torch.relu, in_head=True), optimizer=sgd(0.1), steps=1, adapts="head"
    ).double()
    learner.network.get_submodule("head").append(BatchNorm(WAYS).double())  # type: ignore[operator]
    tasks = random_tasks()
    with evaluation_mode(learner), torch.no_grad():
        alone = [learner.solve_alone(tasks.support, x)[:, 0] for x in (tasks.query.x, others_changed(tasks))]
    assert torch.equal(*alone)


def test_token_numbers_stay_such_while_it_is_found_out() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Embedding(10, FEATURES), nn.Flatten(), nn.Linear(4 * FEATURES, WAYS))
    learner = GradientLearner(network, optimizer=sgd(0.1), steps=1)
    labels = torch.arange(WAYS).expand(2, WAYS)
    tasks = Task(*(Examples(torch.randint(10, (2, WAYS, 4)), labels) for _ in range(2)))
    assert not evaluate(learner, tasks).shares_queries


def test_equal_queries_and_a_single_one_are_no_proof_of_independence() -> None:
    learner, tasks = (
        GradientLearner(Layered(normalised), optimizer=sgd(0.1), steps=1).double(),
        random_tasks(),
    )
    same = tasks.query.x[:, :1].expand_as(tasks.query.x)
    assert learner.shares_queries(tasks.support, same)
    assert not learner.shares_queries(tasks.support, same[:, :1])  # it has no others


def test_what_is_drawn_at_random_is_no_influence() -> None:
    class Noisy(GradientLearner):
        def solve(self, support: Examples, query_x: Tensor, steps: int | None = None) -> Tensor:
            answers = super().solve(support, query_x, steps)
            return answers + torch.randn_like(answers)

    learner, tasks = Noisy(Layered(torch.relu), optimizer=sgd(0.1), steps=1).double(), random_tasks()
    state = torch.random.get_rng_state()
    assert not learner.shares_queries(tasks.support, tasks.query.x)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("done", MIXING)
def test_solve_can_be_asked_for_the_inductive_answers(done: Callable[[Tensor], Tensor]) -> None:
    learner, tasks = GradientLearner(Layered(done), sgd(0.1), steps=1).double(), random_tasks()
    alone = learner.solve_alone(tasks.support, tasks.query.x)
    assert torch.equal(learner.solve(tasks.support, tasks.query.x, transductive=False), alone)  # type: ignore[call-arg]
    assert not torch.equal(learner.solve(tasks.support, tasks.query.x), alone)
