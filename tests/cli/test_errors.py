"""Whatever a user gets wrong is told in one line, with status 2, and nothing is left behind or lost."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cli_helpers import SMALL, command, contents, environment, evaluated, fphi, refused, trained
from fphi import load
from fphi.errors import FphiError
from fphi.run.disk.directory import claim

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("errors") / "run")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "trane maml",
            r"unknown command 'trane': choose one of fit, predict, train, evaluate, .*see fphi --help",
        ),
        ("train mamml", r"unknown method 'mamml': choose one of anil, .*maml, .*reptile"),
        ("train --steps 5", r"the method comes first: fphi train METHOD --steps 5"),
        ("train maml --stepz 5", r"unrecognized arguments: --stepz 5; see fphi train maml --help"),
        ("train maml --step 5", r"unrecognized arguments: --step 5"),
        ("train maml 5", r"unrecognized arguments: 5"),
        ("train maml --ways", r"--ways: expected one argument; see fphi train maml --help"),
        ("train maml --out", r"--out: expected one argument"),
        ("train maml --steps five", r"--steps is 'five'; it must be a whole number"),
        ("train maml --ways 5.5", r"--ways is '5.5'; it must be a whole number"),
        ("train maml --ways null", r"--ways is 'None'; it must be a whole number"),
        ("train maml --inner-lr fast", r"--inner-lr is 'fast'; it must be a number"),
        ("train maml --inner-lr nan", r"--inner-lr is 'nan'; it must be a number"),
        ("train maml --clip-value x", r"--clip-value is 'x'; it must be a number"),
        (
            "train from-scratch --augmentation trivialaugment",
            r"from-scratch trains on no task.* leave it out",
        ),
        ("train reweight --control false --folds 5", r"--folds 5 and --control false: cleaning is left out"),
        ("train maml --logger maybe", r"logger is 'maybe'; it must be of csv, tensorboard, wandb, mlflow"),
        ("train maml --network conv9", r"conv9.* one of conv4-pool, conv4-stride"),
        ("train maml --steps -1", r"steps is -1; it must be at least 1"),
        ("train maml --steps 0", r"steps is 0; it must be at least 1"),
        ("train maml --chunk-size 0", r"--chunk-size is 0; it must be at least 1"),
        ("train maml --threads -2", r"threads is -2; it must be at least 1"),
        (
            "train maml --seed 99999999999999999999",
            r"--seed is 9{20}; it must be at most 18446744073709551615",
        ),
        ("train maml --devices 3 --meta-batch 2", r"meta_batch is 2 and devices 3; each device needs a task"),
        ("train maml --inner-steps -1", r"--inner-steps is -1; it must be at least 0"),
        ("train maml --outer-lr -1", r"--outer-lr is -1; it must be above 0"),
        ("train maml --ways 918", r"918 ways from split 'train': .* only 917 classes; ask for fewer ways"),
        ("train maml --shots 0", r"--shots is 0; it must be at least 1"),
        ("train maml --queries 20", r"has 20 images, but 1 shot \+ 20 queries need 21: ask for fewer"),
        ("train maml --protocol P-X", r"protocol 'P-X' is none of P-MAML, .*alphabet"),
        ("train maml --protocol P-MAML", r"1623 characters of Omniglot, but the data have 1240 classes; use"),
        ("train maml --tasks sine --protocol P-X", r"sine waves have no protocol, but 'P-X' .* leave it out"),
        (
            "train maml --tasks nowhere",
            r"data 'nowhere' are neither omniglot, hershey, sine, quadratics, digits, mnist, fonts, tables nor",
        ),
        ("train maml --method anil", r"--method is 'anil' and 'maml': give it once"),
        ("train maml --accelerator mps", r"cannot run on 1 device.* 'mps' .*try --accelerator cpu"),
        (
            "train maml --resume",
            r"there is no run to resume in runs/maml \(no config.yaml\); check the folder",
        ),
        ("train maml --config no.yaml", r"cannot read no.yaml: .*No such file.*; check the path"),
        ("evaluate", r"the following arguments are required: run; see fphi evaluate --help"),
        (
            "evaluate nowhere",
            r"nowhere is no run directory \(no config.yaml\): give the --out of an fphi train",
        ),
        ("compare", r"the following arguments are required: runs"),
        ("compare nowhere elsewhere", r"nowhere is no run directory"),
        ("compare nowhere --on both", r"--on is 'both': choose transductive or inductive"),
        ("compare nowhere --test-tasks 0", r"--test-tasks is 0; it must be at least 1"),
        ("results --results nowhere", r"--results nowhere is not a folder; give the folder that holds"),
        ("demo --steps 0", r"--steps is 0; it must be at least 1"),
        ("demo --runz x", r"unrecognized arguments: --runz x; see fphi demo --help"),
    ],
)
def test_a_wrong_command_says_what_is_wrong_and_writes_nothing(
    words: str, message: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.search(message, refused(capsys, *words.split()))
    assert contents(tmp_path) == {}


def test_an_evaluation_names_the_device_that_is_not_there(run: Path, capsys: Capture) -> None:
    if torch.backends.mps.is_available():
        pytest.skip("this machine has the device")
    message = refused(capsys, "evaluate", run, "--accelerator", "mps")
    assert "cannot run on 1 device(s) of kind 'mps'" in message
    assert message.endswith("try --accelerator cpu")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--test-tasks 0", "--test-tasks is 0; it must be at least 1"),
        ("--test-tasks -5", "--test-tasks is -5; it must be at least 1"),
        ("--test-tasks many", "--test-tasks is 'many'; it must be a whole number"),
        ("--tasks 600", "--tasks is the data; for 600 test tasks write --test-tasks 600"),
        ("--chunk-size 0", "--chunk-size is 0; it must be at least 1"),
        ("--steps -1", "--steps is -1; it must be at least 0"),
        ("--accelerator fast", "invalid choice: 'fast' (choose from"),
        ("--split dev", "there is no split 'dev' here; there are: train, validation, test"),
    ],
)
def test_a_wrong_evaluation_leaves_the_run_as_it_is(
    words: str, message: str, run: Path, capsys: Capture
) -> None:
    before = contents(run)
    assert message in refused(capsys, "evaluate", run, *words.split())
    assert contents(run) == before


def test_training_into_a_folder_that_holds_a_run_changes_nothing_there(run: Path, capsys: Capture) -> None:
    before = contents(run)
    for method in ("maml", "from-scratch"):
        message = refused(capsys, "train", method, "--out", run, *SMALL)
        assert (
            message
            == f"{run} already holds a run (last.safetensors); choose another folder, or go on with --resume"
        )
    assert contents(run) == before


def test_a_start_without_training_is_a_run_too_and_cannot_be_resumed(tmp_path: Path, capsys: Capture) -> None:
    trained(tmp_path, method="from-scratch")
    before = contents(tmp_path)
    words = ("train", "from-scratch", "--out", tmp_path, *SMALL)
    assert refused(capsys, *words).endswith("already holds a run (best.safetensors); choose another folder")
    assert "no run to resume" in refused(capsys, *words, "--resume")
    assert contents(tmp_path) == before


def test_a_config_of_something_else_is_not_overwritten(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "config.yaml").write_text("mine: 1\n")
    message = refused(capsys, "train", "maml", "--out", tmp_path, *SMALL)
    assert message == f"{tmp_path} already holds another config.yaml; choose another folder"
    assert contents(tmp_path) == {"config.yaml": b"mine: 1\n"}


def test_a_folder_in_which_another_process_trains_stays_its_own(tmp_path: Path, capsys: Capture) -> None:
    """Its configuration too, which is written before there is a checkpoint."""
    with claim(tmp_path, resume=False):
        message = refused(capsys, "train", "maml", "--out", tmp_path, *SMALL)
    assert message == f"another process is training in {tmp_path}; wait for it, or choose another folder"
    assert contents(tmp_path) == {".lock": b""}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--steps 2", r"began with steps 3, not 2; resume it without --steps, or choose another folder"),
        ("--inner-lr 0.1", r"began without inner_lr, not with 0.1; resume it without --inner-lr"),
        ("--shots 2", r"began with shots 1, not 2"),
    ],
)
def test_a_run_is_not_resumed_with_another_configuration(
    words: str, message: str, run: Path, capsys: Capture
) -> None:
    before = contents(run)
    assert re.search(message, refused(capsys, "train", "maml", f"--out={run}", "--resume", *words.split()))
    assert contents(run) == before


def test_a_run_is_not_resumed_with_another_method(run: Path, capsys: Capture) -> None:
    message = refused(capsys, "train", "anil", "--out", run, "--resume")
    assert message == f"{run} is a run of maml, not anil: fphi train maml"


def test_a_folder_that_cannot_be_is_named(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        assert f"cannot write {out}" in refused(capsys, "train", "maml", "--out", out, *SMALL)
    too_long = tmp_path / ("a" * 300)
    for option in ("--out", "--tasks"):
        message = refused(capsys, "train", "maml", option, too_long, *SMALL)
        assert message.startswith(f"File name too long: {too_long}")
    assert contents(tmp_path) == {"file": b"x"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limits of this kind")
def test_what_does_not_fit_into_the_memory_is_told(tmp_path: Path) -> None:
    words = command(
        "train",
        "maml",
        "--tasks",
        "sine",
        "--shots",
        10_000,
        "--meta-batch",
        10**6,
        "--out",
        tmp_path / "run",
    )
    limited = f"ulimit -v 64000000; exec {shlex.join(map(str, words))}"  # 149 GiB are asked for
    done = subprocess.run(
        ["sh", "-c", limited], check=False, capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 2
    assert re.match(
        r"fphi: error: out of memory \(.*GiB.*\); choose a smaller --chunk-size", done.stderr.splitlines()[-1]
    )


def test_a_report_that_cannot_be_written_is_told_before_the_work(
    run: Path, tmp_path: Path, capsys: Capture
) -> None:
    said = f"{tmp_path} is a folder; give the name of a file to write"
    assert refused(capsys, "compare", run, "--html", tmp_path) == said
    assert refused(capsys, "demo", "--out", tmp_path, "--runs", tmp_path / "runs") == said
    assert contents(tmp_path) == {}


def test_a_configuration_file_that_is_none_is_refused(tmp_path: Path, capsys: Capture) -> None:
    path, out = tmp_path / "c.yaml", tmp_path / "run"
    plain = "holds something else than options with plain values"
    cases = {
        "": plain,
        "- 1\n": plain,
        "steps: {a: {b: 1}}\n": plain,
        "steps: {a: 1}\n": "--steps is",
        "a: &a [x, x]\nsteps: [*a, *a]\n": plain,  # the way to a list that grows without bound
        "steps: [": "is damaged (while parsing",
        "steps: !!python/object/apply:os.mkdir [pwned]\n": "is damaged (could not determine a constructor",
        "steps: ten\n": "--steps is 'ten'; it must be a whole number",
        "stepz: 10\n": "Option 'stepz' is not accepted",
        "method: anil\n": "the configuration is of method anil, not maml: fphi train anil",
    }
    for text, expected in cases.items():
        path.write_text(text)
        assert expected in refused(capsys, "train", "maml", "--config", path, "--out", out), text
    assert contents(tmp_path).keys() == {"c.yaml"}


def test_a_name_that_a_shell_would_split_is_quoted(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "a run's [red]name"
    assert fphi("train", "maml", "--out", out, "--steps", 1, *SMALL) == 0
    said = capsys.readouterr().out
    assert said.endswith(f"fphi evaluate '{tmp_path}/a run'\"'\"'s [red]name'\n")
    assert evaluated(capsys, out, "--test-tasks", 2)["tasks"] == 2


@pytest.mark.parametrize(
    "command", ["evaluate RUN", "draw RUN", "export RUN --html x.html", "compare RUN RUN"]
)
@pytest.mark.parametrize("words", ["--method nosuch", "--method mine.py:Mine", "--network conv5"])
def test_a_method_or_network_that_is_not_the_runs_is_refused_and_not_passed_over(
    command: str, words: str, run: Path, capsys: Capture
) -> None:
    name, value = words.split()
    said = refused(capsys, *command.replace("RUN", str(run)).split(), name, value)
    if command.startswith("compare"):
        assert said == f"{name} is '{value}', and no run has its {name[2:]} from a file; leave it out"
    elif command.startswith("evaluate") and value == "nosuch":
        assert (
            said == f"--method is 'nosuch', and {run} was trained with maml; leave it out, or test it as nil"
        )
    else:
        own = {"--method": "maml", "--network": "conv4-stride"}[name]
        assert (
            said == f"{name} is '{value}', and {run} was not trained with that (it has {own}); leave it out"
        )


def test_the_runs_own_method_and_network_may_be_named(run: Path, capsys: Capture) -> None:
    words = ("--method", "maml", "--network", "conv4-stride", "--test-tasks", 2)
    assert evaluated(capsys, run, *words)["method"] == "maml"
    with pytest.raises(FphiError, match=r"--network is 'conv5', and .* was not trained with that"):
        load(run, network="conv5")
