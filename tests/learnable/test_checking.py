"""What public calls are given is right, or refused in one line with its value and the way out."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fphi
from fphi import Examples, FphiError, Task
from fphi.learnable import ClassPretext, LSTMCore

Learner = fphi.LearningAlgorithm


def tasks(*shape: int, ways: int = 3, count: int = 6, batch: int = 2) -> Task:
    draw = torch.Generator().manual_seed(0)

    def part() -> Examples:
        x = torch.randn(batch, count, *(shape or (4,)), generator=draw, dtype=torch.float64)
        return Examples(x, (torch.arange(count) % ways).expand(batch, -1))

    return Task(part(), part())


def linear(inputs: int = 4, outputs: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs).double()


def maml(network: nn.Module | None = None, **options: object) -> Learner:
    return fphi.GradientLearner(network or linear(), fphi.sgd(0.5), steps=2, **options)  # type: ignore[arg-type]


def prototypes() -> Learner:
    return fphi.PrototypicalLearner(linear(4, 8))


def sequence() -> Learner:
    torch.manual_seed(0)
    return fphi.SequenceLearner(linear(4, 8), LSTMCore(11, 3, hidden=4).double(), 3)


LEARNERS = (maml, prototypes, sequence)


def with_labels(given: Task, change: Callable[[Tensor], Tensor], side: str = "both") -> Task:
    return Task(
        *(
            Examples(e.x, change(e.y)) if side in ("both", name) else e
            for name, e in zip(Task._fields, given, strict=True)
        )
    )


@pytest.mark.parametrize("make", LEARNERS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_of_any_integer_type_count_the_same(make: Callable[[], Learner], dtype: torch.dtype) -> None:
    learner, given = make(), tasks()
    other = with_labels(given, lambda y: y.to(dtype))
    assert torch.equal(fphi.meta_gradient(learner, given)[0], fphi.meta_gradient(learner, other)[0])
    assert fphi.evaluate(learner, given).accuracy == fphi.evaluate(learner, other).accuracy
    one = [Examples(t.support.x[0], t.support.y[0]) for t in (given, other)]
    assert torch.equal(*(learner(part, given.query.x[0]) for part in one))


def test_two_classes_may_be_told_by_true_and_false() -> None:
    given = tasks(ways=2)
    learner = prototypes()
    told = with_labels(given, lambda y: y.bool())
    assert torch.equal(fphi.meta_gradient(learner, given)[0], fphi.meta_gradient(learner, told)[0])


@pytest.mark.parametrize(
    "loss", [F.mse_loss, F.l1_loss, F.smooth_l1_loss, lambda a, y: (a - y).square().mean()]
)
def test_whole_numbers_are_targets_of_a_regression(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    given, y = tasks(), torch.tensor([[3], [70], [-12], [5], [0], [9]]).expand(2, -1, -1)
    learner = fphi.GradientLearner(linear(4, 1), fphi.sgd(1e-3), steps=1, loss=loss)
    whole = with_labels(given, lambda _: y)
    real = with_labels(given, lambda _: y.double())
    assert torch.equal(fphi.meta_gradient(learner, whole)[0], fphi.meta_gradient(learner, real)[0])
    tested = fphi.evaluate(learner, whole)
    assert tested.loss == fphi.evaluate(learner, real).loss
    assert not len(tested.transductive)  # a number is not right or wrong


class Positions(nn.Linear):
    """Answers ``[n, classes, positions]`` from ``[n, positions, features]``."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).mT


def test_a_label_for_each_position_is_counted_one_by_one() -> None:
    torch.manual_seed(0)
    given = tasks(5, 4)
    y = torch.randint(7, (2, 6, 5))
    learner = maml(Positions(4, 7).double())
    labelled = with_labels(given, lambda _: y)
    tested = fphi.evaluate(learner, labelled)
    answers = learner.solve(labelled.support, labelled.query.x)
    torch.testing.assert_close(tested.transductive, (answers.argmax(2) == y).float().mean((1, 2)))
    torch.testing.assert_close(
        tested.losses, torch.stack([F.cross_entropy(a, t) for a, t in zip(answers, y, strict=True)]).detach()
    )


