"""Learning to compare: closed forms, hand-computed losses, and identities between the learners."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable import (
    FullContext,
    Generator,
    ImaginaryLearner,
    MatchingLearner,
    MetricLearner,
    PrototypicalLearner,
    RelationLearner,
    SiameseLearner,
)
from fphi.learnable.comparison.metric_losses import (
    additive_margin,
    arcface,
    contrastive_loss,
    sphereface,
    triplet_loss,
)
from fphi.learnable.comparison.siamese import verification_loss
from fphi.methods import Setting, Siamese
from fphi.networks import calibrate
from fphi.networks.relation import RelationModule, initialise_as_published, relation_embedding
from fphi.objective import meta_gradient
from fphi.run import evaluate
from fphi.tasks.types import Examples, Task
from learners import WAYS, conv, random_tasks


def tensor(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def vectors(n: int, d: int = 6) -> Tensor:
    return torch.randn(n, d, dtype=torch.float64)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# Prototypical and matching networks


def test_one_shot_prototypical_is_nearest_neighbour() -> None:
    support, queries = vectors(7), vectors(50)
    answers = PrototypicalLearner(nn.Identity())(Examples(support, torch.arange(7)), queries)
    assert torch.equal(answers.argmax(1), torch.cdist(queries, support).argmin(1))


def test_one_shot_prototypical_is_matching_with_squared_distances() -> None:
    support, queries = Examples(vectors(7), torch.arange(7)), vectors(50)
    prototypical = PrototypicalLearner(nn.Identity())(support, queries).log_softmax(-1)
    matching = MatchingLearner(nn.Identity(), distance="euclidean")(support, queries)
    torch.testing.assert_close(matching, prototypical)


def test_an_orthogonal_map_of_the_embedding_and_copies_of_a_class_change_nothing() -> None:
    turn = nn.Linear(6, 6, bias=False).double()
    nn.init.orthogonal_(turn.weight)
    y, support, queries = torch.arange(3).repeat(2), vectors(6), vectors(9)
    plain = PrototypicalLearner(nn.Identity())(Examples(support, y), queries)
    torch.testing.assert_close(PrototypicalLearner(turn)(Examples(support, y), queries), plain)
    doubled = Examples(torch.cat([support, support[y == 1]]), torch.cat([y, y[y == 1]]))
    torch.testing.assert_close(PrototypicalLearner(nn.Identity())(doubled, queries), plain)


def test_the_scale_of_the_cosines_is_learned() -> None:
    learner = PrototypicalLearner(conv(None), distance="cosine").double()
    _, gradients = meta_gradient(learner, random_tasks(), threads=1)
    assert gradients["similarity.log_scale"].abs() > 0


def test_matching_golden_numbers() -> None:
    """G15: cosines 1, 0, -1 with labels 0, 1, 1."""
    support = Examples(tensor((1, 0), (0, 1), (-1, 0)), torch.tensor([0, 1, 1]))
    answers = MatchingLearner(nn.Identity(), scale=1)(support, tensor((1, 0)))
    assert answers.exp()[0].tolist() == pytest.approx([0.6652409558, 0.3347590442], abs=1e-7)


@pytest.mark.parametrize(
    ("ways", "p", "loss"), [(5, 0.4046096752, 0.9048324416), (20, 0.125161, 2.0781543865)]
)
def test_bare_cosines_cap_the_probability(ways: int, p: float, loss: float) -> None:
    support = Examples(torch.eye(ways).double(), torch.arange(ways))
    answers = MatchingLearner(nn.Identity(), scale=1)(support, support.x[:1]).detach()
    assert float(answers[0, 0].exp()) == pytest.approx(p, abs=1e-6)
    assert float(F.cross_entropy(answers, support.y[:1])) == pytest.approx(loss, abs=1e-6)
    sharp = MatchingLearner(nn.Identity(), scale=1000)(support, support.x[:1]).detach()
    assert float(sharp[0, 0]) == pytest.approx(0, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.booleans())
def test_matching_gives_probabilities_and_ignores_the_order_without_context(
    more: list[int], prototypes: bool
) -> None:
    y = torch.tensor([0, 1, 2, 3, *more])
    support, queries = vectors(len(y)), vectors(5)
    learner = MatchingLearner(nn.Identity(), prototypes=prototypes)
    answers = learner(Examples(support, y), queries)
    torch.testing.assert_close(answers.exp().sum(1), torch.ones(5, dtype=torch.float64))
    order = torch.randperm(len(y))
    torch.testing.assert_close(learner(Examples(support[order], y[order]), queries), answers)


def test_with_context_the_order_of_the_support_set_counts() -> None:
    learner = MatchingLearner(nn.Identity(), context=FullContext(6)).double()
    support, queries = Examples(vectors(4), torch.arange(4)), vectors(5)
    turned = Examples(support.x.flip(0), support.y.flip(0))
    assert not torch.allclose(learner(support, queries), learner(turned, queries))


def test_context_equals_its_definition() -> None:
    """h^ = LSTM(f, [h, r]); h = h^ + f; r = softmax(h g) g, written out for one query."""
    width, reads = 4, 3
    context = FullContext(width, reads).double()
    support, query = vectors(5, width), vectors(1, width)
    g, f = context(support[None], query[None])
    forth, back = context.support_lstm(support)[0].split(width, -1)
    torch.testing.assert_close(g[0], support + forth + back)
    h, c, r = (torch.zeros(1, width, dtype=torch.float64) for _ in range(3))
    cell = context.query_lstm
    for _ in range(reads):
        gates = F.linear(torch.cat([query, r], 1), cell.weight_ih, cell.bias_ih)
        i, forget, new, out = (gates + F.linear(h, cell.weight_hh, cell.bias_hh)).chunk(4, 1)
        c = forget.sigmoid() * c + i.sigmoid() * new.tanh()
        h = out.sigmoid() * c.tanh() + query
        r = (h @ g[0].T).softmax(1) @ g[0]
    torch.testing.assert_close(f[0], h)


def test_without_reads_queries_stay_and_each_query_has_a_state_of_its_own() -> None:
    support, queries = vectors(5, 4)[None], vectors(3, 4)[None]
    assert torch.equal(FullContext(4, reads=0).double()(support, queries)[1], queries)
    context = FullContext(4).double()
    together = context(support, queries)[1]
    for i in range(3):
        torch.testing.assert_close(context(support, queries[:, i : i + 1])[1], together[:, i : i + 1])
    with pytest.raises(FphiError, match="reads is -1"):
        FullContext(4, reads=-1)


# Relation networks


def test_relation_networks_have_the_published_sizes() -> None:
    embedding, module = relation_embedding(), RelationModule()
    assert (parameters(embedding), parameters(module)) == (111_936, 111_505)
    assert embedding(torch.rand(3, 1, 28, 28)).shape == (3, 64, 5, 5)
    with pytest.raises(ValueError, match="3x3 are too small"):
        RelationModule(size=3)


@pytest.mark.parametrize("norm", ["query-batch", "running"])
@pytest.mark.parametrize("training", [True, False])
def test_pairs_at_once_equal_the_nested_loop_over_concatenated_maps(norm: str, training: bool) -> None:
    """Every pair concatenated, through torch's own layers, against the sum of two convolutions."""
    module = RelationModule(3, 5, 4, norm=norm).double().train(training)  # type: ignore[arg-type]
    for p in module.parameters():
        p.data.copy_(torch.randn_like(p))
    classes, queries = torch.rand(2, 4, 3, 5, 5, dtype=torch.float64)[:, :3].unbind()
    if norm == "running" and not training:
        module.train()
        calibrate(module, [(classes, queries)], lambda both: module(*both))
        module.eval()
    x = torch.stack([torch.cat([c, q]) for q, c in itertools.product(queries, classes)])
    for block in (module.pair, module.block):
        z = F.conv2d(x, block.conv.weight, block.conv.bias, padding=1)
        bn = block.norm
        z = F.batch_norm(
            z,
            bn.running_mean.clone() if norm == "running" else None,
            bn.running_var.clone() if norm == "running" else None,
            bn.weight,
            bn.bias,
            training=training or norm == "query-batch",
        )
        x = F.max_pool2d(z.relu(), 2)
    expected = torch.sigmoid(module.out(module.hidden(x.flatten(1)).relu())).view(3, 3)
    torch.testing.assert_close(module(classes, queries), expected, rtol=1e-9, atol=1e-12)


