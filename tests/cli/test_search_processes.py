"""Searches in processes of their own: killed at any moment, and stopped politely."""

import random
import shlex
import shutil
import signal
import time
from pathlib import Path

import pytest

from cli_helpers import quietly
from forked import Forked
from leashed import held
from search_helpers import EVOLUTION, TINY, events, result, searched
from waiting import PATIENCE, wait_until

EVALUATIONS = 12
WORDS = (
    "search",
    "regularized-evolution",
    *TINY,
    *EVOLUTION,
    "--evaluations",
    EVALUATIONS,
    "--child-epochs",
    1,
)


STEPS = 2  # of a candidate's training: 100 examples in batches of 50


def wait_for_lines(path: Path, count: int, process: Forked) -> None:
    wait_until(lambda: path.is_file() and path.read_text().count("\n") >= count, process)


def test_killed_three_times_and_resumed_is_uninterrupted(tmp_path: Path) -> None:
    """SIGKILL at random moments, in the first three evaluations of each session; nothing that was evaluated is
    lost or evaluated again.
    """
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    quietly(*WORDS, "--out", whole)
    moments = random.Random(0)
    words: tuple[object, ...] = (*WORDS, "--out", killed)
    for kill in range(3):
        process = held(tmp_path / "waits", 3 * STEPS + 1, *words)
        lines = len(events(killed / "history.jsonl")) if kill else 0
        wait_for_lines(killed / "history.jsonl", lines + 3, process)
        time.sleep(moments.uniform(0, 0.05))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        told = [event["told"] for event in events(killed / "history.jsonl") if "told" in event]
        assert 0 < len(told) < EVALUATIONS
        words = ("search", "regularized-evolution", "--out", killed, "--resume")
    quietly(*words)
    for file in ("history.jsonl", "random.jsonl"):
        assert events(killed / file) == events(whole / file)
    for file in ("architecture.json", "best.safetensors"):
        assert (killed / file).read_bytes() == (whole / file).read_bytes()
    assert result(killed)["retrained"]["test_accuracy"] == result(whole)["retrained"]["test_accuracy"]


def test_a_terminated_search_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "stopped search"
    waits = tmp_path / "waits"
    process = held(waits, 4 * STEPS + 1, *WORDS, "--control", "false", "--out", out)
    wait_until(waits.exists, process)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (130, ""), errors
    history = events(out / "history.jsonl")
    done = sum("told" in event for event in history)
    assert done == 5  # the one that the signal came in too
    resume = f"fphi search regularized-evolution --out '{out}' --resume"
    said = errors.splitlines()
    assert said[-1] == f"stopped after {done} evaluations of regularized-evolution; go on with: {resume}"
    assert said[0].startswith(f"regularized-evolution: evaluation 1/{EVALUATIONS}  best validation accuracy ")
    quietly(*shlex.split(resume)[1:])
    assert events(out / "history.jsonl")[: len(history)] == history
    assert result(out)["evaluations"] == EVALUATIONS


def test_processes_find_what_this_process_finds(tmp_path: Path) -> None:
    """Random search asks for the same candidates in any order, and each is trained the same anywhere."""
    words = (*TINY, "--evaluations", 4, "--control", "false")
    quietly("search", "random-search", "--out", tmp_path / "here", *words)
    quietly("search", "random-search", "--out", tmp_path / "there", *words, "--executor", "processes")
    losses = [
        {
            event["told"]: event["loss"]
            for event in events(tmp_path / name / "history.jsonl")
            if "told" in event
        }
        for name in ("here", "there")
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return searched(tmp_path_factory.mktemp("whole") / "run", "--control", "false")


@pytest.mark.parametrize("moment", [0, 1])
def test_a_history_that_ends_in_half_a_line_is_resumed(moment: int, whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    expected = events(run / "history.jsonl")
    raw = (run / "history.jsonl").read_bytes().splitlines(keepends=True)
    (run / "history.jsonl").write_bytes(b"".join(raw[: 6 + moment]) + raw[6 + moment][:10])
    (run / "result.json").unlink()
    quietly("search", "regularized-evolution", "--out", run, "--resume")
    assert events(run / "history.jsonl") == expected
