"""The options of few-shot tasks: which numbers fit small data, what is said of that, and where paths lead."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fphi.errors import DataError, FphiError
from fphi.tasks import (
    PROTOCOLS,
    ClassPool,
    Examples,
    FewShotTasks,
    Protocol,
    Task,
    TaskDistribution,
    TaskOptions,
    TrainingTasks,
    few_shot_tasks,
    load_tasks,
)
from tasks_helpers import labelled_pool

WIDE = TrainingTasks(ways=60, queries=5, at_most=True)


def shape(tasks: FewShotTasks, split: str) -> tuple[int, int, int]:
    found = tasks.shape(split)
    return found.ways, found.shots, found.queries


def pool_of(classes: int, images: int) -> ClassPool:
    return labelled_pool([images] * classes)


def test_training_tasks_have_as_many_classes_as_there_are_where_nobody_asked_for_a_number() -> None:
    pool = pool_of(30, 20)  # 19 of them for training
    tasks = few_shot_tasks(pool, "fraction", train=WIDE)
    assert shape(tasks, "train") == (19, 1, 5)
    assert tasks.notes == ("training tasks have 19 ways instead of 60, as the data allow",)
    assert sorted(tasks.task("train", 0).support.y.tolist()) == list(range(19))
    assert few_shot_tasks(pool_of(100, 20), "fraction", train=WIDE).notes == ()


def test_classes_that_rotations_make_count_too() -> None:
    tasks = few_shot_tasks(pool_of(30, 20), "fraction", train=WIDE, train_rotation="classes")
    assert shape(tasks, "train") == (60, 1, 5)


def test_a_number_that_was_asked_for_is_kept_or_refused() -> None:
    with pytest.raises(DataError, match="60 ways from split 'train': there are only 19 classes"):
        few_shot_tasks(pool_of(30, 20), "fraction", train=TrainingTasks(ways=60, queries=5))
    with pytest.raises(DataError, match=r"has 5 images, but 1 shot \+ 5 queries need 6"):
        few_shot_tasks(pool_of(30, 5), "fraction", train=TrainingTasks(queries=5))
    with pytest.raises(DataError, match=r"of split 'validation' has 5 images, but 1 shot \+ 15 queries need"):
        few_shot_tasks(pool_of(30, 5), "fraction", queries=15, train=WIDE)


@pytest.mark.parametrize(("sizes", "ways"), [((9, 4, 6), 6), ((9, 2, 3), 5), ((3, 3, 4), 4)])
def test_within_groups_half_of_the_groups_take_part(sizes: tuple[int, ...], ways: int) -> None:
    """But a task has the 5 classes of a test task if any group has them, and never more than any has."""
    groups = [name for name, size in zip("abc", sizes, strict=True) for _ in range(size)]
    pool = labelled_pool([9] * len(groups), groups)
    protocol = Protocol("own", "", lambda pool, seed: {"train": pool}, train_within_group=True)
    assert shape(few_shot_tasks(pool, protocol, train=WIDE), "train") == (ways, 1, 5)


@pytest.mark.parametrize("shots", [1, 2, 3, 4])
def test_five_images_of_a_class_are_enough(shots: int) -> None:
    """What the shots leave is for the queries, whatever the method and the protocol would like."""
    rule = replace(PROTOCOLS["fraction"], test_queries=lambda ways, shots: 15)
    for train in (TrainingTasks(), WIDE, TrainingTasks(shots=9, queries=1, order="stream", at_most=True)):
        tasks = few_shot_tasks(pool_of(60, 5), rule, shots=shots, train=train)
        assert shape(tasks, "test") == shape(tasks, "validation") == (5, shots, 5 - shots)
        _, own, queries = shape(tasks, "train")
        assert (own, queries) == ((4, 1) if train.shots else (shots, min(5 - shots, train.queries or shots)))
    number = f"{5 - shots} queries" if shots < 4 else "1 query"
    assert f"validation and test tasks have {number} instead of 15, as the data allow" in tasks.notes
    assert "training tasks have 4 shots instead of 9, as the data allow" in tasks.notes


def test_five_shots_of_five_images_leave_no_query() -> None:
    with pytest.raises(DataError, match=r"'validation' has 5 images, but 5 shots \+ 1 query need 6: ask for"):
        few_shot_tasks(pool_of(60, 5), "fraction", shots=5, train=WIDE)


def test_small_training_classes_give_fewer_shots_and_the_tests_those_that_were_asked_for() -> None:
    pools = {"train": labelled_pool([4, 9, 9, 9, 9]), "test": pool_of(5, 20)}
    protocol = Protocol("own", "", lambda pool, seed: dict(pools))
    tasks = few_shot_tasks(pools["train"], protocol, shots=5, train=TrainingTasks(at_most=True))
    assert (shape(tasks, "train"), shape(tasks, "test")) == ((5, 3, 1), (5, 5, 5))
    assert tasks.notes == (
        "training tasks have 3 shots instead of 5 and 1 query instead of 5, as the data allow",
    )


def test_tasks_say_their_own_size() -> None:
    tasks = few_shot_tasks(pool_of(60, 9), "fraction", ways=4, shots=3, train=WIDE)
    assert (tasks.ways, tasks.shots) == (4, 3)
    names = tasks.class_names("test", 7)
    assert names == tuple(tasks.pool("test").names[c] for c in tasks.draw("test", [7]).classes[0])
    waves = load_tasks("sine", shots=6)
    assert (waves.ways, waves.shots, waves.class_names("test", 0)) == (None, 6, ())


class Own(TaskDistribution):
    """A user's tasks: three classes with two shots, or a regression."""

    def __init__(self, regression: bool) -> None:
        self.regression = regression

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train", "test")

    def batch(self, split: str, indices: Sequence[int]) -> Task:
        y = torch.arange(3).repeat(len(indices), 2)
        examples = Examples(torch.zeros(len(indices), 6, 4), y[..., None].float() if self.regression else y)
        return Task(examples, examples)


