"""``fphi draw RUN``: pictures of what a run has learned."""

from pathlib import Path

from fphi.cli.arguments import add_files, files_named
from fphi.experiment.draw import Drawing, draw_run
from fphi.experiment.parser import Parser, at_least
from fphi.run.disk.files import replace_file

__all__ = ["run"]


def run(arguments: list[str]) -> int:
    """Write ``episode.png`` and, for a learner with an embedding, ``embedding.png``."""
    o = _parser().read(arguments)
    at_least(0, index=o.index)
    at_least(2, classes=o.classes, each=o.each)
    pictures = draw_run(o.run, Drawing(o.index, o.classes, o.each, o.data_root, files_named(o), o.tasks))
    out = o.run if o.out is None else o.out
    out.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        replace_file(out / name, picture)
        print(out / name)
    return 0


def _parser() -> Parser:
    parser = Parser("draw", "Draw one test task with a run's answers, and test classes as it embeds them.")
    parser.add_argument("run", type=Path, help="directory of the run")
    option = parser.add_option
    option("--out", Path, None, "folder of the pictures; the run's own if not given")
    option("--index", int, 0, "number of the test task that is drawn")
    option("--classes", int, 10, "test classes in the picture of the embedding, or all that there are")
    option("--each", int, 15, "examples of each of them, or all that there are")
    option("--tasks", str, None, "other data to draw a task of, or the run's, where they are in a file")
    option("--data-root", str, None, "folder that data sets are looked for in; the run's if not given")
    add_files(parser)
    return parser
