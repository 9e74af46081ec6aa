"""Few numbers have one thread, and afterwards all is as it was."""

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

import fphi
from fphi.few_shot.threads import one_thread_for


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two_threads() -> object:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def test_few_numbers_have_one_thread_and_many_have_all() -> None:
    np.linalg.norm(np.ones((2, 2)))
    before = blas_threads()
    with one_thread_for(1000):
        assert torch.get_num_threads() == 1
        assert blas_threads() == {1}
    assert (torch.get_num_threads(), blas_threads()) == (2, before)
    with one_thread_for(10_000_000):
        assert (torch.get_num_threads(), blas_threads()) == (2, before)
    with pytest.raises(ValueError, match="of a learner"), one_thread_for(1):
        raise ValueError("of a learner")
    assert (torch.get_num_threads(), blas_threads()) == (2, before)


def test_a_classifier_learns_and_answers_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thousands of small products of a fit, each shared by threads, took eight times as long."""
    met = []
    learned = fphi.few_shot.heads.Means.learn

    def learn(*given: object) -> object:
        met.append(torch.get_num_threads())
        return learned(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("fphi.few_shot.heads.Means.learn", learn)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 5)), np.arange(12) % 3
    classifier = fphi.FewShotClassifier("means").fit(x, y)
    classifier.predict(x)
    classifier.partial_fit(x[:2], [3, 3])
    assert len(met) > 2
    assert set(met) == {1}
    assert torch.get_num_threads() == 2
