"""Reptile's gradient: g₁ + g₂ by hand, its parts as learners, and the expansion of a quadratic."""

import pytest
import torch
from torch import Tensor

import fphi
from fphi.errors import FphiError
from fphi.experiments.parts.expansion import inner_gradients, length
from fphi.experiments.reptile_gradient import identity_error
from fphi.learnable import ReptileLearner
from fphi.learnable.initialization.minibatches import minibatch_rows

ALPHA = 0.01
W = torch.tensor([2.0, 3.0, 5.0], dtype=torch.float64)
BATCHES = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=torch.float64)
G1, G2 = [23.0, 46.0, 69.0], [182.56, 228.2, 273.84]


def half_square(x: Tensor):  # type: ignore[no-untyped-def]
    return lambda parameters: (x @ parameters["w"]).square() / 2


def test_two_steps_on_a_linear_model_by_hand() -> None:
    found = inner_gradients([half_square(x) for x in BATCHES], {"w": W}, ALPHA)
    assert found.first["w"].tolist() == pytest.approx(G1, rel=1e-12)
    assert found.second["w"].tolist() == pytest.approx(G2, rel=1e-12)
    both = torch.tensor([a + b for a, b in zip(G1, G2, strict=True)], dtype=torch.float64)
    assert found.identity_error({"w": both}) < 1e-13
    assert found.identity_error({"w": -3 * both}) == pytest.approx(4)


def test_of_a_quadratic_the_expansion_ends_at_the_first_order() -> None:
    """g₂ = ḡ₂ - α H₂ ḡ₁ exactly, and what is beyond ḡ₂ is α times a constant."""
    losses = [half_square(x) for x in BATCHES]
    for rate in (ALPHA, 10 * ALPHA):
        beyond, further = inner_gradients(losses, {"w": W}, rate).remainders(rate)
        turned = BATCHES[1] * (BATCHES[1] @ BATCHES[0]) * (BATCHES[0] @ W)
        assert beyond == pytest.approx(rate * length({"w": turned}), rel=1e-9)
        assert further < 1e-10 * beyond


def test_the_remainders_fall_with_the_first_and_the_second_power_of_the_rate() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)

    def loss(rows: Tensor):  # type: ignore[no-untyped-def]
        return lambda parameters: (rows @ parameters["w"]).sin().mean()

    losses = [loss(rows) for rows in x]
    (one, two), (one_fine, two_fine) = (
        inner_gradients(losses, {"w": W}, rate).remainders(rate) for rate in (1e-3, 1e-4)
    )
    assert one / one_fine == pytest.approx(10, rel=0.01)
    assert two / two_fine == pytest.approx(100, rel=0.01)


def learner(steps: int, skipped: int = 0) -> ReptileLearner:
    torch.manual_seed(1)
    network = fphi.MLP(4, (5,), 3).double()
    return ReptileLearner(network, fphi.sgd(0.3), steps, skipped=skipped, minibatch=3)


def tasks() -> fphi.Task:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 6, 4, generator=generator, dtype=torch.float64)
    examples = fphi.Examples(x, (torch.arange(6) % 3).expand(3, 6))
    return fphi.Task(examples, examples)


def test_what_is_skipped_is_what_is_missing_from_the_sum() -> None:
    _, first = fphi.meta_gradient(learner(1), tasks())
    _, second = fphi.meta_gradient(learner(2, skipped=1), tasks())
    _, both = fphi.meta_gradient(learner(2), tasks())
    _, third = fphi.meta_gradient(learner(3, skipped=2), tasks())
    _, all_three = fphi.meta_gradient(learner(3), tasks())
    for name, gradient in both.items():
        torch.testing.assert_close(first[name] + second[name], gradient, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(gradient + third[name], all_three[name], rtol=1e-9, atol=1e-12)
        assert not torch.allclose(second[name], gradient)


def test_the_second_gradient_alone_is_fomaml_on_minibatches() -> None:
    """Its support set is the first minibatch, and its query set the second."""
    own, (support, _) = learner(2, skipped=1), tasks()
    chosen = [minibatch_rows(step, 6, 3) for step in (0, 1)]
    parts = [fphi.Examples(support.x[:, rows], support.y[:, rows]) for rows in chosen]
    fomaml = fphi.GradientLearner(own.network, fphi.sgd(0.3), 1, order=1)
    _, expected = fphi.meta_gradient(fomaml, fphi.Task(*parts))
    _, gradients = fphi.meta_gradient(own, tasks())
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-9, atol=1e-12)


def test_it_is_the_gradient_of_the_learner_that_is_compared() -> None:
    """In float64 and on its own minibatches; of another gradient the experiment would say so."""
    task = fphi.Task(*(fphi.Examples(part.x[:1].float(), part.y[:1]) for part in tasks()))
    own = learner(2).float().eval()
    before = [p.clone() for p in own.parameters()]
    assert identity_error(own, task) < 1e-12
    assert all(map(torch.equal, own.parameters(), before))
    assert identity_error(Wrong(fphi.MLP(4, (5,), 3), fphi.sgd(0.3), 2, minibatch=3), task) == pytest.approx(
        4
    )
    assert identity_error(learner(2, skipped=1), task) > 0.1


class Wrong(ReptileLearner):
    def summed_gradient(self, tasks: fphi.Task) -> tuple[Tensor, list[Tensor]]:
        loss, gradients = super().summed_gradient(tasks)
        return loss, [-3 * g for g in gradients]


def test_nothing_may_be_left_of_the_sum() -> None:
    with pytest.raises(FphiError, match="skipped is 2, which leaves no inner gradient of 2"):
        learner(2, skipped=2)
