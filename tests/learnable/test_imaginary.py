"""Imaginary data: the generator beside the learner that it is taught by."""

import pytest
import torch
from torch import Tensor, nn

from fphi.learnable import (
    Generator,
    ImaginaryLearner,
    PrototypicalLearner,
)
from fphi.objective import meta_gradient
from fphi.tasks.types import Examples
from learners import conv, random_tasks


def test_a_fresh_generator_without_noise_is_the_identity() -> None:
    x = torch.rand(3, 6)
    assert torch.equal(Generator(6, noise=0.0)(x, torch.randn(3, 6)), x)


@pytest.mark.parametrize("shots", [1, 4])
def test_without_imagined_examples_and_with_copies_it_is_the_plain_learner(shots: int) -> None:
    y = torch.arange(3).repeat_interleave(shots)
    support, queries = Examples(torch.rand(3 * shots, 6), y), torch.rand(9, 6)
    plain = PrototypicalLearner(nn.Identity())
    expected = plain(support, queries)
    assert torch.equal(ImaginaryLearner(plain, Generator(6), 0)(support, queries), expected)
    copies = ImaginaryLearner(plain, Generator(6, noise=0.0), 2 * shots)
    torch.testing.assert_close(copies(support, queries), expected)


def test_each_imagined_example_comes_from_one_of_its_class_and_is_labelled_so() -> None:
    class Seed(nn.Module):
        def forward(self, x: Tensor, z: Tensor) -> Tensor:
            assert z.shape == x.shape
            return x

    y = torch.tensor([[2, 0, 1, 0, 2, 2]])
    support = Examples(10.0 * y.unsqueeze(-1) + torch.arange(6.0)[None, :, None], y)
    x, labels = ImaginaryLearner(PrototypicalLearner(nn.Identity()), Seed(), 3).extended(support)
    assert labels[0, 6:].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert x[0, 6:, 0].tolist() == [1, 3, 1, 12, 12, 12, 20, 24, 25]


def test_the_gradient_reaches_the_generator_through_the_learner() -> None:
    learner = ImaginaryLearner(PrototypicalLearner(conv(None)), Generator(4, noise=0.1), 2).double().eval()
    _, gradients = meta_gradient(learner, random_tasks(), threads=1)
    assert all(g.abs().max() > 0 for name, g in gradients.items() if name.startswith("generator"))


def test_noise_is_new_in_training_and_fixed_in_evaluation_whatever_the_chunks() -> None:
    learner = ImaginaryLearner(PrototypicalLearner(conv(None)), Generator(4, noise=1.0), 2).double()
    tasks = random_tasks(4)

    def loss(seed: int, **split: int) -> Tensor:
        torch.manual_seed(seed)
        return meta_gradient(learner, tasks, **split)[0]

    once = loss(0, chunk_size=4, threads=1)
    for split in ({"chunk_size": 1}, {"chunk_size": 3}):
        torch.testing.assert_close(loss(0, **split), once, rtol=1e-12, atol=0)
    assert not torch.equal(loss(1), once)
    learner.eval()
    assert torch.equal(loss(1), loss(2))
