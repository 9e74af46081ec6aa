"""``fphi draw RUN``: pictures of what a run has learned."""

from pathlib import Path

import torch

from fphi.cli.options import Parser, at_least
from fphi.cli.runs import load_run
from fphi.errors import FphiError
from fphi.learnable import EmbeddingLearner, ImaginaryLearner, evaluation_mode
from fphi.report.embedding import draw_embedding, principal_components
from fphi.report.plots import Episode, draw_episode
from fphi.run.files import replace_file
from fphi.tasks import EpisodeShape, Examples, FewShotTasks, TaskDistribution

__all__ = ["run"]


@torch.no_grad()
def run(arguments: list[str]) -> int:
    """Write ``episode.png`` and, for a learner with an embedding, ``embedding.png``."""
    o = _parser().read(arguments)
    at_least(0, index=o.index)
    at_least(2, classes=o.classes, each=o.each)
    _, learner, tasks = load_run(o.run, seed=0, data_root=o.data_root)
    task = tasks.task("test", o.index)
    pictures = {}
    with evaluation_mode(learner):
        pictures["episode.png"] = draw_episode(Episode(task, learner(task.support, task.query.x)))
        if isinstance(learner, EmbeddingLearner | ImaginaryLearner):
            pictures["embedding.png"] = _draw_embedding(learner, _examples(tasks, o.classes, o.each))
    out = o.run if o.out is None else o.out
    out.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        replace_file(out / name, picture)
        print(out / name)
    return 0


def _parser() -> Parser:
    parser = Parser("draw", "Draw one test task with a run's answers, and test classes as it embeds them.")

    def option(name: str, kind: type, default: object, text: str) -> None:
        parser.add_argument(name, type=kind, default=default, help=text)

    parser.add_argument("run", type=Path, help="directory of the run")
    option("--out", Path, None, "folder of the pictures; the run's own if not given")
    option("--index", int, 0, "number of the test task that is drawn")
    option("--classes", int, 10, "test classes in the picture of the embedding, or all that there are")
    option("--each", int, 15, "examples of each of them, or all that there are")
    option("--data-root", str, None, "folder that data sets are looked for in; the run's if not given")
    return parser


def _examples(tasks: TaskDistribution, classes: int, each: int) -> Examples:
    """Examples of some test classes, as the tasks show them."""
    if not isinstance(tasks, FewShotTasks):
        raise FphiError("an embedding is drawn of images, and these tasks have none")
    pool = tasks.pool("test")
    shape = EpisodeShape(min(classes, len(pool)), 1, min(each, int(pool.sizes.min())) - 1)
    shown = FewShotTasks(
        {"test": pool},
        {"test": shape},
        image_size=tasks.image_size,
        image_reduction=tasks.image_reduction,
        invert=tasks.invert,
    )
    support, query = shown.task("test", 0)
    return Examples(torch.cat([support.x, query.x]), torch.cat([support.y, query.y]))


def _draw_embedding(learner: EmbeddingLearner | ImaginaryLearner, examples: Examples) -> bytes:
    embedded, _ = learner.embed(examples.x[None], examples.x[None, :1])
    points, share = principal_components(embedded[0].flatten(1))
    return draw_embedding(points, examples.x, examples.y, share.tolist())
