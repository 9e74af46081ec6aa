"""Prototypical, matching and relation networks: closed forms, and identities between the learners."""

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import fphi
from comparison_helpers import parameters, tensor, vectors
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
from fphi.methods import get_method
from fphi.methods.base import Setting
from fphi.networks import calibrate
from fphi.networks.relation import RelationModule, initialise_as_published, relation_embedding
from fphi.objective import meta_gradient
from fphi.run.meta.evaluate import evaluate
from fphi.tasks.types import Examples, Task
from learners import WAYS, conv, random_tasks

# Tasks of different ways


@pytest.mark.parametrize(
    "title", ["prototypical", "matching", "metric", "siamese", "hypernetwork", "imaginary", "leo"]
)
def test_tasks_of_few_and_of_many_classes_are_trained_and_tested_in_one_batch(title: str) -> None:
    """Tables are so: none of a task's classes is missing, but others have more."""
    tasks = fphi.load_tasks("tables", ways=5, queries=8).batch("train", range(6))
    assert len(set(tasks.support.y.amax(1).tolist())) > 1
    method: Any = get_method(title)()
    learner = method.learner(Setting(5, 10, (32,)))
    singly = [Task(*(Examples(e.x[i : i + 1], e.y[i : i + 1]) for e in tasks)) for i in range(6)]
    if title not in ("imaginary", "leo"):  # which draw
        losses = [meta_gradient(learner, task, threads=1)[0] for task in singly]
        torch.testing.assert_close(meta_gradient(learner, tasks, threads=1)[0], torch.stack(losses).mean())
    assert all(bool(g.isfinite().all()) for g in meta_gradient(learner, tasks, chunk_size=6)[1].values())
    whole = evaluate(learner.eval(), tasks, chunk_size=6)
    assert whole.per_task()["loss"].shape == (6,)
    alone = torch.cat([evaluate(learner, task).per_task()["loss"] for task in singly])
    torch.testing.assert_close(whole.per_task()["loss"], alone)


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
    with pytest.raises(FphiError, match="size is 3; it must be at least 4"):
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