def test_a_relation_of_minus_squared_distances_ranks_as_prototypes_do() -> None:
    class MinusDistance(nn.Module):
        def forward(self, classes: Tensor, queries: Tensor) -> Tensor:
            return -(queries[:, None] - classes[None] / 2).square().flatten(2).sum(2)

    y = torch.arange(4).repeat(2)
    support, queries = Examples(vectors(8), y), vectors(20)
    related = RelationLearner(nn.Identity(), MinusDistance())(support, queries)
    torch.testing.assert_close(related, PrototypicalLearner(nn.Identity())(support, queries))


def test_relations_are_in_0_to_1_and_initialised_as_published() -> None:
    learner = RelationLearner(relation_embedding(), RelationModule())
    initialise_as_published(learner)
    relations = learner(Examples(torch.rand(5, 1, 28, 28), torch.arange(5)), torch.rand(10, 1, 28, 28))
    assert relations.shape == (10, 5)
    assert ((relations > 0) & (relations < 1)).all()
    module = learner.relation
    assert isinstance(module, RelationModule)
    assert module.out.bias.tolist() == [1.0]
    assert float(module.pair.conv.weight.detach().std()) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)


# Siamese networks and the metric losses


def test_siamese_answers_are_symmetric_and_equal_inputs_have_no_distance() -> None:
    learner = SiameseLearner(nn.Identity(), 6).double()
    a, b = vectors(1), vectors(1)
    one = torch.zeros(1, dtype=torch.long)
    assert torch.equal(learner(Examples(a, one), b), learner(Examples(b, one), a))
    assert torch.equal(learner(Examples(a, one), a)[0], learner.verify.bias)


