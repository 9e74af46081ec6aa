"""The report: one HTML file that needs nothing else, no script, no network."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from fphi.report.tables import Table
from fphi.run.disk.files import write_text

__all__ = ["Block", "Code", "Notes", "Picture", "Section", "render_page", "write_report"]


@dataclass(frozen=True)
class Picture:
    """A PNG with its alternative text (what it shows, for who cannot see it) and a caption."""

    png: bytes
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Code:
    """Text to copy as it stands: a command, a configuration."""

    text: str


@dataclass(frozen=True)
class Notes:
    """A list of short remarks in small type."""

    lines: Sequence[str]


Block = str | Table | Picture | Code | Notes


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it, in order; a ``str`` is a paragraph."""

    heading: str
    blocks: Sequence[Block]


def write_report(path: Path, title: str, intro: str, sections: Sequence[Section]) -> None:
    """Write the page in one move; a reader never meets half of it.

    Raises:
        FphiError: the file cannot be written.
    """
    write_text(path, render_page(title, intro, sections))


def render_page(title: str, intro: str, sections: Sequence[Section]) -> str:
    """The page as HTML; every text is escaped."""
    body = "\n".join(_section(section) for section in sections)
    return _PAGE.format(title=escape(title), style=_STYLE, intro=escape(intro), body=body)


def _section(section: Section) -> str:
    blocks = "\n".join(_block(block) for block in section.blocks)
    return f"<section>\n<h2>{escape(section.heading)}</h2>\n{blocks}\n</section>"


def _block(block: Block) -> str:
    match block:
        case Table():
            return f'<div class="wide" tabindex="0">{block.html()}</div>'
        case Picture():
            return _picture(block)
        case Code():
            return f'<pre tabindex="0"><code>{escape(block.text)}</code></pre>'
        case Notes():
            return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in block.lines)}</ul>"
        case str():
            return f"<p>{escape(block)}</p>"


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    caption = f"<figcaption>{escape(picture.caption)}</figcaption>" if picture.caption else ""
    image = f'<img src="data:image/png;base64,{data}" alt="{escape(picture.alt)}">'
    return f"<figure>{image}{caption}</figure>"


# Pictures keep their white paper in the dark scheme, so that one file serves both.
_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --faint: #59636e; --paper: #fff; --line: #d1d9e0;
  --shade: #f6f8fa; --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --faint: #9198a1; --paper: #14181d; --line: #3d444d; --shade: #1e242b;
    --accent: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.1rem 4rem; max-width: 60rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; padding-top: 1rem; border-top: 1px solid var(--line); }
p { margin: .6rem 0; max-width: 42rem; overflow-wrap: anywhere; }
.intro { font-size: 1.08rem; color: var(--faint); }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .9rem .4rem 0; text-align: left; vertical-align: top; white-space: nowrap; }
tr > :last-child { padding-right: 0; }
thead th { color: var(--faint); font-weight: 500; border-bottom: 2px solid var(--line); }
tbody tr > * { border-bottom: 1px solid var(--line); }
tbody th { font-weight: 600; position: sticky; left: 0; background: var(--paper); }
figure { margin: 1rem 0 1.5rem; }
img { display: block; max-width: 100%; height: auto; padding: .5rem; background: #fff;
  border: 1px solid var(--line); border-radius: .5rem; }
figcaption, ul { color: var(--faint); font-size: .88rem; }
figcaption { margin-top: .4rem; }
ul { padding-left: 1.1rem; max-width: 42rem; overflow-wrap: anywhere; }
pre { overflow-x: auto; padding: .8rem 1rem; background: var(--shade); border: 1px solid var(--line);
  border-radius: .5rem; font: .85rem/1.5 ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; }
pre:focus-visible, .wide:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
@media print { body { max-width: none; } figure, tr { break-inside: avoid; } }
"""

# The empty icon keeps a browser from asking a server for one; the policy forbids every load.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="intro">{intro}</p>
{body}
</main>
</body>
</html>
"""
