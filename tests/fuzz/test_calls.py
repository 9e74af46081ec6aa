"""The calls of Python with tensors and options of any kind: an answer of numbers, or one line."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import fphi
from fphi import Examples, Task
from fphi.learnable import LearningAlgorithm
from fphi.tasks import few_shot_tasks, load_tasks
from fuzzing import inputs, tried
from learners import LEARNERS, SIZE, WAYS, random_tasks
from tasks_helpers import labelled_pool

BUILT = {case.name: case.build("auto") for case in LEARNERS}
SIMPLE = (
    "maml",
    "anil",
    "reptile",
    "prototypical",
    "matching",
    "relation",
    "siamese",
    "arcface",
    "lstm",
    "snail",
    "hypernetwork",
    "leo",
)

LABELS = {
    "as they are": lambda y: y,
    "minus one": lambda y: y - 1,
    "large": lambda y: y + 10**12,
    "floats": lambda y: y.double(),
    "halves": lambda y: y + 0.5,
    "nan": lambda y: y * math.nan,
    "bytes": lambda y: y.to(torch.uint8),
    "truth": lambda y: y > 0,
    "one-hot": lambda y: torch.nn.functional.one_hot(y, WAYS),
    "all 0": lambda y: y * 0,
    "ignored": lambda y: y.masked_fill(y == 1, -100),
    "too many": lambda y: torch.cat([y, y], -1),
    "none": lambda y: y[..., :0],
    "a column": lambda y: y[..., None],
    "complex": lambda y: y.to(torch.complex64),
    "missing": lambda y: None,
    "a list": lambda y: y.tolist(),
}
IMAGES = {
    "as they are": lambda x: x,
    "nan": lambda x: x * math.nan,
    "one nan": lambda x: x.masked_fill(x > x.max() - 1e-6, math.nan),
    "infinite": lambda x: x / 0,
    "large": lambda x: x * 100,
    "half": lambda x: x.half(),
    "double": lambda x: x.double(),
    "whole": lambda x: (x * 255).to(torch.uint8),
    "truth": lambda x: x > 0.5,
    "complex": lambda x: x.to(torch.complex64),
    "flat": lambda x: x.flatten(-3),
    "without channels": lambda x: x.squeeze(-3),
    "other channels": lambda x: x.expand(*x.shape[:-3], 3, SIZE, SIZE),
    "small": lambda x: x[..., :1, :1],
    "none": lambda x: x[..., :0, :, :, :],
    "half of them": lambda x: x[..., : x.shape[-4] // 2, :, :, :],
    "no columns": lambda x: x[..., :0],
    "a scalar": lambda x: x.sum(),
    "missing": lambda x: None,
    "a list": lambda x: x.tolist(),
}


@st.composite
def strange(draw: st.DrawFn, given_: Task) -> Task:
    """A task with one or two of its four tensors changed."""
    sides = [list(given_.support), list(given_.query)]
    for _ in range(draw(st.integers(1, 2))):
        side, of = draw(st.integers(0, 1)), draw(st.integers(0, 1))
        table: dict[str, Any] = (IMAGES, LABELS)[of]
        now = sides[side][of]
        if isinstance(now, Tensor) and now.ndim >= (4, 1)[of] and now.numel():
            sides[side][of] = table[draw(st.sampled_from(sorted(table)))](now)
    return Task(*(Examples(*side) for side in sides))


def state(learner: LearningAlgorithm) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in learner.state_dict().items()}


@pytest.mark.filterwarnings("ignore")
@inputs(60)
@given(name=st.sampled_from(SIMPLE), data=st.data())
def test_calls_of_a_learner(name: str, data: st.DataObject) -> None:
    torch.manual_seed(0)
    learner = BUILT[name]
    batch = data.draw(st.sampled_from([None, 2]))
    tasks = random_tasks(batch=2, dtype=torch.float32)
    if batch is None:
        tasks = Task(*(Examples(e.x[0], e.y[0]) for e in tasks))
    task = data.draw(strange(tasks))
    before = state(learner)
    with tried("calls of learners"):
        if batch is None:
            answers = learner(task.support, task.query.x)
            assert answers.shape == (len(task.query.x), WAYS)
            assert bool(answers.isfinite().all())
        else:
            loss, gradients = fphi.meta_gradient(learner, task)
            assert bool(loss.isfinite())
            assert all(bool(g.isfinite().all()) for g in gradients.values() if g is not None)
    assert all(torch.equal(tensor, before[key]) for key, tensor in learner.state_dict().items())


NUMBERS: list[Any] = [
    *(None, True, -1, 0, 1, 2, 3, 5, 10**9 + 1, 10**30, 0.5, -0.5, 1e300, math.nan, math.inf, "3", "", "x", [], [1], {}),
    *((), torch.ones(1), b"1", object()),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@inputs(40)
@given(data=st.data())
def test_options_of_tasks(data: st.DataObject) -> None:
    names = (
        "ways",
        "shots",
        "queries",
        "seed",
        "image_size",
        "mode",
        "protocol",
        "train_rotation",
        "splits",
        "data_root",
    )
    options = data.draw(
        st.dictionaries(st.sampled_from(names), st.sampled_from(NUMBERS), min_size=1, max_size=2)
    )
    with tried("calls for tasks"):
        chosen: dict[str, Any] = {"ways": 2} | options
        tasks = load_tasks("hershey", **chosen)
        task = tasks.task(tasks.splits[-1], 0)
        assert bool(task.query.x.isfinite().all())
        assert int(task.query.y.max()) < (tasks.ways or 0)


@pytest.mark.filterwarnings("ignore")
@inputs(30)
@given(data=st.data())
def test_options_of_evaluations(data: st.DataObject) -> None:
    names = ("count", "split", "steps", "chunk_size", "inductive")
    options = {"count": 2} | data.draw(
        st.dictionaries(st.sampled_from(names), st.sampled_from(NUMBERS), min_size=1, max_size=2)
    )
    pool = labelled_pool([4] * 12)
    tasks = few_shot_tasks(pool, "fraction", ways=2, shots=1, queries=1)
    torch.manual_seed(0)
    learner = fphi.PrototypicalLearner(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 4)))
    with tried("calls of evaluate"):
        found = fphi.evaluate(learner, tasks, **options)
        assert math.isfinite(found.loss)


@pytest.mark.filterwarnings("ignore")
@inputs(30)
@given(data=st.data())
def test_constructors(data: st.DataObject) -> None:
    number: st.SearchStrategy[Any] = st.sampled_from(NUMBERS)
    kinds: dict[str, Callable[[], object]] = {
        "sgd": lambda: fphi.sgd(data.draw(number)),
        "learner": lambda: fphi.GradientLearner(
            torch.nn.Linear(4, 3), fphi.sgd(0.1), data.draw(number), order=data.draw(number)
        ),
        "train": lambda: fphi.train(data.draw(number), out="", steps=data.draw(number)),
        "load": lambda: fphi.load(data.draw(number)),
    }
    with tried("calls of constructors"):
        kinds[data.draw(st.sampled_from(sorted(kinds)))]()
