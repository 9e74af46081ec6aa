"""How the command line answers: quickly, completely, and also where its output has no place."""

import io
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

from cli_helpers import command, environment, fphi, the_error
from fphi import __version__
from fphi.methods.base import FewShotMethod
from fphi.methods.table import methods
from fphi.tasks import descriptions
from fphi.tasks.cache import cache_folder

Capture = pytest.CaptureFixture[str]
METHODS = {name: cls for name, cls in methods().items() if issubclass(cls, FewShotMethod)}
HEAVY = ("torch", "lightning_fabric", "jsonargparse", "matplotlib")


def python(code: str) -> str:
    """The output of a Python process."""
    words = [sys.executable, "-c", code]
    return subprocess.run(words, check=True, capture_output=True, text=True, env=environment()).stdout


def loaded_by(code: str) -> list[str]:
    """Which of the heavy packages are loaded after ``code``."""
    return (
        python(f"{code}\nimport sys; print(*(m for m in {HEAVY} if m in sys.modules))")
        .split("\n")[-2]
        .split()
    )


@pytest.mark.parametrize("words", [["--help"], [], ["--version"], ["nonsense"]])
def test_help_comes_before_anything_heavy_is_loaded(words: list[str]) -> None:
    call = f"from fphi.cli.main import main; main({words})"
    assert loaded_by(call) == []


def test_help_lists_the_commands() -> None:
    said = subprocess.run(
        command("--help"), check=True, capture_output=True, text=True, env=environment()
    ).stdout
    for name in ("train", "evaluate", "compare", "methods", "results", "data", "demo"):
        assert re.search(rf"^  {name} +\w", said, re.MULTILINE)


def test_the_package_loads_nothing_heavy_until_a_name_is_used() -> None:
    assert loaded_by("import fphi; fphi.FphiError; dir(fphi)") == []
    assert loaded_by("import fphi; fphi.GradientLearner") == ["torch"]


def test_after_torch_a_learner_loads_few_modules_besides() -> None:
    """What importing costs is what it loads: of packages besides torch's own only fphi's."""
    code = "import sys, torch; before = set(sys.modules); import fphi; fphi.GradientLearner"
    loaded = python(f"{code}\nprint(*sorted({{m.split('.')[0] for m in set(sys.modules) - before}}))").split()
    assert {"fphi"} <= set(loaded)
    assert not {"lightning_fabric", "jsonargparse", "matplotlib", "rich", "yaml"} & set(loaded)


def test_the_version(capsys: Capture) -> None:
    assert fphi("--version") == 0
    assert capsys.readouterr().out == f"fphi {__version__}\n"


def options_of(words: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Each option's flags, and what the help says of it."""
    monkeypatch.setenv("COLUMNS", "500")
    with pytest.raises(SystemExit) as end:
        fphi(*words, "--help")
    assert end.value.code == 0
    lines = re.findall(r"^  (-.*?)(?:  +(\S.*)|\n {6,}(\S.*))$", capsys.readouterr().out, re.MULTILINE)
    return {flags: beside or below for flags, beside, below in lines}


WITHOUT_DEFAULT = ("-h", "--config", "--print-config")


@pytest.mark.parametrize(
    "words", [*(["train", name] for name in sorted(METHODS)), ["evaluate"], ["compare"], ["demo"]]
)
def test_every_option_is_explained_and_shows_its_default(
    words: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = options_of(words, capsys, monkeypatch)
    assert len(options) > (25 if words[0] == "train" else 3)
    for flags, text in options.items():
        explained, _, default = text.partition("default: ")
        assert re.search(r"\w{3}", re.sub(r"\(type: .*", "", explained)), flags
        assert default or flags.startswith(WITHOUT_DEFAULT), flags


def test_every_method_is_listed_with_its_paper(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    assert fphi("methods") == 0
    listed = capsys.readouterr().out
    assert fphi("train") == 0
    usage = capsys.readouterr().out
    for name, method in METHODS.items():
        assert re.search(rf"│ {re.escape(name)} +│ few-shot +│ .*{re.escape(method.paper)}", listed)
        assert re.search(rf"^  {re.escape(name)} +{re.escape(method.paper)}", usage, re.MULTILINE)


def test_data_that_are_missing_are_no_error_until_they_are_asked_for(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.delenv("FPHI_DATA", raising=False)
    monkeypatch.setattr(descriptions, "find_omniglot", lambda part, data_root: None)
    assert fphi("data") == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    place = f"put images_background.zip and images_evaluation.zip into {cache_folder() / 'omniglot'}"
    assert re.search(
        rf"│ omniglot +│ {re.escape(place)} .* not found; it is downloaded when it is first used", output
    )
    assert re.search(r"│ hershey +│ package Hershey-Fonts +│ 1240 +│ 24800 ", output)
    assert re.search(r"│ alphabet .* train 917, validation 150, test 173 ", output)
    assert re.search(r"│ sine +│ computed ", output)
    assert fphi("data", "sine") == 0


def test_a_reader_that_goes_away_is_no_error() -> None:
    process = subprocess.Popen(
        command("methods"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) in (1, 141)  # rich ends with 1, and we with what a shell would say


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_an_output_that_is_full_is_told() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command("--help"), check=False, stdout=full, stderr=subprocess.PIPE, text=True, env=environment()
        )
    assert done.returncode == 2
    assert the_error(done.stderr).startswith("No space left on device: the output")


def test_an_output_that_is_closed_is_no_error() -> None:
    words = ["sh", "-c", '"$@" >&-', "sh", *command("--help")]
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_terminal_without_the_characters_gets_question_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    shown, errors = (io.TextIOWrapper(io.BytesIO(), encoding="ascii") for _ in range(2))
    with pytest.raises(SystemExit) as end, redirect_stdout(shown), redirect_stderr(errors):
        fphi("train", "maml", "--help")
    shown.seek(0)
    assert (end.value.code, errors.tell()) == (0, 0)
    assert "learning rate for ?." in shown.read()


def test_methods_take_a_line_each(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert fphi("methods") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[3:-1]] == sorted(methods())
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize(
    "words",
    ["train maml", "search nasnet", "evaluate", "compare", "build", "draw", "data", "results", "demo"],
)
def test_help_says_nothing_as_python_prints_it(words: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        fphi(*words.split(), "--help")
    assert not re.search(r"<(class|function)|<locals>|<lambda>", capsys.readouterr().out)


@pytest.mark.parametrize(("own", "found"), [(None, "1"), ("0", "0")])
def test_torch_is_told_to_ask_for_large_pages_before_it_is_loaded(own: str | None, found: str) -> None:
    """Unless the user has said something else."""
    said = "" if own is None else f"os.environ['THP_MEM_ALLOC_ENABLE'] = {own!r}; "
    code = f"import os, sys; {said}from fphi.cli.main import main; assert 'torch' not in sys.modules; "
    assert (
        python(f"{code}main(['--version']); print(os.environ['THP_MEM_ALLOC_ENABLE'])").split()[-1] == found
    )
