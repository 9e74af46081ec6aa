"""Several runs on the same test tasks, pair by pair."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fphi.errors import FphiError
from fphi.experiment.config import CONFIG, has_tasks
from fphi.experiment.evaluation import EvaluationOptions, evaluate_run
from fphi.experiment.loading import own_files
from fphi.experiment.parser import flag
from fphi.experiment.plugins import is_in_file
from fphi.ranges import checked
from fphi.report.compare import Comparison, TaskScores, of_same_tasks
from fphi.report.compare import compare as compare_scores
from fphi.report.files import TESTS, read_record, read_tests
from fphi.report.runs import EvaluatedRun, own_test, read_run
from fphi.tasks import GIVEN, TaskDistribution
from fphi.tasks.sources import WITHOUT_PROTOCOL

__all__ = ["Compared", "compare"]


@dataclass(frozen=True)
class Compared:
    """Runs with their tests, by name, and the differences between those with the same test tasks."""

    runs: dict[str, EvaluatedRun]
    pairs: list[Comparison]


@checked()
def compare(
    runs: Sequence[Path | str],
    *,
    on: str = "inductive",
    test_tasks: int | None = None,
    test: str | None = None,
    tasks: str | TaskDistribution | None = None,
    **files: str,
) -> Compared:
    """Compare runs; those that were not tested so yet are tested, on the tasks of the others.

    Args:
        runs: folders; of those with the same test tasks the first is compared with.
        on: "inductive" or "transductive" accuracy; in regression it is the loss.
        test_tasks: for runs that were not tested yet; None: as many as the first of the others, else 600.
        test: name of the test, where runs have several, e.g. "5w1s"; None: the one of their own sizes.
        tasks: the distribution again that runs were trained on, where it was given in Python; or
            ``FILE.py:NAME``, where runs have theirs from a file.
        files: ``method`` and ``network``, where runs have them from files: ``FILE.py:NAME``.

    Raises:
        FphiError: a run is none, or no two were tested on the same tasks; it says in what they differ.
    """
    if on not in ("transductive", "inductive"):
        raise FphiError(f"--on is {on!r}: choose transductive or inductive")
    paths = [Path(run) for run in runs]
    given = tasks if isinstance(tasks, TaskDistribution) else None
    if isinstance(tasks, str):
        files["tasks"] = tasks
    _require_used(paths, files)
    _test_missing(paths, EvaluationOptions(test_tasks, allowed=files), test, given)
    read = dict(zip(_names(paths), [read_run(path, test) for path in paths], strict=True))
    if len(read) == 1:
        return Compared(read, [])
    return Compared(read, _paired([run.task_scores(on, label) for label, run in read.items()]))


def _require_used(paths: list[Path], files: Mapping[str, str]) -> None:
    """Raise if something is named that no run has from a file."""
    used = [own_files(path, files) for path in paths if (path / CONFIG).is_file()]
    for key, named in files.items():
        if used and not any(key in of_run for of_run in used):
            raise FphiError(f"{flag(key)} is {named!r}, and no run has its {key} from a file; leave it out")


def _test_missing(
    paths: list[Path], test: EvaluationOptions, name: str | None, given: TaskDistribution | None
) -> None:
    """Test what was not tested yet, on the tasks of the first that was."""
    tested = [path for path in paths if _has_test(path, name)]
    if tested:
        like = read_run(tested[0], name).record
        test = replace(test, test_tasks=test.test_tasks or like["tasks"], seed=like["seed"])
    for path in paths:
        if path in tested:
            continue
        takes = given is not None and (path / CONFIG).is_file() and has_tasks(path, GIVEN)
        asked = test if name is None or own_test(path, [name]) else _as_in(paths, name, test)
        asked = replace(asked, allowed=own_files(path, test.allowed or {}))
        made = evaluate_run(path, asked, given=given if takes else None)
        if not made.of_run:
            raise FphiError(f"{path} was trained on tasks of another protocol than those given; give its own")
        if name is not None and made.name != name:
            raise FphiError(f"{path} has no test {name}, and its tasks have other sizes: leave --test out")
        made.keep(path)


def _has_test(path: Path, name: str | None) -> bool:
    """Whether it was tested so; one whose tests are damaged is refused, not tested anew."""
    tests = read_tests(path)
    return own_test(path, tests) is not None if name is None else name in tests


def _as_in(paths: list[Path], name: str, test: EvaluationOptions) -> EvaluationOptions:
    """With the sizes, split, turns and inner steps of the test of this name that a run has.

    Raises:
        FphiError: none has.
    """
    files = [path / TESTS / f"{name}.json" for path in paths]
    kept = [read_record(file) for file in files if file.is_file()]
    if not kept:
        raise FphiError(f"none of the runs has a test {name}; evaluate one so first, or leave --test out")
    like, sizes = kept[0], ["test_steps"]
    told: Mapping[str, object] = like
    data = like.get("data", "")
    if data != GIVEN and not is_in_file(data):  # whose tasks say themselves how large they are
        sizes += ["ways", "shots"] if data in WITHOUT_PROTOCOL else ["ways", "shots", "queries"]
    other = {size: told[size] for size in sizes if told.get(size) is not None}
    return replace(test, split=like.get("split", "test"), turns=like.get("turns", 1), other=other)


def _paired(scores: list[TaskScores]) -> list[Comparison]:
    """Differences among those that were tested on the same tasks, from the first of them.

    Raises:
        FphiError: no two were; it says in what the first two differ.
    """
    return [pair for group in of_same_tasks(scores) or [scores] for pair in compare_scores(group)]


def _names(paths: list[Path]) -> list[str]:
    """Folders by their own names; by their paths, numbered, where these are not distinct."""
    own = [path.resolve().name for path in paths]
    names = own if len(set(own)) == len(own) else [str(path) for path in paths]
    repeated = Counter(names)
    return [name if repeated[name] == 1 else f"{name} ({i})" for i, name in enumerate(names, start=1)]
