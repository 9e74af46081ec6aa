"""Across-task testing: the numbers are what they say they are."""

import copy
import math
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import fphi
from fphi.errors import FphiError
from fphi.learnable import GradientLearner, LearningAlgorithm, PrototypicalLearner, RelationLearner
from fphi.networks import MLP, BatchNorm, Conv4
from fphi.networks.calibration import lacks_statistics
from fphi.objective import meta_gradient
from fphi.objective.meta_gradient import size_of_task
from fphi.run.meta.evaluate import calibrate_on, evaluate
from fphi.run.meta.evaluation import Evaluation, Interval
from fphi.tasks import SineTasks, Task, load_tasks
from fphi.tasks.types import Examples
from fphi.within import Parameters, sgd
from fphi.within.answers import are_right
from learners import SIZE, conv, random_tasks


def test_an_interval_is_1_96_standard_errors() -> None:
    interval = Interval.of(torch.tensor([0.0, 1.0, 1.0, 0.0]))
    assert interval.mean == 0.5
    assert interval.ci95 == pytest.approx(1.96 * math.sqrt(1 / 3) / 2)
    assert Interval.of(torch.tensor([1.0])).ci95 == math.inf


def test_accuracy_and_loss_after_each_step_are_those_of_a_learner_with_so_many_steps() -> None:
    tasks = random_tasks(4, dtype=torch.float32)
    result = evaluate(GradientLearner(conv(), sgd(0.4), 1), tasks, steps=4)
    for i, entry in enumerate(result.by_step):
        alone = evaluate(GradientLearner(conv(), sgd(0.4), i), tasks)
        assert entry["step"] == i
        assert entry["accuracy"] == pytest.approx(alone.accuracy, abs=1e-6)
        assert entry["loss"] == pytest.approx(alone.loss, rel=1e-5)
    assert len(result.by_step) == 5
    assert result.accuracy == pytest.approx(result.by_step[1]["accuracy"])  # the headline is at test_steps


def test_chunks_do_not_change_an_evaluation() -> None:
    tasks = random_tasks(5, dtype=torch.float32)
    learner = GradientLearner(conv(), sgd(0.4), 2)
    whole, parts = evaluate(learner, tasks), evaluate(learner, tasks, chunk_size=2)
    assert torch.equal(whole.transductive, parts.transductive)
    torch.testing.assert_close(whole.losses, parts.losses)


class Counting(GradientLearner):
    """One that tells, together with its copies, how many tasks they are given each time they learn."""

    given: ClassVar[list[int]] = []

    def _begin(self, support: Examples) -> Parameters:
        self.given.append(len(support.x))
        return super()._begin(support)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setattr(Counting, "given", [])
    return Counting.given


