"""Commands that break off between two files of theirs, and are typed again."""

import errno
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

import fphi as package
from cli_helpers import fphi, quietly, trained
from fphi.errors import FphiError
from fphi.report.runs import read_run
from fphi.run.disk.lines import LineFile
from fphi.run.search.tabular import BenchmarkMacro
from search_helpers import TINY, TINY_DATA, events, small_table

Capture = pytest.CaptureFixture[str]


@contextmanager
def broken_off(number: int) -> Iterator[list[str]]:
    """The disk is full when file ``number`` is to be put in its place; the names of those before it."""
    numbers, replace, names = count(1), os.replace, list[str]()

    def failing(source: Path, target: Path) -> None:
        if next(numbers) >= number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        names.append(target.name)
        replace(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fphi.run.disk.files.os.replace", failing)
        yield names


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(
        tmp_path_factory.mktemp("short") / "run", "--train-ways", 5, method="prototypical", steps=1
    )


@pytest.fixture(scope="module")
def longer(short: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same training, whose steps were too few."""
    out = Path(shutil.copytree(short, tmp_path_factory.mktemp("longer") / "run"))
    quietly("train", "prototypical", "--out", out, "--resume", "--steps", 2)
    return out


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_more_steps_that_were_asked_for_in_vain_can_be_asked_for_again(
    number: int, short: Path, longer: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = Path(shutil.copytree(short, tmp_path / "run"))
    words = ("train", "prototypical", "--out", out, "--resume", "--steps", 2)
    with broken_off(number) as done:
        assert fphi(*words) == 2
    assert done == ["last.safetensors", "best.safetensors", "command.txt", "config.yaml"][: number - 1]
    assert "the disk is full" in capsys.readouterr().err
    quietly(*words)
    first, second = (package.load(folder).state_dict() for folder in (longer, out))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (out / "best.safetensors").read_bytes() == (longer / "best.safetensors").read_bytes()
    assert len((out / "command.txt").read_text().splitlines()) == 2


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that twice found no room for its first files."""
    out = tmp_path_factory.mktemp("searched") / "run"
    words = ("search", "random-search", "--out", out, *TINY, "--evaluations", 1)
    for number in (1, 2):
        with broken_off(number):
            assert fphi(*words) == 2
        assert not (out / "config.yaml").exists()  # so that it is begun anew
    quietly(*words)
    return out


def test_a_search_that_broke_off_at_its_beginning_remembers_its_command(searched: Path) -> None:
    assert {path.name for path in searched.iterdir()} >= {"command.txt", "config.yaml", "result.json"}


@pytest.fixture(scope="module")
def tested(short: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = Path(shutil.copytree(short, tmp_path_factory.mktemp("tested") / "run"))
    quietly("evaluate", out, "--test-tasks", 3)
    return out


@pytest.mark.parametrize("words", [("--seed", 1), ("--test-tasks", 3, "--chunk-size", 1, "--seed", 2)])
def test_values_per_task_of_another_test_are_not_compared(
    words: tuple[Any, ...], tested: Path, tmp_path: Path
) -> None:
    """A kill between the two files of a test leaves the new values beside the old record."""
    run = Path(shutil.copytree(tested, tmp_path / "run"))
    with broken_off(2) as done:
        assert fphi("evaluate", run, "--test-tasks", 3, *words) == 2
    assert done == ["5w1s.safetensors"]
    assert read_run(run).record["seed"] == 0
    assert read_run(run).scores == {}
    with pytest.raises(FphiError, match="lacks the values per task: evaluate it again"):
        package.compare([tested, run])
    quietly("evaluate", run, "--test-tasks", 3)
    (pair,) = package.compare([tested, run]).pairs
    assert pair.mean == 0


TABLE = ("search", "random-search", "--space", "nasbench-macro", "--evaluations", 30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("evaluation", [1, 45, 90])
def test_a_search_on_a_table_that_was_cut_short_has_no_result(
    number: signal.Signals, evaluation: int, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first search, in the second, and in the last evaluation of the third, which then is whole."""
    evaluations, look_up = count(1), BenchmarkMacro.__call__

    def interrupted(self: BenchmarkMacro, *arguments: Any) -> Any:
        if next(evaluations) == evaluation:
            signal.raise_signal(number)
        return look_up(self, *arguments)

    monkeypatch.setattr(BenchmarkMacro, "__call__", interrupted)
    status = fphi(*TABLE, "--table", small_table(tmp_path), "--seeds", 3)
    output, errors = capsys.readouterr()
    if evaluation == 90:
        assert (status, errors) == (0, "")
        return
    said = f"stopped in the search of seed {evaluation // 30}; nothing of it is kept, run the command again\n"
    assert (status, output, errors) == (130, "", said)


def test_a_process_of_a_search_on_a_table_that_dies_is_told(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, look_up = os.getpid(), BenchmarkMacro.__call__

    def killed(self: BenchmarkMacro, *arguments: Any) -> Any:
        if os.getpid() != own:
            os.kill(os.getpid(), signal.SIGKILL)
        return look_up(self, *arguments)

    monkeypatch.setattr(BenchmarkMacro, "__call__", killed)
    assert fphi(*TABLE, "--table", small_table(tmp_path), "--seeds", 20) == 2
    output, errors = capsys.readouterr()
    assert (output, errors.count("\n")) == ("", 1)
    assert errors.startswith("fphi: error: half of the searches are lost: its process was killed by SIGKILL")


SUPERNETS = {
    "enas-macro": ("--layers", 2, "--channels", 2, "--steps", 1, "--samples", 2, "--batch-size", 25),
    "darts": ("--space", "nasbench201", "--channels", 2, "--cells", 1, "--batch-size", 25),
}


@pytest.mark.parametrize("method", SUPERNETS)
def test_an_epoch_that_was_kept_and_not_logged_is_logged_by_the_next_session(
    method: str, tmp_path: Path
) -> None:
    short = ("--epochs", 3, "--child-epochs", 1, "--retrain-epochs", 1, "--control", "false")
    words = ("search", method, *TINY_DATA, *SUPERNETS[method], *short, "--out")
    quietly(*words, tmp_path / "whole")
    numbers, add = count(1), LineFile.add

    def gone(self: LineFile[Any], content: dict[str, Any]) -> None:
        if next(numbers) == 2:
            raise KeyboardInterrupt
        add(self, content)

    out = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LineFile, "add", gone)
        assert fphi(*words, out) == 130
    assert [row["epoch"] for row in events(out / "history.jsonl")] == [1]
    quietly("search", method, "--out", out, "--resume")
    assert events(out / "history.jsonl") == events(tmp_path / "whole" / "history.jsonl")
    assert (out / "best.safetensors").read_bytes() == (tmp_path / "whole" / "best.safetensors").read_bytes()


COMMANDS = {
    "evaluate": (
        ("evaluate", "run", "--test-tasks", 2),
        ["run/tests/5w1s.json", "run/tests/5w1s.safetensors"],
    ),
    "compare": (("compare", "run", "--html", "a.html", "--markdown", "a.md"), ["a.html", "a.md"]),
    "build": (("build", "search", "--out", "w"), ["w"]),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_to_be_written_is_written_before_it_is_shown(
    command: str, tested: Path, searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is not lost where the standard output is full, or its reader has gone."""

    def full(*_: object) -> None:
        raise FphiError("the output is full")

    shutil.copytree(tested, tmp_path / "run")
    shutil.copytree(searched, tmp_path / "search")
    words, files = COMMANDS[command]
    if command == "evaluate":
        shutil.rmtree(tmp_path / "run" / "tests")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fphi.report.tables.Table.show", full)
    assert fphi(*words) == 2
    assert all((tmp_path / file).is_file() for file in files)
