"""The baselines of meta-learning: what their features are learned by, and how they answer a task."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable import (
    ClassPretext,
    GradientLearner,
    Pretext,
    PretrainedLearner,
    PrototypicalLearner,
    TargetPretext,
    TurnPretext,
    ViewPretext,
    evaluation_mode,
)
from fphi.learnable.comparison.similarity import Distance
from fphi.learnable.initialization.pretexts import nt_xent
from fphi.learnable.initialization.pretrained import Adapt
from fphi.networks import MLP
from fphi.objective import meta_gradient
from fphi.run.meta.evaluate import evaluate
from fphi.tasks import SineTasks
from fphi.tasks.types import Examples, Task
from fphi.within import UpdateRule, adam, sgd
from learners import SIZE, WAYS, conv, random_tasks

CLASSES = 7


def joined(tasks: Task) -> tuple[Tensor, Tensor]:
    x, y = (torch.cat(both, 1) for both in zip(*tasks, strict=True))
    return x, y


def learner_of(
    pretext: Pretext, adapt: Adapt = "centroids", rule: UpdateRule | None = None
) -> PretrainedLearner:
    torch.manual_seed(1)
    for p in pretext.parameters():
        nn.init.normal_(p, std=0.5)
    return PretrainedLearner(conv(None), pretext, adapt=adapt, optimizer=rule, steps=4).double()


def layer(learner: PretrainedLearner, name: str) -> nn.Module:
    return learner.pretext.get_submodule(name)


def pooled_tasks() -> Task:
    """As `random_tasks`, with labels of seven classes."""
    tasks = random_tasks()
    torch.manual_seed(2)
    return Task(*(Examples(e.x, torch.randint(CLASSES, e.y.shape)) for e in tasks))


# What features are learned by.


def test_the_pooled_loss_is_the_cross_entropy_over_all_classes_of_the_whole_batch() -> None:
    learner, tasks = learner_of(ClassPretext(4, CLASSES)), pooled_tasks()
    x, y = joined(tasks)
    plain = copy.deepcopy(nn.Sequential(learner.network, layer(learner, "classifier")))
    expected = torch.stack([F.cross_entropy(plain(x[i]), y[i]) for i in range(3)])
    torch.testing.assert_close(learner.task_losses(tasks), expected, rtol=1e-12, atol=0)
    expected.mean().backward()  # type: ignore[no-untyped-call]
    _, gradients = meta_gradient(learner, tasks, threads=1)
    for own, other in (
        ("network.body.0.conv.weight", "0.body.0.conv.weight"),
        ("pretext.classifier.bias", "1.bias"),
    ):
        torch.testing.assert_close(gradients[own], plain.get_parameter(other).grad, rtol=1e-9, atol=1e-12)


def test_a_label_beyond_all_classes_is_told() -> None:
    learner = learner_of(ClassPretext(4, CLASSES - 1))
    tasks = pooled_tasks()
    tasks.query.y[0, 0] = CLASSES
    with pytest.raises(FphiError, match=r"has the label 7, and there are answers for 0 to 5 only"):
        learner.task_losses(tasks)


def test_turned_copies_are_turned_and_labelled_by_their_quarters() -> None:
    learner, tasks = learner_of(TurnPretext(4)), random_tasks()
    x, _ = joined(tasks)
    plain = nn.Sequential(learner.network, layer(learner, "classifier"))
    for i in range(3):
        copies = [torch.rot90(x[i], turn, (-2, -1)) for turn in range(4)]
        labels = torch.tensor([turn for turn in range(4) for _ in range(x.shape[1])])
        expected = F.cross_entropy(plain(torch.cat(copies)), labels)
        torch.testing.assert_close(learner.task_losses(tasks)[i], expected, rtol=1e-12, atol=0)
    assert learner.examples_at_once(tasks) == 4 * x.shape[1]
    with pytest.raises(FphiError, match="examples of size 1x4x6 cannot be turned: give square images"):
        TurnPretext(4).losses(
            nn.Identity(), Task(*[Examples(torch.rand(1, 2, 1, 4, 6), torch.zeros(1, 2))] * 2)
        )


def looped_nt_xent(first: Tensor, second: Tensor, temperature: float) -> float:
    """Equation 1 of the paper, number by number, for one task."""
    z = [list(map(float, v)) for v in (*first, *second)]
    count = len(first)

    def sim(a: list[float], b: list[float]) -> float:
        dot = sum(p * q for p, q in zip(a, b, strict=True))
        return dot / math.sqrt(sum(p * p for p in a)) / math.sqrt(sum(q * q for q in b))

    total = 0.0
    for i in range(2 * count):
        j = i + count if i < count else i - count
        others = sum(math.exp(sim(z[i], z[k]) / temperature) for k in range(2 * count) if k != i)
        total -= math.log(math.exp(sim(z[i], z[j]) / temperature) / others)
    return total / (2 * count)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_nt_xent_is_the_paper_s_number_by_number(temperature: float) -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 2, 5, 3, dtype=torch.float64)
    losses = nt_xent(first, second, temperature)
    for i in range(2):
        assert float(losses[i]) == pytest.approx(looped_nt_xent(first[i], second[i], temperature), rel=1e-12)


def test_nt_xent_of_views_that_are_alike_and_all_others_opposite() -> None:
    """Two images: each has one like itself and two opposite ones, of cosine -1."""
    views = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]], dtype=torch.float64)
    expected = -math.log(math.exp(1) / (math.exp(1) + 2 * math.exp(-1)))
    assert float(nt_xent(views, 3 * views, 1.0)) == pytest.approx(expected, rel=1e-12)


def test_the_contrastive_loss_is_of_the_projected_features_of_both_views() -> None:
    learner, tasks = learner_of(ViewPretext(4, 5, 0.3)), random_tasks()
    x, _ = joined(tasks)
    for i in range(3):
        projected = layer(learner, "projection")(learner.network(x[i]))
        first, second = projected.detach().chunk(2)
        expected = looped_nt_xent(first, second, 0.3)
        assert float(learner.task_losses(tasks)[i].detach()) == pytest.approx(expected, rel=1e-10)
    uneven = Task(tasks.support, Examples(tasks.query.x[:, :2], tasks.query.y[:, :2]))
    with pytest.raises(FphiError, match=r"the two views are \[3, 6, 1, 16, 16\] and \[3, 2, 1, 16, 16\]"):
        learner.task_losses(uneven)


@pytest.mark.parametrize("pretext", [TurnPretext, ViewPretext])
def test_no_label_of_training_is_read(pretext: type[Pretext]) -> None:
    """Others give the same bits of the loss and of every gradient."""
    learner, tasks = learner_of(pretext(4)), random_tasks()
    others = Task(*(Examples(e.x, torch.randint(1000, e.y.shape)) for e in tasks))
    loss, gradients = meta_gradient(learner, tasks, threads=1)
    same_loss, same = meta_gradient(learner, others, threads=1)
    assert torch.equal(loss, same_loss)
    assert all(torch.equal(gradients[name], same[name]) for name in same)


def test_pooled_regression_is_maml_without_a_step() -> None:
    """The pooled gradient on the query set is MAML's of rate 0; here the support set counts as well."""
    tasks = SineTasks(shots=4, queries=4).batch("train", range(3))
    torch.manual_seed(0)
    network, pretext = MLP(1, (8,), None), TargetPretext(8, 1)
    learner = PretrainedLearner(network, pretext, adapt="all", loss=F.mse_loss)
    whole = nn.Sequential(network, pretext.regression)
    maml = GradientLearner(copy.deepcopy(whole), sgd(0.0), 1, loss=F.mse_loss)
    x, y = joined(tasks)
    loss, gradients = meta_gradient(learner, tasks, threads=1)
    other_loss, others = meta_gradient(maml, Task(tasks.support, Examples(x, y)), threads=1)
    torch.testing.assert_close(loss, other_loss)
    torch.testing.assert_close(list(gradients.values()), list(others.values()))


