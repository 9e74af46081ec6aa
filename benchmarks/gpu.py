"""Compare the speed of one meta-gradient with other libraries on this machine's GPU, in under 8 minutes."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from contenders import ROWS
from output import Measured, Report, machine, steps_part
from timing import compare

__all__ = ["main"]

_TASKS, _ROUNDS = 32, 5
_QUERIES = {"maml": (1, 15), "fomaml": (1, 15), "anil": (15,), "reptile": (1,)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure row after row until all are done or the time is up, print, and write what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--rows", nargs="+", choices=tuple(ROWS), default=tuple(ROWS), help="gradients to time"
    )
    parser.add_argument("--seconds", type=float, default=420.0, help="no row is begun after so many")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    parser.add_argument("--device", default="cuda", help="as torch names it")
    chosen = parser.parse_args(arguments)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        print("gpu.py: error: torch finds no GPU here: benchmarks/meta_step.py measures on the processor")
        return 1
    report, console = Report("python benchmarks/gpu.py", _machine(chosen.device)), Console()
    report.parts["steps"] = steps_part(_measured(chosen, console), _ROUNDS)
    report.parts["steps"].print(console)
    if chosen.json:
        chosen.json.write_text(json.dumps(report.to_json(), indent=2) + "\n", encoding="utf-8")
    return 0


def _measured(chosen: argparse.Namespace, console: Console) -> list[Measured]:
    began = time.monotonic()
    measured: list[Measured] = []
    for name in chosen.rows:
        row = ROWS[name]
        for queries in (row.queries,) if row.queries else _QUERIES[name]:
            if time.monotonic() - began > chosen.seconds:
                console.print(f"{name}: not begun, {chosen.seconds:.0f} s are over")
                continue
            measured += compare(row, _TASKS, queries, _ROUNDS, chosen.device)
    return measured


def _machine(device: str) -> dict[str, str]:
    name = torch.cuda.get_device_name() if device.startswith("cuda") else device
    return machine() | {"device": name}


if __name__ == "__main__":
    sys.exit(main())
