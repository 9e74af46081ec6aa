"""``fphi export RUN``: what a run has learned, in a file that needs no fphi."""

from pathlib import Path

from fphi.cli.arguments import add_files, files_named, require_no_folder
from fphi.errors import FphiError
from fphi.experiment.parser import Parser
from fphi.export import export_html, export_onnx
from fphi.run.disk.files import disk_errors

__all__ = ["run"]


def run(arguments: list[str]) -> int:
    """Write the files that are asked for."""
    parser = Parser("export", "Write what a run has learned as a file that needs no fphi.")
    parser.add_argument("run", type=Path, help="directory of the run")
    option = parser.add_option
    option("--html", Path, None, "a page to draw and ask, one file that opens without a server")
    option("--onnx", Path, None, "an ONNX model that learns a task when it is run: examples and queries in")
    add_files(parser)
    o = parser.read(arguments)
    asked = [(path, write) for path, write in ((o.html, export_html), (o.onnx, export_onnx)) if path]
    if not asked:
        raise FphiError("nothing is asked for; give --html FILE or --onnx FILE")
    for path, _ in asked:
        require_no_folder(path)
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
    for path, write in asked:
        print(f"{path}: {write(o.run, path, files_named(o))} bytes")
    return 0
