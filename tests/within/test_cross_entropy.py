"""Cross-entropy within vmap: torch's bits, of the loss and of its derivatives."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fphi.within.cross_entropy import IGNORED, mapped_cross_entropy, of_classes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_its_bits_are_those_of_torch(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    answers = torch.randn(4, 7, 5, dtype=dtype, generator=generator).mul(3).requires_grad_()
    targets = torch.randint(5, (4, 7), generator=generator)
    targets[1, 3] = targets[2, :6] = IGNORED

    def derivatives(loss: Callable[..., Tensor]) -> list[Tensor]:
        losses: Tensor = torch.vmap(loss)(answers, targets)
        (first,) = torch.autograd.grad(losses.sum(), answers, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), answers)
        return [losses, first, second]

    pairs = zip(derivatives(mapped_cross_entropy), derivatives(cross_entropy), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_other_targets_are_left_to_torch() -> None:
    answers = torch.zeros(3, 4)
    assert of_classes(answers, torch.zeros(3, dtype=torch.long))
    assert not of_classes(answers, torch.zeros(3, 4))
    assert not of_classes(answers, torch.zeros(2, dtype=torch.long))
    assert not of_classes(torch.zeros(3, 4, 2), torch.zeros(3, 2, dtype=torch.long))
