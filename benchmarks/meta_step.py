"""Compare the speed of one meta-gradient with other libraries, on this machine: see docs/speed.md."""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # for all systems alike, as the command fphi has it

import torch
from rich.console import Console

from contenders import ROWS
from fphi import FphiError
from memory import measure_memory
from output import Earlier, Part, Report, around_markers, machine, steps_part, write_between_markers
from sampling import measure_sampling
from timing import compare

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write what was asked for."""
    chosen = _parser().parse_args(arguments)
    if chosen.write:
        around_markers(chosen.write)  # complain now, not after the measurements
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = shlex.join(["python", "benchmarks/meta_step.py", *given])
    earlier = Earlier.read(chosen.along) if chosen.along else Earlier()
    report = Report(earlier.before(command), machine())
    console = Console()
    for name in chosen.parts:
        report.parts[name] = _measure(name, chosen, console, earlier)
        report.parts[name].print(console)
    if chosen.json:
        chosen.json.write_text(json.dumps(report.to_json(), indent=2) + "\n", encoding="utf-8")
    if chosen.write:
        write_between_markers(chosen.write, report.markdown())
    return 0


def _measure(part: str, chosen: argparse.Namespace, console: Console, earlier: Earlier) -> Part:
    with console.status(f"measuring {part}") as status:
        if part == "memory":
            return measure_memory(chosen.tasks, chosen.queries[0], chosen.rounds, torch.get_num_threads())
        if part == "sampling":
            return measure_sampling(chosen.rounds)
        measured = []
        for name in chosen.rows:
            # A row that fixes its queries is measured once.
            for queries in chosen.queries[:1] if ROWS[name].queries else chosen.queries:
                status.update(f"measuring {name}")
                measured += compare(ROWS[name], chosen.tasks, queries, chosen.rounds)
        return steps_part(earlier.beside(measured), chosen.rounds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parts = ("steps", "memory", "sampling")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts, help="tables to make")
    parser.add_argument(
        "--rows", nargs="+", choices=tuple(ROWS), default=tuple(ROWS), help="gradients to time"
    )
    parser.add_argument("--tasks", type=_positive, default=16, help="tasks in a meta-batch")
    parser.add_argument("--queries", type=_positive, nargs="+", default=[1], help="query images per class")
    parser.add_argument("--rounds", type=_positive, default=7, help="rounds that count; two more go before")
    parser.add_argument("--threads", type=_positive, help="cores to use; by default as torch does")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    parser.add_argument(
        "--along", type=Path, help="such a file, whose gradients are shown too if not timed anew"
    )
    parser.add_argument("--write", type=Path, help="Markdown file whose marked part is replaced")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FphiError as error:
        sys.exit(f"fphi: error: {error}")
