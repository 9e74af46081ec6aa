"""Tables in context: what an answer may depend on, and the closed forms that it is given."""

import copy

import pytest
import torch
from torch import Tensor, nn

from fphi.learnable import InContextLearner
from fphi.learnable.sequence import closed_forms
from fphi.tasks.types import Examples


def small(*, hints: bool = True, ensemble: int = 1, columns: int = 8) -> InContextLearner:
    torch.manual_seed(0)
    return InContextLearner(
        nn.Flatten(), 4, columns=columns, width=16, layers=2, heads=2, hints=hints, ensemble=ensemble
    ).double()


def table(rows: int = 24, columns: int = 5, classes: int = 3, queries: int = 6) -> tuple[Examples, Tensor]:
    draw = torch.Generator().manual_seed(1)
    y = torch.arange(rows) % classes
    x = torch.randn(rows, columns, generator=draw, dtype=torch.float64) + y[:, None]
    return Examples(x, y), torch.randn(queries, columns, generator=draw, dtype=torch.float64) + 1


BOTH = pytest.mark.parametrize("hints", [True, False])


@BOTH
def test_the_order_of_columns_and_their_scale_do_not_matter(hints: bool) -> None:
    learner, (support, queries) = small(hints=hints), table()
    before = learner(support, queries)
    order, scale = (
        torch.tensor([3, 0, 4, 2, 1]),
        torch.tensor([1e-3, 1.0, 50.0, 3.0, 7.0], dtype=torch.float64),
    )
    other = learner(Examples((scale * support.x + 2)[:, order], support.y), (scale * queries + 2)[:, order])
    torch.testing.assert_close(other, before, rtol=1e-9, atol=1e-9)


@BOTH
def test_a_query_is_answered_alone_as_among_others_and_no_statistic_is_of_queries(hints: bool) -> None:
    learner, (support, queries) = small(hints=hints), table()
    together = learner(support, queries)
    others = torch.cat([queries[:1], 1e6 * queries[1:]])
    assert torch.equal(learner(support, others)[0], together[0])
    for i in range(len(queries)):
        torch.testing.assert_close(
            learner(support, queries[i : i + 1])[0], together[i], rtol=1e-12, atol=1e-12
        )
    assert not learner.shares_queries(Examples(support.x[None], support.y[None]), queries[None])


def test_a_constant_column_is_as_if_it_were_not_there() -> None:
    learner, (support, queries) = small(), table()
    wider = [torch.cat([x[:, :2], torch.full_like(x[:, :1], 7.0), x[:, 2:]], 1) for x in (support.x, queries)]
    torch.testing.assert_close(learner(Examples(wider[0], support.y), wider[1]), learner(support, queries))


@pytest.mark.parametrize("columns", [1, 3, 8, 20])
def test_a_token_is_as_large_whatever_the_number_of_columns(columns: int) -> None:
    """Values of variance 1 in d of D places, times √(D/d): the sum of squares is D on average."""
    learner, draw = small(hints=False), torch.Generator().manual_seed(0)
    x, y = torch.randn(1, 60, columns, generator=draw, dtype=torch.float64), torch.arange(60)[None] % 2
    values = learner._prepared(x, x[:, :1], y).columns[:, :-1, :8]
    assert float(values.square().sum(2).mean()) == pytest.approx(8)


def test_classes_that_are_not_there_are_no_answers_and_one_class_is_the_only_answer() -> None:
    learner, (support, queries) = small(ensemble=3), table(classes=3)
    assert (learner(support, queries).softmax(1)[:, 3] == 0).all()
    only = Examples(support.x, torch.full_like(support.y, 2))
    for asked in (learner, small(hints=False)):
        assert (asked(only, queries).softmax(1)[:, 2] == 1).all()


