"""Confident learning by hand."""

import pytest
import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.within.cleaning import auroc, confident_issues


def by_definition(probabilities: Tensor, y: Tensor) -> list[bool]:
    thresholds = {}
    for k in set(y.tolist()):
        own = [float(p[k]) for p, label in zip(probabilities, y, strict=True) if label == k]
        thresholds[k] = sum(own) / len(own)
    doubted = []
    for p, label in zip(probabilities, y.tolist(), strict=True):
        confident = {k: float(p[k]) for k in thresholds if float(p[k]) >= thresholds[k]}
        doubted.append(bool(confident) and max(confident, key=lambda k: confident[k]) != label)
    return doubted


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_definition(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.randn(200, 5, generator=generator, dtype=torch.float64).mul(2).softmax(1)
    y = torch.randint(4, (200,), generator=generator)  # nothing is labelled 4
    found = confident_issues(probabilities, y)
    assert found.tolist() == by_definition(probabilities, y)
    assert 20 < int(found.sum()) < 180
    order = torch.randperm(200, generator=generator)
    assert torch.equal(confident_issues(probabilities[order], y[order]), found[order])


def test_certain_and_right_answers_leave_no_doubt() -> None:
    y = torch.arange(3).repeat(4)
    assert not confident_issues(torch.eye(3)[y], y).any()
    wrong = y.clone()
    wrong[0] = 2
    assert confident_issues(torch.eye(3)[y], wrong).tolist() == [True] + [False] * 11


def test_labels_are_whole_numbers_of_any_width() -> None:
    p, y = torch.eye(3), torch.tensor([0, 2, 2])
    for kind in (torch.int32, torch.uint8):
        assert torch.equal(confident_issues(p, y.to(kind)), confident_issues(p, y))
    for kind in (torch.float32, torch.bool):
        with pytest.raises(FphiError, match=r"labels torch.\w+; give floats, and whole numbers"):
            confident_issues(p, y.to(kind))
    with pytest.raises(FphiError, match="y is a list; give a tensor"):
        confident_issues(p, y.tolist())  # type: ignore[arg-type]
    with pytest.raises(FphiError, match="probabilities is a ndarray; give a tensor"):
        confident_issues(p.numpy(), y)  # type: ignore[arg-type]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(FphiError, match=r"probabilities \[3, 3\] and labels \[2\] do not fit"):
        confident_issues(torch.eye(3), torch.tensor([0, 1]))
    with pytest.raises(FphiError, match="labels from 0 to 3 and probabilities of 3 classes"):
        confident_issues(torch.eye(3), torch.tensor([0, 1, 3]))


@pytest.mark.parametrize("seed", range(3))
def test_auroc_is_the_share_of_pairs_in_order(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(6, (40,), generator=generator).float()  # many are equal
    positive = torch.rand(40, generator=generator) < 0.3
    high, low = scores[positive][:, None], scores[~positive][None]
    share = ((high > low).double() + 0.5 * (high == low).double()).mean()
    assert auroc(scores, positive) == pytest.approx(float(share), rel=1e-12)
    assert auroc(-scores, positive) == pytest.approx(1 - float(share), rel=1e-12)


def test_auroc_needs_both_kinds() -> None:
    for positive in (torch.zeros(3), torch.ones(3)):
        assert auroc(torch.arange(3.0), positive.bool()) is None