def test_a_large_network_has_fewer_tasks_at_once(given: list[int]) -> None:
    """Each of them has a copy of the weights: these are as large as 18 examples, of which a task has 12."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 9200), nn.Linear(9200, 3))
    learner, tasks = Counting(network, sgd(0.1), 1), random_tasks(42, dtype=torch.float32)
    evaluate(learner, tasks, inductive=False)
    assert max(given) == 256 // 18 < 256 // 12
    given.clear()
    meta_gradient(learner, tasks, threads=1)
    assert sum(given) == 42
    assert size_of_task(learner, 12, 12 * SIZE * SIZE) == 18


def test_whether_queries_share_is_found_with_one_adaptation(given: list[int]) -> None:
    """Which is most of the work where there are many inner steps."""
    learner = Counting(nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 3)), sgd(0.1), 1)
    tasks = random_tasks(1, dtype=torch.float32)
    assert not learner.shares_queries(tasks.support, tasks.query.x)
    assert given == [1]


class Centred(GradientLearner):
    """Its answers depend on each other, by what its own `solve` does after the network."""

    def solve(self, support: Examples, query_x: Tensor, steps: int | None = None) -> Tensor:
        answers = super().solve(support, query_x, steps)
        return answers - answers.mean(1, keepdim=True)


def test_a_solve_of_a_class_of_its_own_is_what_is_tried() -> None:
    learner = Centred(nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 3)), sgd(0.1), 1)
    tasks = random_tasks(1, dtype=torch.float32)
    assert learner.shares_queries(tasks.support, tasks.query.x)


def test_a_learner_that_knows_the_answer_is_always_right() -> None:
    """Prototypes of pixels, queries equal to the support: accuracy 1, in both senses."""
    support = random_tasks(6, shots=1, dtype=torch.float32).support
    result = evaluate(PrototypicalLearner(torch.nn.Flatten()), Task(support, support))
    assert result.accuracy == 1
    assert torch.equal(result.inductive, result.transductive)
    assert result.to_json()["statistics"] == {"inductive": "none of other queries"}
    assert result.to_json()["accuracy"] == {"inductive": {"mean": 1.0, "ci95": 0.0}}


def test_transductive_and_inductive_differ_where_queries_share_statistics() -> None:
    result = evaluate(GradientLearner(conv(), sgd(0.4), 2), random_tasks(20, dtype=torch.float32))
    assert not torch.equal(result.transductive, result.inductive)
    assert result.to_json()["statistics"] == {"transductive": "query-batch", "inductive": "support+1"}
    assert result.to_json()["accuracy"].keys() == {"transductive", "inductive"}


def test_inductive_accuracy_that_is_left_out_is_not_claimed() -> None:
    learner = GradientLearner(conv(), sgd(0.4), 2)
    result = evaluate(learner, random_tasks(4, dtype=torch.float32), inductive=False)
    assert result.to_json()["accuracy"].keys() == {"transductive"}
    assert "inductive" not in repr(result)


class OnlyForward(LearningAlgorithm):
    """Prototypes in an embedding whose batch norm sees support and queries of a task together."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 8), norm)

    def forward(self, support: Examples, query_x: Tensor) -> Tensor:
        embedded = self.embedding(torch.cat([support.x, query_x]))
        keys, queries = embedded[: len(support.y)], embedded[len(support.y) :]
        distances: Tensor = (queries[:, None] - keys[support.y.argsort()]).square().sum(-1)
        return -distances


@pytest.mark.parametrize("norm", [BatchNorm(8), nn.BatchNorm1d(8)], ids=["own", "torch's"])
def test_a_learner_with_forward_alone_answers_each_query_alone_where_it_is_to(norm: nn.Module) -> None:
    learner, tasks = OnlyForward(norm).double(), random_tasks(20, shots=1, queries=3)
    result = evaluate(learner, tasks)
    assert result.shares_queries
    assert not torch.equal(result.inductive, result.transductive)
    for i in range(20):
        support = Examples(tasks.support.x[i], tasks.support.y[i])
        alone = torch.cat([learner(support, query[None]) for query in tasks.query.x[i]])
        right = (alone.argmax(-1) == tasks.query.y[i]).float().mean()
        assert float(result.inductive[i]) == float(right)


class EmbedsQueriesApart(OnlyForward):
    def forward(self, support: Examples, query_x: Tensor) -> Tensor:
        keys, queries = self.embedding(support.x), self.embedding(query_x)
        answers: Tensor = -(queries[:, None] - keys[support.y.argsort()]).square().sum(-1)
        return answers


def test_a_learner_whose_batch_norm_would_get_a_query_by_itself_is_told_what_to_do() -> None:
    tasks = random_tasks(2, shots=1, queries=3)
    learner = EmbedsQueriesApart(nn.BatchNorm1d(8, track_running_stats=False)).double()
    with pytest.raises(FphiError, match=r"EmbedsQueriesApart gives its batch norm a single query.*together"):
        evaluate(learner, tasks)
    assert 0 <= evaluate(learner, tasks, inductive=False).accuracy <= 1
    with pytest.raises(ValueError, match="mine"):
        _Fails().solve_alone(tasks.support, tasks.query.x)