@pytest.mark.parametrize("batching", ["vmap", "loop"])
def test_ignored_labels_count_neither_in_loss_nor_in_accuracy(batching: str) -> None:
    given = tasks()
    ignoring = with_labels(given, lambda y: torch.where(torch.arange(6) < 4, y, -100))
    kept = Task(*(Examples(e.x[:, :4], e.y[:, :4]) for e in given))
    learner = maml(batching=batching)
    for one, other in zip(
        fphi.meta_gradient(learner, ignoring)[1].values(),
        fphi.meta_gradient(learner, kept)[1].values(),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
    assert fphi.evaluate(learner, ignoring).accuracy == fphi.evaluate(learner, kept).accuracy


BAD_LABELS: list[tuple[Callable[[], Learner], Callable[[Tensor], Tensor], str, str]] = [
    (maml, lambda y: y + 1, "both", "support.y has the label 3, and the network has outputs for 0 to 2"),
    (maml, lambda y: y + 1, "query", "a query has the label 3, and there are answers for 0 to 2 only"),
    (maml, lambda y: y - 1, "both", "support.y has the label -1; number the classes from 0"),
    (maml, lambda y: y - 7, "query", "query.y has the label -7; number the classes from 0"),
    (maml, F.one_hot, "both", r"as one-hot ones are; .* give y.argmax\(1\)"),
    (maml, lambda y: torch.full_like(y, -100), "query", "all of query.y of a task is -100"),
    (maml, lambda y: y.double(), "both", "cross-entropy needs whole class numbers"),
    (prototypes, lambda y: y - 1, "both", "support.y has the label -1; number the classes from 0"),
    (prototypes, lambda y: y - 100, "query", "query.y has the label -100"),
    (prototypes, lambda y: y + 10**9, "both", "support.y has the label 1000000002, and 6 examples cannot"),
    (prototypes, lambda y: y + 2, "query", "a query has the label 4, and there are answers for 0 to 2 only"),
    (prototypes, F.one_hot, "both", r"one class number for each example: .*y.argmax\(-1\)"),
    (prototypes, lambda y: y.double(), "both", r"support.y are float64, .* give y.long\(\)"),
    (sequence, lambda y: y + 4, "both", "tasks of 7 ways for a learner that was built for 3"),
    (sequence, lambda y: y - 1, "both", "support.y has the label -1"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "change", "side", "message"), BAD_LABELS)
def test_labels_that_no_answer_can_meet_are_refused(
    make: Callable[[], Learner], change: Callable[[Tensor], Tensor], side: str, message: str
) -> None:
    given = with_labels(tasks(), change, side)
    for call in (fphi.meta_gradient, fphi.evaluate):
        with pytest.raises(FphiError, match=message):
            call(make(), given)


def test_no_answer_is_compared_with_each_target() -> None:
    learner = fphi.GradientLearner(linear(4, 1), fphi.sgd(0.1), steps=1, loss=F.mse_loss)
    given = with_labels(tasks(), lambda y: y.double())
    with pytest.raises(FphiError, match=r"answers are \[6, 1\] and targets \[6\]; .* reshape y"):
        fphi.meta_gradient(learner, given)


def test_each_task_has_support_and_query() -> None:
    given, more = tasks(batch=2), tasks(batch=3)
    for one, other in ((given, more), (more, given)):
        mixed = Task(one.support, other.query)
        for call in (fphi.meta_gradient, fphi.evaluate):
            with pytest.raises(FphiError, match=r"there are [23] support sets and [23] query sets"):
                call(maml(), mixed)
        with pytest.raises(FphiError, match=r"there are [23] support sets and [23] query sets"):
            maml().solve(one.support, other.query.x)


EMPTY: list[tuple[Callable[[Task], Task], str]] = [
    (lambda t: Task(Examples(t.support.x[:, :0], t.support.y[:, :0]), t.query), r"support.x is \[2, 0, 4\]"),
    (lambda t: Task(t.support, Examples(t.query.x[:, :0], t.query.y[:, :0])), r"query.x is \[2, 0, 4\]"),
    (lambda t: Task(*(Examples(e.x[:0], e.y[:0]) for e in t)), "the batch holds no task"),
    (lambda t: Task(t.support, Examples(t.query.x, t.query.y[:, :4])), r"query.y \[2, 4\]; both must be"),
    (lambda t: Task(t.support, Examples(t.query.x[0], t.query.y)), r"query.x is \[6, 4\] and query.y \[2, 6\]"),
    (lambda t: Task(t.support, Examples(t.query.x.float(), t.query.y)), "dtype float64 and query.x float32"),
    (lambda t: Task(Examples(t.support.x.log(), t.support.y), t.query), r"support.x holds nan at \[0, "),
    (lambda t: Task(t.support, Examples(t.query.x / 0, t.query.y)), r"query.x holds -?inf at \[0, 0, 0\]"),
    (lambda t: Task(*(Examples(e.x[..., :3], e.y) for e in t)), r"Linear does not take query.x \[6, 3\]"),
    (lambda t: Task(*(Examples(e.x.float(), e.y) for e in t)), "float32 on cpu .* parameters are float64"),
    (lambda t: Task(t.support, Examples(t.query.x.numpy(), t.query.y)), "query.x is a ndarray; give a"),  # type: ignore[arg-type]
    (lambda t: [t], "tasks is of type list; it must be of type Task"),  # type: ignore[list-item, return-value]
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), EMPTY)
@pytest.mark.parametrize("make", LEARNERS)
def test_tasks_that_are_none_are_refused(
    make: Callable[[], Learner], change: Callable[[Task], Task], message: str
) -> None:
    with pytest.raises(FphiError, match=message):
        fphi.meta_gradient(make(), change(tasks()))


