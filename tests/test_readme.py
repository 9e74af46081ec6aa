"""The README's promises: its code runs, its table is the one in results/."""

import re
from pathlib import Path

import pytest

from fphi.methods import METHODS
from fphi.report.results import main
from fphi.report.searches import main as searches

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "docs/guide.md"]


@pytest.mark.parametrize("page", PAGES)
def test_python_examples_run(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), {"__name__": "example"})
    if page == "README.md":
        assert "'transductive': {'mean':" in capsys.readouterr().out


def test_the_example_in_the_readme_has_ten_lines_of_code() -> None:
    block = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[0]
    assert len([line for line in block.splitlines() if line.strip()]) <= 10


def test_the_tables_of_results_are_up_to_date() -> None:
    """As `make results` writes them."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    comparing = re.findall(r"^COMPARING := (.*)$", makefile, re.MULTILINE)[0].split()
    assert set(comparing) < set(METHODS)
    results = str(ROOT / "results")
    assert main([str(ROOT / "README.md"), results, "--check"]) == 0
    assert main([str(ROOT / "docs" / "comparison.md"), results, "--check", "--methods", *comparing]) == 0
    assert (
        searches([str(ROOT / "docs" / "architecture.md"), str(ROOT / "results" / "searches"), "--check"]) == 0
    )


@pytest.mark.parametrize(
    "page", sorted(p.relative_to(ROOT).as_posix() for p in [ROOT / "README.md", *ROOT.glob("docs/*.md")])
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert ((ROOT / page).parent / target).exists(), target