class _Fails(LearningAlgorithm):
    def solve(self, support: Examples, query_x: Tensor) -> Tensor:
        raise ValueError("mine")


def test_an_evaluation_prints_as_a_line() -> None:
    tasks = random_tasks(4, dtype=torch.float32)
    values = torch.tensor([0.5, 1.0])
    result = Evaluation(values, values, torch.tensor([0.5, 0.25]))
    assert repr(result) == str(result) == "2 tasks: inductive accuracy 75 ± 49 %, loss 0.375 ± 0.24"
    shared = repr(evaluate(GradientLearner(conv(), sgd(0.4), 2), tasks))
    assert "inductive accuracy" in shared
    assert ", transductive accuracy" in shared
    assert "\n" not in shared


def test_regression_has_a_loss_and_no_accuracy() -> None:
    result = evaluate(
        GradientLearner(MLP(1, (8,), 1), sgd(0.01), 1, loss=torch.nn.functional.mse_loss),
        SineTasks(shots=5),
        count=30,
    )
    assert result.losses.shape == (30,)
    assert "accuracy" not in result.to_json()
    assert math.isnan(result.accuracy)


def test_predicting_nothing_on_sine_waves_costs_what_it_must() -> None:
    """The mean squared error of predicting 0 is E[a²]/2 = 4.2517, within four standard errors."""
    network = MLP(1, (4,), 1)
    for p in network.parameters():
        p.data.zero_()
    learner = GradientLearner(network, sgd(0.0), 0, loss=torch.nn.functional.mse_loss)
    losses = evaluate(learner, SineTasks(shots=10), count=4000).losses
    assert abs(float(losses.mean()) - 4.251667) < 4 * float(losses.std()) / 4000**0.5


def test_running_statistics_come_from_training_tasks() -> None:
    tasks = load_tasks("hershey", ways=5, shots=1)
    learner = PrototypicalLearner(Conv4(None, filters=4, norm="running"))
    calibrate_on(learner, tasks, count=3)
    first = next(m for m in learner.modules() if isinstance(m, BatchNorm))
    again = PrototypicalLearner(Conv4(None, filters=4, norm="running"))
    again.load_state_dict(learner.state_dict())
    calibrate_on(again, tasks, count=3)
    assert torch.equal(
        first.running_mean, next(m for m in again.modules() if isinstance(m, BatchNorm)).running_mean
    )
    assert not torch.equal(first.running_var, torch.ones(4))


@pytest.mark.parametrize("relation", [False, True], ids=["prototypical", "relation"])
def test_taking_statistics_moves_no_buffer_of_another_norm(relation: bool) -> None:
    tasks = load_tasks("hershey", ways=5, shots=1)
    own, norm = BatchNorm(4, "running"), nn.BatchNorm2d(4)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, 3), own, norm)
    learner = RelationLearner(network, Likeness()) if relation else PrototypicalLearner(network)
    calibrate_on(learner, tasks, count=3)
    assert norm.num_batches_tracked == 0
    assert bool((own.running_var != 1).all())


class Likeness(nn.Module):
    """Of the mean of maps."""

    def forward(self, classes: Tensor, queries: Tensor) -> Tensor:
        return (queries.mean((1, 2, 3))[:, None] - classes.mean((1, 2, 3))).square().neg().exp()