def test_the_siamese_paper_s_network_has_its_size_and_its_images() -> None:
    setting = Setting(20, 1, (1, 105, 105))
    learner = Siamese(koch_net=True).learner(setting)
    assert parameters(learner) == 38_951_745
    network = learner.get_submodule("network")
    features = network(torch.rand(2, 1, 105, 105)).detach()
    assert features.shape == (2, 4096)
    assert 0 <= float(features.min()) <= float(features.max()) <= 1
    with pytest.raises(FphiError, match=r"105x105 pixels, and these are 1 x 28 x 28: add --image-size 105"):
        Siamese(koch_net=True).learner(Setting(20, 1, (1, 28, 28)))


def test_the_siamese_paper_s_network_learns_from_its_first_steps() -> None:
    learner = Siamese(koch_net=True).learner(Setting(2, 1, (1, 105, 105)))
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
    with pytest.raises(FphiError, match="'magnet' is none of contrastive, triplet"):
        MetricLearner(conv(None), metric_loss="magnet")  # type: ignore[arg-type]
    with pytest.raises(FphiError, match=r"margin is 1.5; sphereface multiplies"):
        MetricLearner(conv(None), metric_loss="sphereface", margin=1.5)


# Imaginary data


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
    assert learner.draws
    learner.eval()
    assert torch.equal(loss(1), loss(2))
    assert not learner.draws


# Bad input


def test_a_class_without_support_examples_is_named() -> None:
    gap = Examples(vectors(3), torch.tensor([0, 2, 2]))
    learners = [
        PrototypicalLearner(nn.Identity()),
        MatchingLearner(nn.Identity()),
        SiameseLearner(nn.Identity(), 6).double(),
        RelationLearner(nn.Identity(), nn.Identity()),
        ImaginaryLearner(PrototypicalLearner(nn.Identity()), Generator(6), 2).double(),
    ]
    for learner in learners:
        with pytest.raises(
            FphiError, match=r"class 1 of task 0 has no support example \(labels go up to 2\)"
        ):
            learner(gap, vectors(2))


def test_a_query_of_a_class_that_the_support_lacks_is_named() -> None:
    tasks = random_tasks()
    short = tasks.support.y < WAYS - 1
    lacking = Examples(
        tasks.support.x[short].view(3, -1, *tasks.support.x.shape[2:]), tasks.support.y[short].view(3, -1)
    )
    learners = [
        PrototypicalLearner(conv(None)),
        MatchingLearner(conv(None)),
        SiameseLearner(conv(None), 4),
        MetricLearner(conv(None), metric_loss="arcface"),
        ImaginaryLearner(PrototypicalLearner(conv(None)), Generator(4), 2),
    ]
    message = "a query has the label 2, and there are answers for 0 to 1 only"
    for learner in learners:
        with pytest.raises(FphiError, match=message):
            evaluate(learner.double(), Task(lacking, tasks.query))
        if not isinstance(learner, SiameseLearner):  # which is trained on pairs, and needs no class for them
            with pytest.raises(FphiError, match=message):
                meta_gradient(learner, Task(lacking, tasks.query))


def test_unequal_shots_are_refused_where_embeddings_are_summed_and_fine_elsewhere() -> None:
    uneven = Examples(vectors(5), torch.tensor([0, 1, 2, 2, 2]))
    with pytest.raises(FphiError, match=r"task 0 have 1, 1, 3 support examples.*a relation network needs"):
        RelationLearner(nn.Identity(), nn.Identity())(uneven, vectors(2))
    for learner in (PrototypicalLearner(nn.Identity()), MatchingLearner(nn.Identity())):
        assert learner(uneven, vectors(2)).shape == (2, WAYS)
