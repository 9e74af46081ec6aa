"""Learners that read a task as a sequence: what an answer may depend on, and what it must."""

import pytest
import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.base import LearningAlgorithm
from fphi.learnable.embedding import embedding_size
from fphi.learnable.sequence.learner import (
    Labels,
    SequenceLearner,
    accuracy_by_instance,
)
from fphi.learnable.sequence.lstm import LSTMCore
from fphi.learnable.sequence.memory import MemoryCore
from fphi.learnable.sequence.snail import SNAILCore
from fphi.methods.base import FewShotMethod, Setting
from fphi.methods.lstm import LSTM
from fphi.methods.mann import MANN
from fphi.methods.snail import SNAIL
from fphi.objective import meta_gradient
from fphi.run.meta.evaluate import evaluate
from fphi.tasks.types import Examples, Task
from sequence_helpers import INPUTS, WAYS, D, T, core_named, every_core, learner_of, stream, tasks

# What learners see of labels.


class Tells(nn.Module):
    """A core whose answers are the items that it is given."""

    def forward(self, past: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        return past, last


@pytest.mark.parametrize(("labels", "shown"), [("given", [0, 0, 0]), ("shifted", [0, 1, 0])])
def test_a_query_comes_with_no_label_or_with_the_last_of_the_support(
    labels: Labels, shown: list[float]
) -> None:
    support, query = Examples(torch.randn(1, 2, D), torch.tensor([[2, 1]])), torch.randn(1, 3, D)
    item = SequenceLearner(nn.Flatten(), Tells(), WAYS, labels=labels).solve(support, query)
    assert torch.equal(item, torch.cat([query, torch.tensor(shown).expand(1, 3, -1)], 2))


def test_an_item_of_a_stream_comes_with_the_label_of_the_one_before() -> None:
    x, y = torch.randn(1, 3, D), torch.tensor([[2, 1, 0]])
    items_seen = SequenceLearner(nn.Flatten(), Tells(), WAYS).online(x, y)
    assert torch.equal(items_seen[..., :D], x)
    assert items_seen[0, :, D:].tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize("name", ["lstm", "mann"])
def test_an_online_answer_does_not_depend_on_its_label_or_later_ones(name: str) -> None:
    learner, (x, y) = learner_of(name, "shifted"), stream()
    before = learner.online(x, y)
    assert before.shape == (2, T, WAYS)
    for t in range(T):
        renamed = y.clone()
        renamed[:, t] = (y[:, t] + 1) % WAYS
        after = learner.online(x, renamed)
        assert torch.equal(after[:, : t + 1], before[:, : t + 1])
        assert t == T - 1 or not torch.isclose(after[:, t + 1], before[:, t + 1], rtol=1e-9).any()


@pytest.mark.parametrize("name", ["lstm", "mann"])
def test_the_first_query_is_the_next_item_of_the_stream(name: str) -> None:
    learner, (support, query) = learner_of(name, "shifted"), tasks()
    whole = learner.online(torch.cat([support.x, query.x], 1), torch.cat([support.y, query.y], 1))
    answers = learner.solve(support, query.x)
    torch.testing.assert_close(answers[:, 0], whole[:, T])
    assert not torch.isclose(answers[:, 1], whole[:, T + 1]).any()  # which does not know the one before


@every_core
def test_given_labels_are_seen_and_train_on_the_queries_alone(name: str) -> None:
    learner, (support, query) = learner_of(name, "given"), tasks()
    answers = learner.solve(support, query.x)
    losses = torch.stack([nn.functional.cross_entropy(a, y) for a, y in zip(answers, query.y, strict=True)])
    torch.testing.assert_close(learner.task_losses(Task(support, query)), losses)
    for t in range(T):
        renamed = support.y.clone()
        renamed[:, t] = (renamed[:, t] + 1) % WAYS
        assert not torch.isclose(
            learner.solve(Examples(support.x, renamed), query.x), answers, rtol=1e-12
        ).all()


def test_shifted_labels_train_on_every_item_of_the_stream() -> None:
    learner, (support, query) = learner_of("mann", "shifted"), tasks()
    y = torch.cat([support.y, query.y], 1)
    answers = learner.online(torch.cat([support.x, query.x], 1), y)
    losses = torch.stack(
        [nn.functional.cross_entropy(a, labels) for a, labels in zip(answers, y, strict=True)]
    )
    torch.testing.assert_close(learner.task_losses(Task(support, query)), losses)


@every_core
@pytest.mark.parametrize("labels", ["given", "shifted"])
def test_without_the_labels_in_its_items_an_answer_cannot_depend_on_them(name: str, labels: Labels) -> None:
    learner, (support, query) = learner_of(name, labels), tasks()
    learner.core = Blanked(learner.core)
    renamed = Examples(support.x, (support.y + 1) % WAYS)
    assert torch.equal(learner.solve(support, query.x), learner.solve(renamed, query.x))


class Blanked(nn.Module):
    def __init__(self, core: nn.Module) -> None:
        super().__init__()
        self.core = core

    def forward(self, past: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        shown = torch.tensor([1.0] * D + [0.0] * WAYS, dtype=past.dtype)
        answers: tuple[Tensor, Tensor] = self.core(past * shown, last * shown)
        return answers


def rename_ways(learner: SequenceLearner, order: Tensor) -> None:
    """Rename class c to order[c] in φ: the rows that answer it, and the columns that read its label."""
    for key, value in learner.core.state_dict().items():
        if key.startswith("head."):
            value.copy_(torch.empty_like(value).index_copy_(0, order, value))
        # A SNAIL hands its input on, so each of its layers reads the labels, in the same columns.
        reads = key in ("lstm.weight_ih_l0", "reader.weight") or isinstance(learner.core, SNAILCore)
        if reads and value.dim() == 2:
            columns = value[:, D : D + WAYS]
            columns.copy_(torch.empty_like(columns).index_copy_(1, order, columns))


@every_core
@pytest.mark.parametrize("labels", ["given", "shifted"])
def test_renamed_classes_permute_the_answers_of_a_renamed_learner(name: str, labels: Labels) -> None:
    learner, (support, query) = learner_of(name, labels), tasks()
    before = learner.solve(support, query.x)
    order = torch.tensor([2, 0, 1])
    rename_ways(learner, order)
    after = learner.solve(Examples(support.x, order[support.y]), query.x)
    torch.testing.assert_close(after[..., order], before)


# Accuracy by instance.


def test_accuracy_by_instance_of_a_stream_by_hand() -> None:
    labels = torch.tensor([[0, 1, 0, 2, 1, 2, 0], [2, 2, 1, 0, 1, 0, 0]])
    wrong = torch.tensor([[1, 1, 0, 0, 1, 1, 0], [0, 1, 0, 0, 0, 0, 1]])
    answers = nn.functional.one_hot((labels + wrong) % 3, 3).float()
    by_instance = accuracy_by_instance(answers, labels)
    # Class 1 and 2 come twice, so there is no third instance to tell of.
    assert {name: [round(3 * v) for v in values.tolist()] for name, values in by_instance.items()} == {
        "instance 1": [1, 3],
        "instance 2": [1, 2],
    }


class Echo(nn.Module):
    """A core that says the label of the item before."""

    def forward(self, past: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        return past[..., -WAYS:], last[..., -WAYS:]


def test_a_measure_is_kept_where_every_chunk_has_it() -> None:
    y = torch.tensor([[0, 1, 2, 0, 1, 2], [0, 1, 2, 0, 0, 1]])  # class 2 comes once in the second task
    tasks = Task(Examples(torch.randn(2, 5, D), y[:, :5]), Examples(torch.randn(2, 1, D), y[:, 5:]))
    learner = learner_of("mann", "shifted").float()
    for chunk_size in (1, 2):
        result = evaluate(learner, tasks, chunk_size=chunk_size)
        assert {name: len(values) for name, values in result.measures.items()} == {"instance 1": 2}


def test_measures_are_those_of_support_and_query_as_one_stream() -> None:
    y = torch.stack([torch.arange(WAYS).repeat(12)[torch.randperm(WAYS * 12)] for _ in range(2)])
    x = torch.randn(2, WAYS * 12, D, dtype=torch.float64)
    task = Task(Examples(x[:, :30], y[:, :30]), Examples(x[:, 30:], y[:, 30:]))
    learner = learner_of("mann", "shifted")
    measures = learner.measures(task)
    assert list(measures) == [f"instance {k}" for k in range(1, 11)]
    # In an order of its own, the same for every task: one that comes class by class would ask the same
    # again and again, and the last label would be the answer.
    order = torch.randperm(WAYS * 12, generator=torch.Generator().manual_seed(0))
    x, y = x[:, order], y[:, order]
    for name, values in accuracy_by_instance(learner.online(x, y), y).items():
        assert torch.equal(measures[name], values)
    echo = SequenceLearner(nn.Flatten(), Echo(), WAYS, labels="shifted")
    by_class = Examples(torch.zeros(2, 30, D), torch.arange(WAYS).repeat_interleave(10).expand(2, -1))
    told = echo.measures(Task(by_class, by_class))
    assert float(torch.stack([told[f"instance {k}"] for k in range(2, 11)]).mean()) < 0.5
    assert learner_of("mann", "given").measures(task) == {}


# What cannot be.


def test_what_cannot_be_is_said_in_one_line() -> None:
    support = Examples(torch.zeros(1, 4, D), torch.tensor([[0, 1, 2, 3]]))
    with pytest.raises(FphiError, match=r"tasks of 4 ways .* built for 3.* at most 3 ways"):
        learner_of("lstm", "shifted").solve(support, torch.zeros(1, 1, D))
    with pytest.raises(FphiError, match="labels='shifted'"):
        learner_of("snail", "given").online(*stream())
    with pytest.raises(FphiError, match="at least 2 examples"):
        learner_of("lstm", "shifted").online(*stream(1))
    with pytest.raises(FphiError, match=r"sequence of 12 examples .* built for 10"):
        learner_of("snail", "given").task_losses(tasks(11))
    with pytest.raises(FphiError, match="it must be one of given, shifted"):
        learner_of("lstm", "late")  # type: ignore[arg-type]
    with pytest.raises(FphiError, match="these tasks have none"):
        SNAIL().learner(Setting(None, 1, (3,)))


# Learning to learn.


def new_classes(batch: int, shots: int) -> Task:
    """Streams of classes that no other task has: points around centres drawn anew."""
    y = torch.stack(
        [torch.arange(WAYS).repeat(shots + 2)[torch.randperm(WAYS * (shots + 2))] for _ in range(batch)]
    )
    centres = torch.randn(batch, WAYS, D)
    x = centres.gather(1, y.unsqueeze(2).expand(-1, -1, D)) + 0.1 * torch.randn(*y.shape, D)
    rows = WAYS * shots
    return Task(Examples(x[:, :rows], y[:, :rows]), Examples(x[:, rows:], y[:, rows:]))


@pytest.mark.parametrize(
    ("name", "labels", "steps"), [("lstm", "given", 500), ("mann", "shifted", 250), ("snail", "given", 30)]
)
def test_learns_to_tell_classes_that_it_has_never_seen(name: str, labels: Labels, steps: int) -> None:
    cores = {
        "lstm": LSTMCore(INPUTS, WAYS, hidden=64),
        "mann": MemoryCore(INPUTS, WAYS, hidden=64, slots=16, word=16, heads=2, sharpness=10.0),
        "snail": SNAILCore(INPUTS, WAYS, length=2 * WAYS + 1),
    }
    learner = SequenceLearner(nn.Flatten(), cores[name], WAYS, labels=labels)
    optimizer = torch.optim.Adam(learner.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(learner.task_losses(new_classes(32, shots=2)).mean())
        nn.utils.clip_grad_norm_(learner.parameters(), 10)
        optimizer.step()
    support, query = new_classes(300, shots=2)
    accuracy = (learner.solve(support, query.x).argmax(2) == query.y).float().mean()
    assert accuracy > 0.6  # chance is 1/3


# The methods.


@pytest.mark.parametrize(
    ("method", "order", "bound_to"),
    [
        (LSTM(hidden=16), "stream", ("ways",)),
        (LSTM(hidden=16, network="none", labels="given"), "shuffled", ("ways",)),
        (MANN(hidden=16, slots=12, word=6), "stream", ("ways",)),
        (SNAIL(), "shuffled", ("ways", "shots")),
    ],
)
def test_methods_fit_their_core_to_the_tasks(
    method: FewShotMethod, order: str, bound_to: tuple[str, ...]
) -> None:
    assert (method.train_tasks(WAYS, 2).order, method.bound_to) == (order, bound_to)
    learner: LearningAlgorithm = method.learner(Setting(WAYS, 2, (1, 16, 16)))
    y = torch.arange(WAYS).repeat(2, 2)
    images = Task(
        Examples(torch.rand(2, 2 * WAYS, 1, 16, 16), y), Examples(torch.rand(2, 2 * WAYS, 1, 16, 16), y)
    )
    assert learner.solve(images.support, images.query.x).shape == (2, 2 * WAYS, WAYS)
    loss, gradients = meta_gradient(learner, images, threads=1)
    assert float(loss) == pytest.approx(torch.tensor(WAYS).log().item(), rel=0.2)  # nothing is known yet
    assert all(g.abs().sum() > 0 for name, g in gradients.items() if "head" in name)
    assert method.optimizer(learner) is not None


def test_the_size_of_an_embedding_is_that_of_its_features() -> None:
    assert embedding_size(nn.Flatten(), (1, 20, 20)) == 400


def test_dropout_hides_features_in_training_only() -> None:
    core = core_named("snail")
    learner = SequenceLearner(nn.Flatten(), core, WAYS, labels="given", dropout=0.5)
    task = tasks()
    first, second = (learner.solve(task.support, task.query.x) for _ in range(2))
    assert not torch.equal(first, second)
    assert meta_gradient(learner, task, threads=2)[0] != meta_gradient(learner, task, threads=2)[0]
    learner.eval()
    plain = SequenceLearner(nn.Flatten(), core, WAYS, labels="given").eval()
    assert torch.equal(learner.solve(task.support, task.query.x), plain.solve(task.support, task.query.x))
    with pytest.raises(FphiError, match=r"dropout is 1\.5; it must be at most 1"):
        SequenceLearner(nn.Flatten(), core, WAYS, dropout=1.5)


def test_streams_that_tell_their_labels_by_their_places_are_no_training() -> None:
    learner = learner_of("lstm", "shifted")
    x, y = torch.randn(4, 6, D, dtype=torch.float64), torch.tensor([0, 0, 1, 1, 2, 2]).repeat(4, 1)
    four = Task(Examples(x, y), Examples(x[:, ::2], y[:, ::2]))
    with pytest.raises(FphiError, match="all 4 streams have the same labels at the same places"):
        meta_gradient(learner.train(), four)
    assert learner.eval().task_losses(four).isfinite().all()