# How a task is answered.


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_centroids_answer_as_prototypical_networks_on_the_same_features(distance: Distance) -> None:
    tasks, network = random_tasks(shots=3), conv(None).double()
    learner = PretrainedLearner(network, ClassPretext(4, CLASSES), distance=distance)
    prototypical = PrototypicalLearner(network, distance=distance).double()
    with evaluation_mode(learner), evaluation_mode(prototypical), torch.no_grad():
        for asked in ("solve", "solve_alone"):
            own = getattr(learner, asked)(tasks.support, tasks.query.x)
            assert torch.equal(own, getattr(prototypical, asked)(tasks.support, tasks.query.x))


def tuned_by_hand(
    learner: PretrainedLearner, optimizer: type[torch.optim.Optimizer], lr: float, task: Task, whole: bool
) -> Tensor:
    """The answers to one task of an ordinary loop of torch."""
    network, head = copy.deepcopy(learner.network), nn.Linear(4, WAYS).double()
    for p in head.parameters():
        nn.init.zeros_(p)
    learned = [*head.parameters(), *(network.parameters() if whole else ())]
    steps = optimizer(learned, lr=lr)  # type: ignore[call-arg]
    for _ in range(learner.steps):
        steps.zero_grad()
        F.cross_entropy(head(network(task.support.x)), task.support.y).backward()  # type: ignore[no-untyped-call]
        steps.step()
    answers: Tensor = head(network(task.query.x))
    return answers.detach()


