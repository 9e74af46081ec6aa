"""Settings of the pages that ``make docs`` builds."""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

import fphi

sys.path.insert(0, str(Path(__file__).parent))  # for gallery_order

project, author, release = "fphi", "the fphi authors", fphi.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["_build", "screenshots.py"]
html_theme, html_title = "furo", "fphi"
html_show_copyright = False

myst_heading_anchors = 3
default_role = "code"  # `name` in docstrings
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring, napoleon_numpy_docstring = True, False

ROOT = Path(__file__).parent.parent
# Pages whose text is in a file outside of docs/: a page of that name shows it.
OUTSIDE = {"results": "results/README.md", "notes": "results/NOTES.md", "contributing": "CONTRIBUTING.md"}


# The scripts of the tutorials become pages with what they print, and notebooks.
sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples" / "tutorials"),
    "gallery_dirs": "tutorials",
    "filename_pattern": ".*",
    "within_subsection_order": "gallery_order.in_order",
    "download_all_examples": False,
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "show_memory": False,
}


def setup(app: Sphinx) -> None:
    """Show the documents outside of docs/ as pages."""
    app.connect("source-read", show_outside)


def show_outside(app: Sphinx, name: str, source: list[str]) -> None:
    """Put such a document in place of the page that points to it, and lead links of other pages there."""
    if name in OUTSIDE:
        text = (ROOT / OUTSIDE[name]).read_text(encoding="utf-8")
        source[0] = re.sub(r"\[([^\]\n]*)\]\((?!https?:)[^)\n]*\)", r"\1", text)
    else:
        for page, path in OUTSIDE.items():
            source[0] = source[0].replace(f"](../{path})", f"]({page}.md)")
