"""``fphi export RUN``: what a run has learned, in a file that needs no fphi."""

from pathlib import Path

from fphi.cli.arguments import FILES, files_named, require_no_folder
from fphi.errors import FphiError
from fphi.experiment.parser import Parser
from fphi.export.html import export_html

__all__ = ["run"]


def run(arguments: list[str]) -> int:
    """Write the files that are asked for."""
    parser = Parser("export", "Write what a run has learned as a file that needs no fphi.")
    parser.add_argument("run", type=Path, help="directory of the run")
    option = parser.add_option
    option("--html", Path, None, "a page to draw and ask, one file that opens without a server")
    for name, text in FILES.items():
        option(f"--{name}", str, None, text)
    o = parser.read(arguments)
    require_no_folder(o.html)
    if o.html is None:
        raise FphiError("nothing is asked for; give --html FILE")
    print(f"{o.html}: {export_html(o.run, o.html, files_named(o))} bytes")
    return 0
