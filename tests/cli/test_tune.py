"""``fphi tune``: a killed or stopped tuning goes on as if it had not been, and the last line trains the best."""

import json
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest

from cli_helpers import fphi, refused
from fphi.run.disk.directory import beside
from leashed import held
from tuning_helpers import no_waiting_for_the_disk
from waiting import PATIENCE, wait_until

Capture = pytest.CaptureFixture[str]
STEPS = 6
TINY = (
    *("--tasks", "sine", "--shots", 3, "--steps", STEPS, "--validate-every", 2, "--meta-batch", 1, "--threads", 1),
    *("--validation-tasks", 2, "--outer-lr", 0.01, "--trials", 3, "--prune-after", 2),
    *("--vary", "inner_lr=0.001:0.5:log", "--vary", "inner_steps=1,2"),
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tuning that nothing stopped."""
    out = tmp_path_factory.mktemp("tune") / "whole"
    with no_waiting_for_the_disk():
        assert fphi("tune", "maml", "--out", out, *TINY, "--json") == 0
    return out


def result(out: Path) -> dict[str, Any]:
    """All but the command, which names the folder."""
    content: dict[str, Any] = json.loads((out / "tuning.json").read_text())
    content["command"] = content["command"].partition(" --out ")[0]
    return content


@pytest.mark.parametrize("stopped", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_a_tuning_that_is_stopped_in_a_trial_goes_on_as_if_it_had_not_been(
    stopped: signal.Signals, whole: Path, tmp_path: Path, capsys: Capture
) -> None:
    out, waits = tmp_path / "stopped here", tmp_path / "waits"
    process = held(waits, STEPS + 4, "tune", "maml", "--out", out, *TINY)
    wait_until(waits.exists, process)  # in the second trial, after its first validation
    process.send_signal(stopped)
    if stopped is not signal.SIGKILL:
        process.send_signal(signal.SIGTERM)  # it goes on, to the end of the step
    output, errors = process.communicate(timeout=PATIENCE)
    assert output == ""
    assert not (out / "tuning.json").exists()
    resume = ["tune", "maml", "--out", str(out), "--resume"]
    if stopped is signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
        assert [line.partition(":")[0] for line in errors.splitlines()] == ["trial 0 (1/3)"]
    else:
        assert process.returncode == 130
        said = f"stopped after 1 of 3 trials; go on with: {shlex.join(['fphi', *resume])}"
        assert errors.splitlines()[-1] == said

    with no_waiting_for_the_disk():
        assert fphi(*resume) == 0
    assert result(out) == result(whole)
    for trial in ("000", "001", "002"):
        one, other = (folder / "trials" / trial / "best.safetensors" for folder in (out, whole))
        assert one.read_bytes() == other.read_bytes()
    assert capsys.readouterr().err.startswith("trial 1 (2/3): ")


def test_the_last_line_trains_the_best(whole: Path, tmp_path: Path, capsys: Capture) -> None:
    capsys.readouterr()
    assert fphi("tune", "maml", "--out", whole, "--resume") == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    *tables, last = output.splitlines()
    assert tables[0].strip() == "Trials, by loss on development tasks"
    assert max(map(len, tables)) <= 80
    content = json.loads((whole / "tuning.json").read_text())
    assert last == content["command"]
    first, *words, out = shlex.split(last)
    assert (first, out) == ("fphi", f"{whole}-best")

    assert fphi(*words, tmp_path / "best") == 0
    trained = (tmp_path / "best" / "best.safetensors").read_bytes()
    assert trained == (whole / "trials" / f"{content['best']:03d}" / "best.safetensors").read_bytes()


def test_json_is_one_line_with_all_trials(whole: Path, capsys: Capture) -> None:
    capsys.readouterr()
    assert fphi("tune", "maml", "--out", whole, "--resume", "--json") == 0
    output, errors = capsys.readouterr()
    assert (output.count("\n"), errors) == (1, "")
    content = json.loads(output, parse_constant=pytest.fail)
    assert content == json.loads((whole / "tuning.json").read_text())
    assert [trial["number"] for trial in content["trials"]] == [0, 1, 2]
    assert content["space"] == {"inner_lr": "0.001:0.5:log", "inner_steps": "1,2"}
    assert content["trials"][content["best"]]["state"] == "complete"


def test_help_and_refusals(whole: Path, tmp_path: Path, capsys: Capture) -> None:
    assert fphi("tune") == 0
    assert "--vary inner_lr=0.01:1:log" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        fphi("tune", "maml", "--help")
    options = capsys.readouterr().out
    assert all(
        option in options for option in ("--vary", "--trials", "--prune-after", "--inner-lr", "--json")
    )
    out = tmp_path / "out"
    for words, message in (
        (("--vary", "inner_lr=0.1"), "--vary inner_lr=0.1 gives no two different values"),
        (("--trials", 0), "--trials is 0; it must be at least 1"),
        (("--nonsense", 1), "nonsense"),
        (("--resume",), "there is no run to resume in"),
    ):
        assert message in refused(capsys, "tune", "maml", "--out", out, "--tasks", "sine", *words)
    assert not out.exists()
    assert "the method comes first: fphi tune METHOD --trials 3" in refused(capsys, "tune", "--trials", 3)
    assert "darts is no few-shot method" in refused(capsys, "tune", "darts")
    assert "already holds a run (study.db)" in refused(capsys, "tune", "maml", "--out", whole, *TINY)


def test_what_the_command_gives_is_not_varied_and_the_rest_is(tmp_path: Path) -> None:
    given = (
        "--tasks",
        "sine",
        "--shots=3",
        "--steps",
        1,
        "--inner-lr=0.02",
        "--inner-steps",
        1,
        "--trials",
        1,
    )
    with no_waiting_for_the_disk():
        assert fphi("tune", "maml", "--out", tmp_path / "out", *given, "--validation-tasks", 1) == 0
    plan = json.loads((tmp_path / "out" / "vary.json").read_text())
    assert list(plan["vary"]) == ["test_steps", "outer_lr", "schedule"]
    assert (plan["trials"], plan["prune_after"]) == (1, 4)


def test_a_tuning_in_the_folder_of_here_names_the_best_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    here = tmp_path / "here"
    (here / "within").mkdir(parents=True)
    monkeypatch.chdir(here)
    with no_waiting_for_the_disk():
        assert fphi("tune", "maml", "--out", ".", *TINY, "--steps", 1, "--trials", 1) == 0
    assert shlex.split(capsys.readouterr().out.splitlines()[-1])[-1] == f"{here}-best"
    monkeypatch.chdir(here / "within")
    assert beside(Path(".."), "again") == tmp_path / "here-again"
