"""``fphi serve RUN``: a page in the browser that draws, asks and shows the answer."""

from pathlib import Path

from fphi.cli.arguments import add_files, files_named
from fphi.experiment.parser import Parser
from fphi.serve import serve

__all__ = ["run"]


def run(arguments: list[str]) -> int:
    """Show the page until Ctrl-C."""
    parser = Parser("serve", "Draw examples and a question in the browser, and see what a run answers.")
    parser.add_argument("run", type=Path, help="directory of the run")
    option = parser.add_option
    option("--host", str, "127.0.0.1", "address to listen on; the usual one is this machine's alone")
    option("--port", int, 8000, "port of that address; 0: one that is free")
    add_files(parser)
    o = parser.read(arguments)
    serve(o.run, host=o.host, port=o.port, allowed=files_named(o))
    return 0
