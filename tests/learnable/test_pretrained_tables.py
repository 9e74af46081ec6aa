"""Tables in context: what the weights that come with fphi know, and how a table is given to them."""

import numpy as np
import pytest
import sklearn.datasets
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from fphi.errors import FphiError
from fphi.learnable.sequence.tables import pretrained_tables, table_probabilities

LOG2 = float(np.log(2))


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
def test_real_tables_are_answered(name: str) -> None:
    x, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    train, test, known, asked = train_test_split(x, y, test_size=0.5, stratify=y, random_state=1)
    p = table_probabilities(train, known, test)
    assert p.sum(1) == pytest.approx(1)
    assert roc_auc_score(asked, p[:, 1] if p.shape[1] == 2 else p, multi_class="ovr") >= 0.98


def test_two_normal_clouds_have_nearly_their_exact_posterior_the_more_so_the_more_rows() -> None:
    """Of means ±1 along one of three axes and variance 1 it is 1 / (1 + exp(-2 x)).

    What an answer costs beyond it is the divergence from it, in nats; not to look at the row costs 0.34.
    """
    excess = {rows: float(np.mean([divergence(seed, rows) for seed in range(10)])) for rows in (20, 300)}
    assert excess[300] < 0.03
    assert excess[300] < excess[20] / 3


def divergence(seed: int, rows: int) -> float:
    draw = np.random.default_rng(seed)
    y = np.arange(rows + 100) % 2
    x = draw.normal(size=(rows + 100, 3))
    x[:, 0] += 2 * y - 1
    p = table_probabilities(x[:rows], y[:rows], x[rows:])[:, 1]
    exact = 1 / (1 + np.exp(-2 * x[rows:, 0]))
    return float((exact * np.log(exact / p) + (1 - exact) * np.log((1 - exact) / (1 - p))).mean())


def test_labels_at_random_cost_no_less_than_chance() -> None:
    draw = np.random.default_rng(0)
    losses = []
    for _ in range(10):
        x, y = draw.normal(size=(200, 5)), draw.integers(0, 2, 200)
        p = table_probabilities(x[:100], y[:100], x[100:])
        losses.append(-np.log(p[np.arange(100), y[100:]]).mean())
    assert LOG2 - 0.01 < np.mean(losses) < LOG2 + 0.08


def test_values_that_are_missing_count_as_the_mean_and_may_tell() -> None:
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(60, 4)), np.array(["no", "yes"])[np.arange(60) % 2]
    x[y == "yes", 2] = np.nan
    x[:, 3] = np.nan
    p = table_probabilities(x[:40], y[:40], x[40:])
    assert (p.argmax(1) == (y[40:] == "yes")).all()
    without = table_probabilities(x[:40, :3], y[:40], x[40:, :3])
    np.testing.assert_allclose(p, without, atol=1e-5)


def test_a_table_of_too_many_rows_is_looked_at_in_parts_that_have_every_class() -> None:
    draw = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [150, 90, 2])
    x = draw.normal(size=(242, 2)) + 4 * y[:, None]
    p = table_probabilities(x, y, [[0.0, 0.0], [4.0, 4.0], [8.0, 8.0]], most_rows=60)
    assert p.argmax(1).tolist() == [0, 1, 2]
    assert np.array_equal(p, table_probabilities(x, y, [[0.0, 0.0], [4.0, 4.0], [8.0, 8.0]], most_rows=60))


def test_the_weights_are_shared_and_no_call_changes_them() -> None:
    learner = pretrained_tables()
    assert learner.ensemble == 1
    assert not any(p.requires_grad for p in learner.parameters())
    table_probabilities(np.eye(4), [0, 0, 1, 1], np.eye(4), ensemble=3)
    assert pretrained_tables() is learner
    assert learner.ensemble == 1


@pytest.mark.parametrize(
    ("x", "y", "queries", "message"),
    [
        ([[1.0], [2.0]], [0, 1, 1], [[1.0]], r"x has 2 rows and y is of shape \[3\]; give each row a class"),
        ([[1.0], [2.0]], [0, 1], [[1.0, 2.0]], "x has 1 columns and queries 2; give both the same"),
        ([1.0, 2.0], [0, 1], [[1.0]], r"x is of shape \[2\]; give rows and columns"),
        (
            [[1.0], [np.inf]],
            [0, 1],
            [[1.0]],
            "x holds an infinite number; give nan for values that are missing",
        ),
        ([["a"], ["b"]], [0, 1], [[1.0]], "x holds what is no number .*; give categories as numbers"),
        (np.eye(11), np.arange(11), np.eye(11), "y has 11 classes, and this learner answers up to 10"),
    ],
)
def test_what_is_no_table_is_refused(x: object, y: object, queries: object, message: str) -> None:
    with pytest.raises(FphiError, match=message):
        table_probabilities(x, y, queries)  # type: ignore[arg-type]