@pytest.mark.parametrize("make", LEARNERS)
def test_a_single_call_is_checked_too(make: Callable[[], Learner]) -> None:
    learner, given = make(), tasks()
    support, queries = Examples(given.support.x[0], given.support.y[0]), given.query.x[0]
    for part, query, message in (
        (Examples(support.x, support.y[:4]), queries, r"support.x is \[6, 4\] and support.y \[4\]"),
        (support, queries[:0], r"query.x is \[0, 4\], which is no example"),
        (Examples(support.x, support.y - 9), queries, "support.y has the label -9"),
        (support, queries[:, :3], "does not take query.x"),
    ):
        with pytest.raises(FphiError, match=message):
            learner(part, query)
    if isinstance(learner, fphi.GradientLearner):
        with pytest.raises(FphiError, match=r"support\.y has the label -9"):
            learner.adapt(Examples(support.x, support.y - 9))


@pytest.mark.parametrize(
    "make",
    [
        lambda: fphi.PrototypicalLearner(nn.Flatten()),
        lambda: fphi.MatchingLearner(nn.Identity(), distance="euclidean"),
        lambda: fphi.MetricLearner(nn.Tanh()),
    ],
)
def test_a_network_without_parameters_has_a_loss_and_no_gradient(make: Callable[[], Learner]) -> None:
    learner = make()
    loss, gradients = fphi.meta_gradient(learner, tasks())
    assert gradients == {}
    assert torch.isclose(loss, learner.task_losses(tasks()).mean())


def test_what_is_no_learner_is_refused() -> None:
    with pytest.raises(FphiError, match="learner is of type Linear; it must be of type LearningAlgorithm"):
        fphi.meta_gradient(linear(), tasks())  # type: ignore[arg-type]


def test_a_subclass_is_checked_as_well() -> None:
    class Nearest(Learner):
        def forward(self, support: Examples, query_x: Tensor) -> Tensor:
            return -torch.cdist(query_x, support.x)

    given = tasks()
    assert Nearest().solve(given.support, given.query.x).shape == (2, 6, 6)
    with pytest.raises(FphiError, match=r"query\.x is a list"):
        Nearest()(Examples(given.support.x[0], given.support.y[0]), [1.0])


class _Doubles(nn.Module):
    """Features in float64, of examples in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 6).double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.double())
        return out


def test_features_of_another_type_than_the_learner_s_layers_are_named() -> None:
    x, y = torch.randn(2, 6, 4), torch.arange(3).repeat(2).expand(2, -1)
    given = Task(Examples(x, y), Examples(x, y))
    makes: tuple[Callable[[], Learner], ...] = (
        lambda: fphi.PretrainedLearner(_Doubles(), ClassPretext(6, 3)),
        lambda: fphi.HyperLearner(_Doubles(), nn.Linear(6, 5), nn.Linear(5, 7)),
    )
    for make in makes:
        learner = make()
        said = rf"_Doubles gives float64, and the other layers of {type(learner).__name__} are float32: let"
        with pytest.raises(FphiError, match=said):
            fphi.meta_gradient(learner, given)
        fphi.meta_gradient(learner.to(torch.float64), given)  # as the message says
    # Of a learned rule's own numbers the type is not what is wrong.
    own = fphi.OptimizerLearner(_Doubles(), fphi.LSTMOptimizer(hidden=2), 1, loss=nn.functional.nll_loss)
    with pytest.raises(FphiError) as met:
        fphi.meta_gradient(own, Task(Examples(x, y + 6), Examples(x, y + 6)))
    assert "the other layers" not in str(met.value)
