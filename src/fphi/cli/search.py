"""``fphi search METHOD``: architecture search."""

import json
import shlex
import sys

from fphi.cli.search_config import parse, resume_command, usage
from fphi.cli.search_result import summary
from fphi.cli.search_run import run_search
from fphi.cli.search_steps import StoppedError
from fphi.cli.search_table import search_table
from fphi.errors import FphiError

__all__ = ["run"]


def run(arguments: list[str]) -> int:
    """Parse the command, search, print a table or one JSON object."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0
    name, rest = arguments[0], arguments[1:]
    if name.startswith("-"):
        raise FphiError(f"the method comes first: fphi search METHOD {' '.join(arguments)}")
    request = parse(name, rest)
    if request.tables.table is not None:
        search_table(request.config, request.tables, as_json=request.json)
        return 0
    try:
        result = run_search(request.config, request.out, resume=request.resume)
    except StoppedError as stopped:
        print(f"stopped {stopped}; go on with: {resume_command(name, request.out)}", file=sys.stderr)
        return 130
    if request.json:
        print(json.dumps(result))
        return 0
    summary(result).show()
    print(result["architecture"])
    if "failure" not in result["retrained"]:
        print(shlex.join(["fphi", "build", str(request.out)]))
    return 0