@pytest.mark.parametrize("adapt", ["head", "all"])
@pytest.mark.parametrize(
    ("rule", "optimizer", "lr"), [(sgd(0.3), torch.optim.SGD, 0.3), (adam(0.05), torch.optim.Adam, 0.05)]
)
def test_fine_tuning_is_an_ordinary_loop_of_torch(
    rule: UpdateRule, optimizer: type[torch.optim.Optimizer], lr: float, adapt: Adapt
) -> None:
    learner, tasks = learner_of(ClassPretext(4, CLASSES), adapt, rule).eval(), random_tasks()
    answers = learner.answers_at_test(tasks.support, tasks.query.x)
    assert answers.by_step is not None
    assert len(answers.by_step) == learner.steps + 1
    assert not answers.by_step[0].any()  # a head of zeros prefers no class
    for i in range(3):
        task = Task(*(Examples(e.x[i], e.y[i]) for e in tasks))
        expected = tuned_by_hand(learner, optimizer, lr, task, adapt == "all")
        torch.testing.assert_close(answers.final[i], expected, rtol=1e-6, atol=1e-9)


def test_any_number_of_ways_is_answered() -> None:
    for adapt in ("centroids", "head", "all"):
        learner = learner_of(ClassPretext(4, CLASSES), adapt)
        x, y = torch.rand(1, 10, 1, SIZE, SIZE, dtype=torch.float64), torch.arange(5).repeat(2)[None]
        assert learner.solve(Examples(x, y), x[:, :2]).shape == (1, 2, 5)


def test_nothing_of_a_new_task_is_kept() -> None:
    for adapt in ("centroids", "head", "all"):
        learner = learner_of(ClassPretext(4, CLASSES), adapt)
        assert {name.split(".")[0] for name in learner.state_dict()} == {"network", "pretext"}
        before = copy.deepcopy(learner.state_dict())
        first, second = (evaluate(learner, random_tasks()) for _ in range(2))
        assert first.tasks == second.tasks
        assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())


def test_regression_goes_on_from_the_head_of_all_tasks() -> None:
    torch.manual_seed(0)
    learner = PretrainedLearner(
        MLP(1, (8,), None), TargetPretext(8, 1), adapt="all", optimizer=sgd(0.01), steps=3, loss=F.mse_loss
    )
    tasks = SineTasks(shots=4).batch("test", range(2))
    by_step = learner.eval().answers_at_test(tasks.support, tasks.query.x).by_step
    assert by_step is not None
    together = layer(learner, "regression")(learner.network(tasks.query.x.flatten(0, 1)))
    torch.testing.assert_close(by_step[0].flatten(0, 1), together)
    before, after = (learner.losses(answers, tasks.query.y).sum() for answers in (by_step[0], by_step[-1]))
    assert after < before


def test_what_it_cannot_do_is_said_in_a_line() -> None:
    tasks = SineTasks(shots=4).batch("test", range(2))
    centroids = PretrainedLearner(MLP(1, (8,), None), TargetPretext(8, 1), loss=F.mse_loss)
    with pytest.raises(FphiError, match="class means need classes, and these targets are numbers"):
        centroids.solve(tasks.support, tasks.query.x)
    classes = PretrainedLearner(MLP(1, (8,), None), ClassPretext(8, 3), adapt="head")
    with pytest.raises(FphiError, match="these targets are numbers, and what was learned is a classifier"):
        classes.solve(tasks.support, tasks.query.x)
