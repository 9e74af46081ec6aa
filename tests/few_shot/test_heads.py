"""What a few examples give without a step of descent, against closed forms and scikit-learn."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.preprocessing import StandardScaler

from few_shot_helpers import blobs
from fphi.few_shot.choosing import Trial, best_of, held_out
from fphi.few_shot.heads import PARTS, RULES, Centred, Mixed
from fphi.run.meta.confidence import best_temperature, calibration_error, mean_loss, separation


def _data(width: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    X, names = blobs(each=7)
    rng = np.random.default_rng(0)
    wide = np.concatenate([X, rng.normal(size=(len(X), width - 4))], 1)
    return wide, np.unique(names, return_inverse=True)[1].astype(np.int64)


@pytest.mark.parametrize("width", [5, 60])  # fewer columns than rows, and more
def test_linear_heads_are_those_of_scikit_learn(width: int) -> None:
    X, y = _data(width)
    scaled = StandardScaler().fit_transform(X)
    logistic = LogisticRegression(C=1.0, max_iter=300).fit(scaled, y)
    own = RULES["logistic, C=1"].learn(torch.from_numpy(X), y, 3, unit=False)(torch.from_numpy(X))
    np.testing.assert_allclose(own.softmax(1), logistic.predict_proba(scaled), atol=2e-3)
    ridge = RidgeCV(alphas=np.logspace(-3, 4, 15)).fit(scaled, 2.0 * np.eye(3)[y] - 1)
    own = RULES["ridge"].learn(torch.from_numpy(X), y, 3, unit=False)(torch.from_numpy(X))
    np.testing.assert_allclose(own, ridge.predict(scaled), atol=1e-8)


def test_the_nearest_mean_answers() -> None:
    X, y = _data(6)
    x = torch.from_numpy(X)
    centred = Centred.of(x, unit=True)(x)
    means = torch.stack([centred[torch.from_numpy(y == k)].mean(0) for k in range(3)])
    own = RULES["means"].learn(x, y, 3, unit=True)(x)
    torch.testing.assert_close(own, -torch.cdist(centred, means).square())


@pytest.mark.parametrize("rule", list(RULES))
def test_relabelling_permutes_the_answers(rule: str) -> None:
    X, y = _data(8)
    x, new = torch.from_numpy(X), np.array([2, 0, 1])
    before = RULES[rule].learn(x, y, 3, unit=True)(x)
    after = RULES[rule].learn(x, new[y], 3, unit=True)(x)
    np.testing.assert_allclose(after[:, new], before, atol=2e-3 * float(before.abs().max()))


@pytest.mark.parametrize("rule", list(RULES))
def test_an_outline_takes_the_state_of_what_was_learned(rule: str) -> None:
    X, y = _data(8)
    x = torch.from_numpy(X)
    for unit in (False, True):
        learned = RULES[rule].learn(x, y, 3, unit)
        outline = RULES[rule].outline(8, 3, unit)
        outline.load_state_dict(learned.state_dict())
        assert torch.equal(outline(x), learned(x))


def test_a_constant_column_tells_nothing_and_breaks_nothing() -> None:
    X, y = _data(6)
    constant = np.concatenate([X, np.full((len(X), 1), 1e6)], 1)
    one = RULES["ridge"].learn(torch.from_numpy(X), y, 3, unit=False)(torch.from_numpy(X))
    other = RULES["ridge"].learn(torch.from_numpy(constant), y, 3, unit=False)(torch.from_numpy(constant))
    torch.testing.assert_close(one, other)


def test_held_out_examples_are_never_learned_from_and_each_class_always_is() -> None:
    y = np.repeat([0, 1, 2], [1, 2, 9]).astype(np.int64)
    splits = held_out(y, 0)
    assert splits
    for learned, asked in splits:
        assert not set(learned) & set(asked)
        assert set(y[learned]) == {0, 1, 2}
    everyone = np.concatenate([asked for _, asked in splits])
    assert set(everyone) == set(range(1, 12))
    assert held_out(np.arange(5), 0) == []


def test_the_temperature_makes_answers_as_sure_as_they_are_right() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(4000, 4)))
    labels = np.array([rng.choice(4, p=p) for p in logits.softmax(1).numpy()])
    assert best_temperature(5 * logits, labels) == pytest.approx(5, rel=0.1)
    found = best_temperature(5 * logits, labels)
    assert mean_loss(5 * logits, labels, found) <= mean_loss(5 * logits, labels, 4.0)
    assert calibration_error((5 * logits / found).softmax(1).numpy(), labels) < 0.03
    assert calibration_error((5 * logits).softmax(1).numpy(), labels) > 0.1


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.55, 0.45]])
    labels = np.array([0, 1, 0, 0])
    # Bins of 1/15: 0.9 twice, right once; 0.6; 0.55.
    assert calibration_error(probabilities, labels) == pytest.approx((2 * 0.4 + 0.4 + 0.45) / 4)


def test_separation_by_counting_pairs() -> None:
    rng = np.random.default_rng(0)
    known, unknown = rng.integers(0, 9, 30).astype(float), rng.integers(0, 7, 20).astype(float)
    pairs = [(a > b) + 0.5 * (a == b) for a in known for b in unknown]
    assert separation(known, unknown) == pytest.approx(np.mean(pairs))


def test_the_mean_of_the_rules_is_that_of_their_calibrated_log_probabilities() -> None:
    X, y = _data(6)
    x, temperatures = torch.from_numpy(X), (0.2, 0.5, 1.5)
    parts = [RULES[name].learn(x, y, 3, unit=True)(x) for name in PARTS]
    by_hand = sum((part / t).log_softmax(1) for part, t in zip(parts, temperatures, strict=True)) / 3
    torch.testing.assert_close(Mixed(temperatures).learn(x, y, 3, unit=True)(x), by_hand)


def _trial(wrong: range, of: int = 40) -> Trial:
    logits = torch.eye(2)[[int(i in wrong) for i in range(of)]]
    return Trial(logits, np.zeros(of, dtype=np.int64), of)


def test_one_that_is_ahead_by_chance_does_not_displace_the_usual() -> None:
    trials = {"mean": _trial(range(10)), "a": _trial(range(5, 14)), "b": _trial(range(20))}
    assert best_of(trials) == "a"
    assert best_of(trials, ["mean"]) == "mean"
    assert best_of({**trials, "c": _trial(range(4))}, ["mean"]) == "c"
