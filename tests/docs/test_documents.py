"""The documents' promises: their code runs, their commands have the options, their links lead somewhere."""

import contextlib
import io
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from jsonargparse import Namespace

import fphi
from fphi.cli.main import main
from fphi.experiment.parser import Parser
from fphi.methods import table

ROOT = Path(__file__).parent.parent.parent
PATHS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *(ROOT / "results" / name for name in ("README.md", "NOTES.md")),
]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PATHS}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)


def write_files(page: str) -> None:
    """The blocks whose first line is a file's name, as these files."""
    for block in blocks(page, "python"):
        name = re.match(r"# (\w+\.py)\n", block)
        if name:
            Path(name[1]).write_text(block, encoding="utf-8")


def commands(page: str) -> list[list[str]]:
    """The lines of shell blocks that call fphi, each as its words after that one."""
    found: list[list[str]] = []
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            found.append([])
            words = shlex.shlex(line, posix=True, punctuation_chars=";")
            words.whitespace_split = True
            for word in words:
                if word == ";":
                    found.append([])
                else:
                    found[-1].append(word)
    return [words[1:] for words in found if words[:1] == ["fphi"]]


@pytest.fixture(autouse=True)
def table_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods of the documents are in the table for one test."""
    monkeypatch.setattr(table._TABLE, "entries", dict(table.methods()))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_blocks_of_python_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, in one namespace, as a reader types them."""
    monkeypatch.chdir(tmp_path)
    write_files(page)
    names: dict[str, Any] = {"__name__": "example"}
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), names)


class ParsedError(Exception):
    """A command's options are all there; nothing is to be done."""


@pytest.fixture
def only_parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command ends when its line is parsed."""
    read = Parser.read

    def parsed(parser: Parser, arguments: list[str]) -> Namespace:
        read(parser, arguments)
        raise ParsedError

    monkeypatch.setattr(Parser, "read", parsed)


def parse(words: list[str]) -> None:
    """Go on with nothing: a run that ``--resume`` and ``--config`` speak of is not there."""
    with contextlib.suppress(ParsedError, SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main([word for word in words if word != "--resume"])


COMMANDS = [
    pytest.param(page, words, id=f"{page}: {' '.join(words)}") for page in PAGES for words in commands(page)
]


@pytest.mark.parametrize(("page", "words"), COMMANDS)
@pytest.mark.usefixtures("only_parsing")
def test_commands_have_these_options(
    page: str,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(page)
    for config in (word for word in words if word.endswith("config.yaml")):
        Path(config).parent.mkdir(parents=True, exist_ok=True)
        kept = ROOT / config
        text = (kept if kept.is_file() else ROOT / "results/P-MAML/maml/config.yaml").read_text("utf-8")
        text = text.replace("tasks: omniglot", "tasks: hershey")  # which are everywhere
        Path(config).write_text(re.sub("protocol: .*", "protocol: null", text), encoding="utf-8")
    parse(words)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("only_parsing")
def test_an_option_that_is_gone_would_be_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    parse(["evaluate", "runs/maml", "--out", "there"])
    assert "--out" in capsys.readouterr().err
    parse(["train", "maml", "--inner-rate", "1"])
    assert "--inner-rate" in capsys.readouterr().err


def test_there_are_commands_and_code_to_check() -> None:
    assert ["train", "maml", "--help"] in commands("README.md")
    assert ["methods"] in commands("README.md")
    assert len(blocks("docs/guide.md", "python")) > 10


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGES[page]):
        assert ((ROOT / page).parent / unquote(target)).exists(), target


def test_the_readme_is_short() -> None:
    assert len(PAGES["README.md"].splitlines()) < 120
    (block,) = blocks("README.md", "python")
    assert len([line for line in block.splitlines() if line.strip()]) <= 10
    section = PAGES["README.md"].split("<!-- results:begin -->")[1].split("<!-- results:end -->")[0]
    assert 3 <= sum(line.startswith("|") for line in section.splitlines()) <= 14


def test_the_api_page_has_every_public_name_once() -> None:
    named = re.findall(r"^\.\. auto\w+:: fphi\.(\w+)$", PAGES["docs/api.md"], re.MULTILINE)
    assert sorted(named) == sorted(fphi.__all__)


def test_every_method_is_on_a_page() -> None:
    pages = "".join(text for page, text in PAGES.items() if page.startswith("docs/"))
    own = [name for name, known in table.methods().items() if known.__module__.startswith("fphi.")]
    assert len(own) > 30
    assert [name for name in own if f"`{name}`" not in pages] == []
