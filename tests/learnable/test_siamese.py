"""Siamese networks and the metric losses: hand-computed values, and what the papers say of them."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from comparison_helpers import parameters, tensor, vectors
from fphi.errors import FphiError
from fphi.learnable import (
    MetricLearner,
    SiameseLearner,
)
from fphi.learnable.comparison.metric_losses import (
    additive_margin,
    arcface,
    contrastive_loss,
    sphereface,
    triplet_loss,
)
from fphi.learnable.comparison.siamese import balanced_loss, verification_loss
from fphi.methods.base import Setting
from fphi.methods.families.comparing import ComparingEmbeddings
from fphi.methods.imaginary import Imaginary
from fphi.methods.matching import Matching
from fphi.methods.metric import Metric
from fphi.methods.prototypical import Prototypical
from fphi.methods.siamese import Siamese
from fphi.objective import meta_gradient
from fphi.tasks.types import Examples, Task
from learners import conv, random_tasks


def test_siamese_answers_are_symmetric_and_equal_inputs_have_no_distance() -> None:
    learner = SiameseLearner(nn.Identity(), 6).double()
    a, b = vectors(1), vectors(1)
    one = torch.zeros(1, dtype=torch.long)
    assert torch.equal(learner(Examples(a, one), b), learner(Examples(b, one), a))
    assert torch.equal(learner(Examples(a, one), a)[0], learner.verify.bias)


def test_sigmoids_of_a_linear_layer_are_what_is_compared() -> None:
    learner = SiameseLearner(nn.Identity(), 6, features=3).double()
    layer = learner.get_submodule("describe.0")
    a, b = vectors(1), vectors(1)
    apart = (torch.sigmoid(layer(a)) - torch.sigmoid(layer(b))).abs()
    expected = learner.verify.bias - apart.sum() * 50 / 3
    torch.testing.assert_close(learner(Examples(a, torch.tensor([0])), b)[0], expected)
    with pytest.raises(FphiError, match="features is 0; it must be at least 1"):
        Siamese(features=0)


def test_dropout_hides_values_in_training_alone() -> None:
    learner = SiameseLearner(nn.Identity(), 6, features=3, dropout=0.5)
    task = Examples(vectors(1).float(), torch.tensor([0])), vectors(1).float()
    for training in (True, False):
        learner.train(training)
        assert torch.equal(learner(*task), learner(*task)) != training


@pytest.mark.parametrize("kind", [Siamese, Prototypical, Matching, Imaginary, Metric])
def test_weight_decay_takes_a_share_of_weights_and_leaves_biases_and_scales(
    kind: type[ComparingEmbeddings],
) -> None:
    method = kind(weight_decay=0.5, outer_lr=0.1, schedule="constant")
    learner = method.learner(Setting(5, 1, (1, 28, 28)))
    before = {name: p.detach().clone() for name, p in learner.named_parameters()}
    nothing = {name: torch.zeros_like(p) for name, p in before.items()}
    method.optimizer(learner).step(learner, nothing, 0.0)
    for name, p in learner.named_parameters():
        torch.testing.assert_close(p, before[name] * (0.95 if p.dim() > 1 else 1.0), msg=name)
    with pytest.raises(FphiError, match=r"weight_decay is -1; it must be at least 0"):
        kind(weight_decay=-1).optimizer(learner)


def test_the_siamese_paper_s_network_has_its_size_and_its_images() -> None:
    setting = Setting(20, 1, (1, 105, 105))
    learner = Siamese(network="koch").learner(setting)
    assert parameters(learner) == 38_951_745
    network = learner.get_submodule("network")
    features = network(torch.rand(2, 1, 105, 105)).detach()
    assert features.shape == (2, 4096)
    assert 0 <= float(features.min()) <= float(features.max()) <= 1


def test_the_siamese_paper_s_network_learns_from_its_first_steps() -> None:
    learner = Siamese(network="koch").learner(Setting(2, 1, (1, 105, 105)))
    strokes = torch.zeros(1, 4, 1, 105, 105)
    strokes[:, :2, :, 20:80, 30:40] = 1
    strokes[:, 2:, :, 40:50, 10:90] = 1
    y = torch.tensor([[0, 1]])
    tasks = Task(Examples(strokes[:, ::2], y), Examples(strokes[:, 1::2].roll(3, -1), y))
    optimizer = torch.optim.Adam(learner.parameters(), lr=1e-4)
    losses = []
    for _ in range(3):
        loss, gradients = meta_gradient(learner, tasks, threads=1)
        losses.append(float(loss))
        for name, p in learner.named_parameters():
            p.grad = gradients[name]
        optimizer.step()
    assert losses[2] < 0.95 * losses[0]


def test_a_class_of_several_shots_answers_by_its_best_match() -> None:
    learner = SiameseLearner(nn.Identity(), 6).double()
    support, y, queries = vectors(6), torch.tensor([0, 1, 0, 1, 1, 0]), vectors(4)
    alone = learner(Examples(support, torch.arange(6)), queries)
    best = torch.stack([alone[:, y == c].amax(1) for c in range(2)], 1)
    torch.testing.assert_close(learner(Examples(support, y), queries), best)


def test_same_and_different_weigh_half_each() -> None:
    answers = tensor((2.0, -1.0, 0.5))
    same, different = math.log1p(math.exp(-2)), (math.log1p(math.exp(-1)) + math.log1p(math.exp(0.5))) / 2
    loss = verification_loss(answers, torch.tensor([0]))
    assert float(loss) == pytest.approx((same + different) / 2)
    nothing_differs = verification_loss(tensor((2.0,)), torch.tensor([0]))
    assert float(nothing_differs) == pytest.approx(same / 2)


def test_the_siamese_loss_is_over_all_pairs() -> None:
    learner = SiameseLearner(nn.Identity(), 6).double()
    support, query = Examples(vectors(4)[None], torch.tensor([[0, 1, 0, 1]])), vectors(2)[None]
    logits = learner.pairs(support.x, query).detach()[0]
    same = torch.tensor([[True, False, True, False], [False, True, False, True]])
    expected = (F.softplus(-logits[same]).mean() + F.softplus(logits[~same]).mean()) / 2
    loss = learner.task_losses(Task(support, Examples(query, torch.tensor([[0, 1]]))))
    torch.testing.assert_close(loss.detach(), expected[None])


def test_by_matching_pairs_teach_how_certain_a_distance_makes_and_matches_all_else() -> None:
    learner = SiameseLearner(nn.Linear(6, 5), 5, features=4, learn_by="matching").double()
    assert learner.sharpness is not None
    learner.sharpness.data.fill_(-0.7)
    learner.verify.bias.data.fill_(1.3)
    support, query = Examples(vectors(4)[None], torch.tensor([[0, 1, 0, 1]])), vectors(3)[None]
    labels = torch.tensor([[0, 1, 1]])
    found = gradients(learner, learner.task_losses(Task(support, Examples(query, labels))))

    pairs = learner.pairs(*learner.embed(support.x, query))[0]
    likeness = (pairs - 1.3) / math.exp(-0.7)
    best = torch.stack([likeness[:, [0, 2]].amax(1), likeness[:, [1, 3]].amax(1)], 1)
    matches = gradients(learner, F.cross_entropy(best, labels[0]))
    verified = gradients(learner, balanced_loss(pairs, labels[0][:, None] == support.y))
    certainty = {"sharpness", "verify.bias"}
    for name, gradient in found.items():
        assert float(gradient.abs().max()) > 0
        torch.testing.assert_close(gradient, (verified if name in certainty else matches)[name], msg=name)
    answers = learner(Examples(support.x[0], support.y[0]), query[0])
    torch.testing.assert_close(answers.argmax(-1), best.argmax(-1))


def gradients(learner: nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    names, parameters = zip(*learner.named_parameters(), strict=True)
    found = torch.autograd.grad(loss.sum(), parameters, retain_graph=True, materialize_grads=True)
    return dict(zip(names, found, strict=True))


def test_the_option_decides_what_a_siamese_network_learns_by() -> None:
    for wanted in (True, False):
        method = Siamese(learn_by="matching" if wanted else "verification")
        learner = method.learner(Setting(5, 1, (1, 28, 28)))
        assert ("sharpness" in dict(learner.named_parameters())) == wanted
    with pytest.raises(FphiError, match="learn_by is 'ranking'; it must be one of verification, matching"):
        SiameseLearner(nn.Identity(), 6, learn_by="ranking")  # type: ignore[arg-type]


def test_verification_accuracy_counts_both_kinds_equally() -> None:
    learner = SiameseLearner(nn.Identity(), 1, weight=-1.0)
    learner.verify.bias.data.fill_(1.5)  # same if nearer than 1.5
    support = Examples(torch.tensor([[[0.0], [1.0], [9.0]]]), torch.tensor([[0, 1, 2]]))
    query = Examples(torch.tensor([[[0.0], [4.0], [9.0]]]), torch.tensor([[0, 1, 2]]))
    # Same: right, wrong, right. Different: the query 0 takes class 1 for its own; 5 of 6 right.
    verification = learner.measures(Task(support, query))["verification"]
    assert verification.tolist() == pytest.approx([(2 / 3 + 5 / 6) / 2])


POINTS = tensor((0.0, 0.0), (1.0, 0.0), (0.0, 2.0), (3.0, 0.0))
LABELS = torch.tensor([0, 0, 1, 1])


def test_contrastive_loss_by_hand() -> None:
    # Same: d² = 1 and 4 + 9 = 13, mean 7. Different, margin 2.5: d = 2, 3, √5, 2.
    short = ((2.5 - 2) ** 2 + 0 + (2.5 - 5**0.5) ** 2 + (2.5 - 2) ** 2) / 4
    assert float(contrastive_loss(POINTS, LABELS, margin=2.5)) == pytest.approx((7 + short) / 4)


def test_triplet_loss_by_hand() -> None:
    # Squared distances to positives and negatives: 0: 1; 4, 9. 1: 1; 5, 4. 2: 13; 4, 5. 3: 13; 9, 4.
    semi_hard = (0 + 0 + (13 - 5 + 1) + (13 - 9 + 1)) / 4  # none is farther than 13: the farthest
    assert float(triplet_loss(POINTS, LABELS, margin=1.0)) == pytest.approx(semi_hard)
    hardest = (0 + 0 + (13 - 4 + 1) + (13 - 4 + 1)) / 4
    assert float(triplet_loss(POINTS, LABELS, 1.0, "hardest")) == pytest.approx(hardest)
    everything = (10 + 9 + 5 + 10) / 8
    assert float(triplet_loss(POINTS, LABELS, 1.0, "all")) == pytest.approx(everything)
    # With a margin of 4 the pair (0, 1) reaches into it, with the nearest negative: 1 - 4 + 4 twice.
    assert float(triplet_loss(POINTS, LABELS, margin=4.0)) == pytest.approx((1 + 1 + 12 + 8) / 4)
    one_class = torch.zeros(4, dtype=torch.long)
    assert [float(triplet_loss(POINTS, one_class, 1.0, m)) for m in ("semi-hard", "hardest", "all")] == [
        0
    ] * 3


def test_where_the_margin_holds_the_triplet_loss_and_its_gradient_are_zero() -> None:
    points = tensor((0, 0), (0.1, 0), (5, 0), (5.1, 0)).requires_grad_()
    loss = triplet_loss(points, LABELS, margin=1.0)
    (gradient,) = torch.autograd.grad(loss, points)
    assert (float(loss.detach()), float(gradient.abs().max())) == (0, 0)


@pytest.mark.parametrize("loss", [contrastive_loss, triplet_loss])
def test_equal_embeddings_have_a_finite_gradient(loss: object) -> None:
    points = torch.ones(4, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(points, LABELS), points)  # type: ignore[operator]
    assert gradient.isfinite().all()


def test_margins_by_hand() -> None:
    cosines, labels = tensor((0.5, 0.1), (0.2, -0.9)), torch.tensor([0, 1])
    minus = additive_margin(cosines, labels, 0.35)
    assert minus.flatten().tolist() == pytest.approx([0.15, 0.1, 0.2, -1.25])
    turned = arcface(cosines, labels, 0.5)
    beyond = -0.9 - 0.5 * math.sin(0.5)  # acos(-0.9) + 0.5 > π
    assert turned.flatten().tolist() == pytest.approx([math.cos(math.pi / 3 + 0.5), 0.1, 0.2, beyond])
    psi = sphereface(cosines, labels, 4, plain=0)
    # θ = π/3 is in [π/4, π/2]: k = 1; acos(-0.9) = 2.69 is in [3π/4, π]: k = 3.
    last = -math.cos(4 * math.acos(-0.9)) - 6
    assert psi.flatten().tolist() == pytest.approx([-math.cos(4 * math.pi / 3) - 2, 0.1, 0.2, last])
    averaged = sphereface(cosines, labels, 4, plain=5)
    assert float(averaged[0, 0]) == pytest.approx((5 * 0.5 + float(psi[0, 0])) / 6)


@pytest.mark.parametrize(("margin", "none"), [(additive_margin, 0), (arcface, 0), (sphereface, 1)])
def test_without_a_margin_all_are_the_plain_softmax_of_cosines(margin: object, none: int) -> None:
    cosines = torch.rand(6, 4, dtype=torch.float64) * 2 - 1
    changed = margin(cosines, torch.arange(6) % 4, none)  # type: ignore[operator]
    torch.testing.assert_close(changed, cosines)


@pytest.mark.parametrize("margin", [additive_margin, arcface, sphereface])
def test_a_larger_angle_never_gives_a_larger_value(margin: object) -> None:
    cosines = torch.linspace(1, -1, 2001, dtype=torch.float64)[:, None]
    values = margin(cosines, torch.zeros(2001, dtype=torch.long))  # type: ignore[operator]
    assert (values.diff(dim=0) <= 1e-12).all()
    assert (values <= cosines + 1e-12).all()


def test_metric_embeddings_are_on_the_unit_sphere_and_bad_options_are_refused() -> None:
    tasks = random_tasks()
    support, queries = MetricLearner(conv(None)).double().embed(tasks.support.x, tasks.query.x)
    for embedded in (support, queries):
        torch.testing.assert_close(embedded.norm(dim=-1), torch.ones(embedded.shape[:2], dtype=torch.float64))
    with pytest.raises(FphiError, match="metric_loss is 'magnet'; it must be one of contrastive, triplet"):
        MetricLearner(conv(None), metric_loss="magnet")  # type: ignore[arg-type]
    with pytest.raises(FphiError, match=r"margin is 1.5; sphereface multiplies"):
        MetricLearner(conv(None), metric_loss="sphereface", margin=1.5)