def test_the_size_of_tasks_of_one_s_own_is_read_from_them() -> None:
    assert (Own(False).ways, Own(False).shots) == (3, 2)
    assert (Own(True).ways, Own(True).shots) == (None, 6)
    assert Own(True).notes == Own(True).class_names("test", 0) == ()


def test_paths_are_found_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    located = TaskOptions("images", data_root="data").located(tmp_path)
    assert (located.tasks, located.data_root) == (str(tmp_path / "images"), str(tmp_path / "data"))
    assert located.located(tmp_path / "elsewhere") == located
    for name in ("omniglot", "hershey", "sine", "no-such-folder"):
        assert TaskOptions(name).located(tmp_path) == TaskOptions(name)


def test_a_file_of_python_is_located_and_runs_nowhere_here(tmp_path: Path) -> None:
    own = TaskOptions("own/tasks.py:make").located(tmp_path)
    assert own.file_and_name == (str(tmp_path / "own" / "tasks.py"), "make")
    assert own.located() == own
    assert TaskOptions("hershey").file_and_name is None
    with pytest.raises(
        DataError, match=r"tasks.py:make is a file of Python, which runs only where .* names it"
    ):
        own.load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ways": 1}, "--ways is 1; it must be at least 2"),
        ({"image_size": 0}, "--image-size is 0; it must be at least 1"),
        ({"mode": "rgb"}, "mode 'rgb' is for a folder or zip of images alone: leave it out"),
        ({"image_reduction": "area"}, "image reduction 'area' is for omniglot alone: leave it out"),
        ({"mode": "RGB"}, "--mode is 'RGB'; it must be one of grey, rgb"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(FphiError, match=message):
        load_tasks("hershey", **options)


def test_some_training_classes_are_chosen_by_lot_and_more_of_them_hold_the_fewer() -> None:
    """Those of other splits stay; rotations as classes multiply what is left."""
    pool = pool_of(40, 4)
    named = {n: few_shot_tasks(pool, "fraction", ways=2, queries=1, train_classes=n) for n in (2, 5, None)}
    found = {n: set(tasks.pool("train").names) for n, tasks in named.items()}
    assert (len(found[2]), len(found[5])) == (2, 5)
    assert found[2] < found[5] < found[None]
    for split in ("validation", "test"):
        assert named[2].pool(split).names == named[None].pool(split).names
    other = few_shot_tasks(pool, "fraction", ways=2, queries=1, train_classes=5, split_seed=1)
    assert set(other.pool("train").names) != found[5]
    turned = few_shot_tasks(pool, "fraction", ways=2, queries=1, train_classes=3, train_rotation="classes")
    assert len(turned.pool("train")) == 12
    with pytest.raises(
        DataError, match=f"{len(found[None]) + 1} training classes: there are {len(found[None])}"
    ):
        few_shot_tasks(pool, "fraction", ways=2, queries=1, train_classes=len(found[None]) + 1)
