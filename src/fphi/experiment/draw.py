"""Pictures of what a run has learned: a test task with its answers, and its embedding of test classes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from fphi.experiment.config import CONFIG, FROM_FILES
from fphi.experiment.connections import require_data
from fphi.experiment.loading import WITHOUT_TASKS, load_learner, trained_run
from fphi.learnable import EmbeddingLearner, ImaginaryLearner, LearningAlgorithm, evaluation_mode
from fphi.report.embedding import draw_embedding, principal_components
from fphi.report.plots import Episode, draw_episode
from fphi.report.regression import draw_regression
from fphi.tasks import EpisodeShape, Examples, FewShotTasks, TaskDistribution
from fphi.tasks.episodes import SplitRule
from fphi.within.randomness import undisturbed

__all__ = ["Drawing", "draw_run", "episode_of"]


@dataclass(frozen=True)
class Drawing:
    """What is drawn.

    Args:
        index: number of the test task.
        classes: test classes in the picture of the embedding, or all that there are.
        each: examples of each of them, or all that there are.
        data_root: folder that data sets are looked for in; None: the run's.
        allowed: what is in files of Python, by option; see `Config.read`.
        tasks: other data to draw tasks of; None: the run's.
    """

    index: int = 0
    classes: int = 10
    each: int = 15
    data_root: str | None = None
    allowed: Mapping[str, str] = field(default_factory=dict)
    tasks: str | None = None


@undisturbed()
@torch.no_grad()
def draw_run(run: Path, drawing: Drawing) -> dict[str, bytes]:
    """PNG pictures by file name: ``episode.png`` and, of a learner with an embedding, ``embedding.png``."""
    loaded, tasks = _loaded(run, drawing)
    task = tasks.task("test", drawing.index)
    with evaluation_mode(loaded) as learner:
        if tasks.ways is None:
            return {"episode.png": draw_regression(task, learner(task.support, task.query.x))}
        pictures = {"episode.png": draw_episode(episode_of(learner, tasks, drawing.index))}
        if isinstance(learner, EmbeddingLearner | ImaginaryLearner) and isinstance(tasks, FewShotTasks):
            examples, names = _examples(tasks, drawing.classes, drawing.each)
            embedded, _ = learner.embed(examples.x[None], examples.x[None, :1])
            points, share = principal_components(embedded[0].flatten(1))
            pictures["embedding.png"] = draw_embedding(points, examples.x, examples.y, share.tolist(), names)
    return pictures


@torch.no_grad()
def episode_of(learner: LearningAlgorithm, tasks: TaskDistribution, index: int) -> Episode:
    """One test task with the learner's answers, and the names of its classes where they are known."""
    task = tasks.task("test", index)
    names: tuple[str, ...] = ()
    if isinstance(tasks, FewShotTasks):
        names = tuple(tasks.pool("test").names[c] for c in tasks.draw("test", [index]).classes[0])
    return Episode(task, learner(task.support, task.query.x), names)


def _loaded(run: Path, drawing: Drawing) -> tuple[LearningAlgorithm, TaskDistribution]:
    other = {"data_root": drawing.data_root, "tasks": drawing.tasks}
    other = {key: value for key, value in other.items() if value is not None}
    needed = FROM_FILES if drawing.tasks is None else WITHOUT_TASKS
    trained = trained_run(run, drawing.allowed, f"fphi draw {run}", needed).changed(other)
    if drawing.tasks is None:
        require_data(run / CONFIG, trained.options.tasks, trained.options.data_root)
    tasks = trained.tasks(0, ["test"])
    return load_learner(run, trained, trained.setting(tasks)), tasks


def _examples(tasks: FewShotTasks, classes: int, each: int) -> tuple[Examples, tuple[str, ...]]:
    """Examples of some test classes as the tasks show them, and the names of these."""
    pool = tasks.pool("test")
    shape = EpisodeShape(min(classes, len(pool)), 1, min(each, int(pool.sizes.min())) - 1)
    shown = FewShotTasks(
        {"test": pool},
        {"test": SplitRule(shape)},
        image_size=tasks.image_size,
        image_reduction=tasks.image_reduction,
        invert=tasks.invert,
    )
    support, query = shown.task("test", 0)
    names = tuple(pool.names[c] for c in shown.draw("test", [0]).classes[0])
    return Examples(torch.cat([support.x, query.x]), torch.cat([support.y, query.y])), names
