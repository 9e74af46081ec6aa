"""A search that trains its candidates: random search beside it, both results retrained, one directory."""

import json
import math
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fphi.experiment.classes import CLASSES, classes_text, read_division
from fphi.experiment.config import CONFIG, Config
from fphi.experiment.running import ExecutorOptions
from fphi.experiment.search.augmenting import TRAININGS, AugmentationProblem
from fphi.experiment.search.few_shot import FewShotProblem
from fphi.experiment.search.few_shot_augmenting import TaskAugmentationProblem
from fphi.experiment.search.fitting import searchable
from fphi.experiment.search.options import (
    BudgetOptions,
    ControlOptions,
    DataOptions,
    LastTrainingsOptions,
    MetaOptions,
    NetworkOptions,
    RetrainOptions,
)
from fphi.experiment.search.problem import Problem, SupervisedProblem
from fphi.experiment.search.result import result_of, write_curves, write_rows, write_weights
from fphi.experiment.search.steps import (
    SearchRun,
    by_epochs,
    by_evaluations,
    compared_with,
    retrained,
)
from fphi.learnable.architecture import ArchitectureSpace
from fphi.learnable.augmentation import AugmentationSpace
from fphi.learnable.space import Space
from fphi.methods.families.searching import EpochwiseMethod, SearchMethod
from fphi.methods.random_search import RandomSearchMethod
from fphi.optimize import RandomSearch
from fphi.report.files import read_text
from fphi.report.searches import read_result
from fphi.run.disk.checkpoint import BEST, LAST
from fphi.run.disk.directory import claim, require_usable
from fphi.run.disk.files import write_text
from fphi.run.disk.lines import whole_lines
from fphi.run.search.history import HISTORY
from fphi.run.search.loop import Budget
from fphi.run.show.say import say
from fphi.tasks.division import Division
from fphi.tasks.options import TaskOptions
from fphi.within.training import NetworkTraining

__all__ = ["run_search"]

_RESULT = "result.json"
_RANDOM = "random.jsonl"
_HELD = (CONFIG, HISTORY, _RESULT, BEST, LAST, TRAININGS)


@dataclass(frozen=True)
class _Asked:
    """A search's configuration with its typed parts."""

    config: Config

    @property
    def method(self) -> SearchMethod | EpochwiseMethod:
        method = self.config.method
        assert isinstance(method, SearchMethod | EpochwiseMethod)
        return method

    @property
    def space(self) -> Space:
        return self.config.space

    @property
    def budget(self) -> BudgetOptions:
        return self.config.part(BudgetOptions)

    @property
    def epochs(self) -> int:
        """Of the training of one candidate; of few-shot candidates there are none to be divided."""
        return self.config.part(NetworkTraining).epochs if self.config.has(NetworkTraining) else 1

    @property
    def evaluations(self) -> Budget:
        """Of candidates one by one; of a search that is one training only random search's."""
        given, method = self.budget, self.method
        if given.evaluations is not None or given.seconds is not None:
            most = method.most(self.epochs) if isinstance(method, SearchMethod) else None
            return Budget(given.evaluations or most, given.seconds)
        if isinstance(method, SearchMethod):
            return Budget(method.evaluations(self.epochs))
        return Budget(method.control_evaluations)

    @property
    def control(self) -> Budget | None:
        """Of random search, whose candidates are trained to the end: as many epochs as the search has.

        None: there is to be none.
        """
        method, given = self.method, self.budget
        asked_for = self.config.part(ControlOptions).control and not isinstance(method, RandomSearchMethod)
        if isinstance(method, EpochwiseMethod):
            none = not method.control_evaluations and given.evaluations is None and given.seconds is None
            return self.evaluations if asked_for and not none else None
        budget = self.evaluations
        if not asked_for or budget.evaluations is None or budget.seconds is not None:
            return Budget(given.evaluations, given.seconds) if asked_for else None
        rounds = math.ceil(self.epochs / method.stretch(self.epochs))
        return Budget(math.ceil(budget.evaluations / rounds))

    @property
    def doubts(self) -> tuple[str, ...]:
        """What speaks against the budget."""
        method = self.method
        doubt = method.doubt(self.evaluations.evaluations) if isinstance(method, SearchMethod) else ""
        return (doubt,) if doubt else ()

    def problem(self, out: Path, division: Division | None) -> Problem:
        """With its data, of the classes that it began with."""
        part, seed, space = self.config.part, self.budget.seed, self.space
        learner = self.config.learner
        if learner is not None:
            few_shot = part(TaskOptions), part(MetaOptions), learner
            if isinstance(space, AugmentationSpace):
                return TaskAugmentationProblem.load(space, seed, *few_shot, division)
            assert isinstance(space, ArchitectureSpace)
            return FewShotProblem.load(space, seed, *few_shot, division)
        options, training = part(DataOptions), part(NetworkTraining)
        data = options.load(seed)
        problem: Problem
        if isinstance(space, AugmentationSpace):
            method, last, network = self.method, part(LastTrainingsOptions), part(NetworkOptions)
            interval = method.stretch(self.epochs) if isinstance(method, SearchMethod) else self.epochs
            problem = AugmentationProblem(space, seed, data, training, last, network, interval, out)
        else:
            assert isinstance(space, ArchitectureSpace)
            problem = SupervisedProblem(space, seed, data, training, part(RetrainOptions))
        if division is not None:
            division.require_same(problem.classes, options.data)
        return problem

    def require_fitting(self, problem: Problem) -> None:
        """Raise an `FphiError` if the method cannot begin a search in the space."""
        with searchable(self.config):
            self.method.require(self.space)
            problem.require()
            if isinstance(self.method, SearchMethod):
                self.method.require_budget(self.budget.evaluations, self.epochs)
                self.method.optimizer(self.space, self.budget.seed)
            else:
                problem.begin(self.method)