def test_an_ensemble_is_the_mean_of_probabilities_with_classes_numbered_anew() -> None:
    learner, (support, queries) = small(ensemble=3), table()
    alone = copy.copy(learner)
    alone.ensemble = 1
    assert not torch.allclose(learner(support, queries).softmax(1), alone(support, queries).softmax(1))
    learner.ensemble = 1
    batch = learner._prepared(support.x[None], queries[None], support.y[None])
    each = torch.stack([learner._answers(batch, turn)[..., :3].softmax(2) for turn in range(3)])
    learner.ensemble = 3
    torch.testing.assert_close(learner(support, queries).softmax(1)[:, :3], each.mean(0)[0])
    # Three classes have three turns: more of them are the same again.
    learner.ensemble = 6
    torch.testing.assert_close(learner(support, queries).softmax(1)[:, :3], each.mean(0)[0])


def test_equal_columns_and_classes_keep_support_order_irrelevant() -> None:
    """Exclusive or: no column tells classes apart, all means are equal."""
    x = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64).repeat(5, 1)
    y = (x[:, 0] != x[:, 1]).long()
    order, learner = torch.randperm(20, generator=torch.Generator().manual_seed(0)), small()
    shuffled = learner(Examples(x[order], y[order]), x[:4])
    torch.testing.assert_close(shuffled, learner(Examples(x, y), x[:4]), rtol=1e-9, atol=1e-9)


# Closed forms.


def test_a_support_row_is_answered_as_if_it_were_left_out() -> None:
    support, queries = table(rows=14, queries=3)
    x = torch.cat([support.x, queries])[None]
    marks = nn.functional.one_hot(support.y, 4)[None].double()
    kernel = x @ x[:, :14].transpose(1, 2)
    ridges, clouds = closed_forms._answers(kernel, marks, 0.3), closed_forms._of_clouds(x, marks)
    for i in range(14):
        kept = [j for j in range(14) if j != i]
        solved = torch.linalg.solve(kernel[0, kept][:, kept] + 0.3 * torch.eye(13), marks[0, kept])
        torch.testing.assert_close(ridges[0, i], kernel[0, i, kept] @ solved)
        torch.testing.assert_close(clouds[0, i], discriminant(x[0, kept], support.y[kept], x[0, i], 14))
    torch.testing.assert_close(clouds[0, 14], discriminant(x[0, :14], support.y, x[0, 14], 14))


def discriminant(x: Tensor, y: Tensor, row: Tensor, n: int) -> Tensor:
    """Shares of classes by their means and one covariance, to which a variance of 0.05 in n rows is added."""
    of_class = [x[y == c] for c in range(3)]
    scatter = 0.05 * n * torch.eye(x.shape[1], dtype=x.dtype)
    for own in of_class:
        scatter += (own - own.mean(0)).T @ (own - own.mean(0))
    apart = torch.stack([row - own.mean(0) for own in of_class])
    squares = (apart @ torch.linalg.inv(scatter) * apart).sum(1)
    shares = torch.tensor([5, 5, 4]).log() - n / 2 * squares  # of the classes in all rows
    return torch.cat([shares.softmax(0), torch.zeros(1)])


def test_the_only_row_of_a_class_does_not_answer_itself() -> None:
    x = torch.tensor([[[0.0], [0.1], [0.2], [5.0]]], dtype=torch.float64)
    marks = nn.functional.one_hot(torch.tensor([[0, 0, 0, 1]]), 2).double()
    place = closed_forms.ranks(x, x)
    hints = closed_forms.hints(x, place, marks, torch.ones(1), torch.ones(1, 1))
    assert (hints[0, 3, :, 1] < 0.5).all()
    assert (hints[0, 3, :, 0] > 0.5).all()


def test_relevance_is_the_variance_between_classes() -> None:
    x = torch.tensor([[[0.0, 1.0], [0.0, 2.0], [1.0, 1.0], [1.0, 2.0]]])
    marks = nn.functional.one_hot(torch.tensor([[0, 0, 1, 1]]), 3).float()
    # All of the first column's and none of the second's, of which chance makes 1/3.
    torch.testing.assert_close(closed_forms.relevance(x, marks), torch.tensor([[2 / 3, 0]]).double())
