"""A search that trains its candidates: random search beside it, both results retrained, one directory."""

import json
import shlex
from contextlib import closing
from pathlib import Path
from typing import Any

from fphi.cli.options import command_line
from fphi.cli.runs import CONFIG
from fphi.cli.search_config import SearchConfig
from fphi.cli.search_result import result_of, summary, write_curves, write_found, write_weights
from fphi.cli.search_steps import Found, Setting, by_evaluations, by_supernet, retrained, rival_of
from fphi.errors import FphiError
from fphi.methods import RandomSearch
from fphi.methods.searching import SearchMethod
from fphi.optimize import RandomSearch as Drawing
from fphi.report.files import read_text, write_text
from fphi.run.checkpoint import BEST, LAST
from fphi.run.directory import claim, require_usable
from fphi.run.history import HISTORY
from fphi.run.search import Budget

__all__ = ["run_search"]

_RESULT = "result.json"
_RANDOM = "random.jsonl"
_HELD = (CONFIG, HISTORY, _RESULT, BEST, LAST)


def run_search(config: SearchConfig, out: Path, *, resume: bool) -> dict[str, Any]:
    """Search as configured into ``out``; the content of ``result.json``.

    Raises:
        StoppedError: SIGTERM or Ctrl-C asked for an end; the search can be resumed.
        FphiError: an option does not fit, the folder is taken, or no candidate could be trained.
    """
    require_usable(out, resume, _HELD)
    problem = config.problem.load(config.space, config.budget.seed)
    config.require_fitting(problem)
    # Whatever can be refused has been before the folder is made.
    with closing(config.executor.make()) as executor, claim(out, resume, _HELD):
        if resume and (out / _RESULT).is_file():
            return _ended(out / _RESULT)
        if not resume:
            write_text(out / CONFIG, config.to_yaml())
            write_text(out / "command.txt", _command(config, out) + "\n")
        return _search(Setting(config, problem, out, executor))


def _ended(path: Path) -> dict[str, Any]:
    """The result of a search that has ended."""
    try:
        result: dict[str, Any] = json.loads(read_text(path))
        summary(result)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise FphiError(f"{path} is damaged; delete it, and --resume writes it anew") from error
    return result


def _search(setting: Setting) -> dict[str, Any]:
    config, out = setting.config, setting.out
    seed, growth = config.budget.seed, None
    if isinstance(config.method, SearchMethod):
        given = config.budget
        usual = config.method.usual_evaluations if given.seconds is None else None
        budget = Budget(given.evaluations or usual, given.seconds)
        optimizer, growth = config.method.optimizer(config.space, seed), config.method.growth(config.space)
        found = by_evaluations(setting, config.method, optimizer, budget, HISTORY)
    else:
        found = by_supernet(setting, config.method)
        budget = _budget_beside(config, found)
    write_found(setting, found)
    wanted = config.control.control and not isinstance(config.method, RandomSearch)
    drawing = Drawing(config.space, seed, growth=growth)
    controls = [by_evaluations(setting, RandomSearch(), drawing, budget, _RANDOM)] if wanted else []
    write_curves(out, found, controls[0] if controls else None)
    results = [(one, retrained(setting, one)) for one in (found, *controls)]
    write_weights(setting, results[0][1])
    rival = rival_of(setting, results[0][1])
    result = result_of(setting, results, rival, budget, _noted_command(config, out))
    write_text(out / _RESULT, json.dumps(result, indent=2) + "\n")
    return result


def _budget_beside(config: SearchConfig, found: Found) -> Budget:
    """Random search's beside a supernet: what is given, else as much time for trainings one by one."""
    given = config.budget
    if given.evaluations is not None:
        return Budget(given.evaluations)
    return Budget(seconds=given.seconds or found.seconds)


def _noted_command(config: SearchConfig, out: Path) -> str:
    """The command that began the search; the file may be missing after a kill at its very beginning."""
    path = out / "command.txt"
    return read_text(path).strip() if path.is_file() else _command(config, out)


def _command(config: SearchConfig, out: Path) -> str:
    """The command that was typed, or one that does the same."""
    again = ["fphi", "search", config.name, "--config", str(out / CONFIG), "--out", f"{out}-again"]
    return command_line() or shlex.join(again)