def run_search(config: Config, out: Path, *, resume: bool, command: str) -> dict[str, Any]:
    """Search as configured into ``out``; the content of ``result.json``.

    Args:
        config: of a search.
        out: the folder.
        resume: go on with the search there.
        command: that does this again, for the records.

    Raises:
        StoppedError: SIGTERM or Ctrl-C asked for an end; the search can be resumed.
        FphiError: an option does not fit, the folder is taken, or no candidate could be trained.
    """
    asked = _Asked(config)
    require_usable(out, resume, _HELD)
    problem = asked.problem(out, read_division(out) if resume else None)
    asked.require_fitting(problem)
    for note in (*problem.notes, *asked.doubts):
        say(note)
    # Whatever can be refused has been before the folder is made.
    with (
        closing(config.part(ExecutorOptions).make()) as executor,
        claim(out, resume, _HELD, begun=lambda: _has_begun(out)),
    ):
        if resume and (out / _RESULT).is_file():
            return read_result(out / _RESULT)
        if not resume:
            if problem.classes:
                write_text(out / CLASSES, classes_text(problem.classes))
            write_text(out / "command.txt", command + "\n")
            write_text(out / CONFIG, config.to_yaml(out))  # from now on it can be resumed
        return _search(asked, SearchRun(asked.space, problem, asked.budget.seed, out, executor), command)


def _has_begun(out: Path) -> bool:
    """Whether the search in a folder has come to anything that took time."""
    return (out / LAST).is_file() or any(b'"told"' in line for line in whole_lines(out / HISTORY))


def _search(asked: _Asked, run: SearchRun, command: str) -> dict[str, Any]:
    method, growth, choose = asked.method, None, None
    if isinstance(method, SearchMethod):
        optimizer, growth, choose = (
            method.optimizer(run.space, run.seed),
            method.growth(run.space),
            method.chosen,
        )
        found = by_evaluations(run, method, optimizer, asked.evaluations, HISTORY)
    else:
        found = by_epochs(run, method)
    run.problem.write(found, run.out)
    write_rows(run, found)
    drawing, budget, controls = RandomSearch(run.space, run.seed, growth=growth), asked.control, []
    if budget is not None:
        controls.append(by_evaluations(run, RandomSearchMethod(), drawing, budget, _RANDOM, choose))
    write_curves(run.out, found, controls[0] if controls else None)
    results = [(one, retrained(run, one)) for one in (found, *controls)]
    write_weights(run, results[0][1])
    beside = compared_with(run, found, results[0][1])
    result = result_of(run, results, beside, budget, _noted_command(run.out, command))
    result["settings"] = asked.config.decisive(run.out)
    write_text(run.out / _RESULT, json.dumps(result, indent=2) + "\n")
    return result


def _noted_command(out: Path, otherwise: str) -> str:
    """The command that began the search; the file may have been lost since."""
    path = out / "command.txt"
    return read_text(path).strip() if path.is_file() else otherwise