@pytest.mark.parametrize("follows", [True, False])
def test_statistics_that_nobody_took_are_taken_for_a_test(
    follows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = load_tasks("hershey", ways=5, shots=1)
    learner = PrototypicalLearner(Conv4(None, filters=4, norm="running"))
    if not follows:  # as of a learner that cannot be copied
        monkeypatch.setattr("fphi.run.meta.evaluate.stand_in", lambda module, tensors: None)
    before, drawn = copy.deepcopy(learner.state_dict()), torch.get_rng_state()
    found = evaluate(learner, tasks, count=4)
    assert torch.equal(drawn, torch.get_rng_state())
    unchanged = all(torch.equal(before[name], value) for name, value in learner.state_dict().items())
    assert unchanged == follows
    calibrate_on(learner, tasks)
    assert torch.equal(found.losses, evaluate(learner, tasks, count=4).losses)


def test_without_training_tasks_statistics_that_nobody_took_are_asked_for() -> None:
    tasks = load_tasks("hershey", ways=5, shots=1)
    learner = PrototypicalLearner(Conv4(None, filters=4, norm="running"))
    batch, only = tasks.batch("test", range(2)), load_tasks("hershey", ways=5, shots=1, splits=["test"])
    for given in (batch, only):
        with pytest.raises(FphiError, match=r"have no statistics yet.* call fphi\.calibrate_on\(learner"):
            evaluate(learner, given, count=2)
    calibrate_on(learner, tasks)
    assert torch.equal(evaluate(learner, batch).losses, evaluate(learner, only, count=2).losses)


def test_a_start_that_nothing_is_learned_from_keeps_statistics(tmp_path: Path) -> None:
    out = tmp_path / "run"
    fphi.train("from-scratch", out=out, network="conv4-stride", norm="running", inner_steps=1)
    assert not lacks_statistics(fphi.load(out))
    assert fphi.evaluate(out, test_tasks=2)["tasks"] == 2


def test_no_tasks_are_refused() -> None:
    with pytest.raises(FphiError, match="count is 0"):
        evaluate(PrototypicalLearner(torch.nn.Flatten()), load_tasks("hershey"), count=0)


def test_a_class_without_support_is_named() -> None:
    x, y = torch.rand(1, 3, 4), torch.tensor([[0, 2, 2]])
    with pytest.raises(FphiError, match="class 1 of task 0 has no support example"):
        PrototypicalLearner(torch.nn.Flatten()).solve(Examples(x, y), x)


class Answering(LearningAlgorithm):
    """Answers each query by what is in its first values."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, support: Examples, query_x: Tensor) -> Tensor:
        return query_x / self.scale / self.scale.new_tensor(0)


@pytest.mark.parametrize("signs", [0.0, 1.0])
def test_what_is_not_finite_is_no_answer(signs: float) -> None:
    """0/0 is nan, 1/0 infinite: neither says class 0."""
    x, y = torch.full((2, 3, 3), signs), torch.zeros(2, 3, dtype=torch.int64)
    result = evaluate(Answering(), Task(Examples(x, y), Examples(x, y)))
    assert result.transductive.tolist() == [0, 0]


def test_a_class_that_is_ruled_out_leaves_the_others() -> None:
    x = torch.tensor([[[0.0, -torch.inf, -1.0], [-torch.inf, 0.0, -1.0]]])
    assert are_right(x, torch.tensor([[0, 0]])).tolist() == [[True, False]]
    assert are_right(x.transpose(1, 2), torch.tensor([[0, 0]]), 1).tolist() == [[True, False]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_means_are_taken_in_double_whatever_the_network_computes_in(dtype: torch.dtype) -> None:
    losses = (torch.arange(300) / 7 + 1).to(dtype)
    expected = sum(losses.tolist()) / 300
    result = Evaluation(torch.ones(300), torch.ones(300), losses)
    assert result.loss == pytest.approx(expected, rel=1e-12)
    assert result.to_json()["loss"]["mean"] == result.loss


def test_means_by_step_are_taken_in_double() -> None:
    tasks = random_tasks(40, dtype=torch.bfloat16)
    learner = GradientLearner(MLP(SIZE * SIZE, (4,), 5).bfloat16(), sgd(0.1), 1)
    result = evaluate(learner, Task(*(Examples(part.x.flatten(2), part.y) for part in tasks)))
    assert result.by_step[1]["loss"] == result.loss
    assert result.by_step[1]["accuracy"] == result.accuracy
