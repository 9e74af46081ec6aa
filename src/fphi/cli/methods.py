"""``fphi methods``: the table of methods."""

from shutil import get_terminal_size
from textwrap import shorten

from fphi.experiment.parser import Parser
from fphi.methods.base import FewShotMethod, Method
from fphi.methods.families.weighting import WeightingMethod
from fphi.methods.table import methods
from fphi.report.tables import Table

__all__ = ["run"]


def run(arguments: list[str]) -> int:
    """Print each method with the kind of thing that it learns and its paper, a line each."""
    Parser("methods", "List the methods with their papers, a line each.").read(arguments)
    listed = methods()
    room = max(20, get_terminal_size().columns - max(map(len, listed)) - len("weighting") - 10)  # the lines
    lines = [(name, _kind(cls), shorten(_paper(cls), room, placeholder=" …")) for name, cls in listed.items()]
    Table(("Method", "Kind", "Paper"), tuple(lines)).show()
    return 0


def _kind(cls: type[Method]) -> str:
    if issubclass(cls, WeightingMethod):
        return "weighting"
    return "few-shot" if issubclass(cls, FewShotMethod) else "search"


def _paper(cls: type[Method]) -> str:
    """Authors, where and when, as far as a line has room; with its number on arXiv where it has one."""
    return f"arXiv {cls.arxiv}: {cls.paper}" if cls.arxiv else cls.paper
