"""``fphi evaluate RUN``: across-task testing."""

import json
from contextlib import closing, nullcontext
from pathlib import Path
from typing import get_args

from fphi.cli.arguments import add_files, files_named
from fphi.errors import FphiError
from fphi.experiment.evaluation import EvaluationOptions, evaluate_run
from fphi.experiment.parser import Parser, at_least, fields_of
from fphi.experiment.running import ExecutorOptions
from fphi.report.rows import ResultRow, methods_table
from fphi.run.meta.ranks import Accelerator, launch

__all__ = ["run"]

_SIZES = {"ways": "classes", "shots": "support examples per class", "queries": "queries per class"}


def run(arguments: list[str]) -> int:
    """Parse the command, evaluate, print a table or one JSON object."""
    o = _parser().read(arguments)
    other = {"ways": o.ways, "shots": o.shots, "queries": o.queries, "test_steps": o.test_steps}
    at_least(1, test_tasks=o.test_tasks, chunk_size=o.chunk_size, **other)
    at_least(0, steps=o.steps)
    if o.tasks is not None and o.tasks.isdigit():
        raise FphiError(f"--tasks is the data; for {o.tasks} test tasks write --test-tasks {o.tasks}")
    other |= {"adapt": o.adapt, "data_root": o.data_root, "tasks": o.tasks}
    test = EvaluationOptions(
        o.test_tasks,
        o.seed,
        o.split,
        o.steps,
        o.chunk_size,
        o.turns,
        {key: value for key, value in other.items() if value is not None},
        files_named(o),
        calibrate=o.calibrate,
    )
    where = fields_of(ExecutorOptions, o.as_dict())
    with closing(where.make()) if where != ExecutorOptions() else nullcontext() as executor:
        tested = launch(
            lambda ranks: evaluate_run(o.run, test, ranks.device, executor=executor), o.accelerator
        )
    # A full disk must not cost an hour's evaluation, nor may an output that nobody reads: one of two is left.
    try:
        if tested.of_run:
            tested.keep(o.run)
    finally:
        if o.json:
            print(json.dumps(tested.record, allow_nan=False))
        else:
            methods_table([ResultRow.from_record(tested.test_record)]).show()
    return 0


def _parser() -> Parser:
    parser = Parser("evaluate", "Test a trained run on new tasks; writes tests/NAME.json into the run.")
    parser.add_argument("run", type=Path, help="directory of the run")
    option = parser.add_option
    option("--test-tasks", int, None, "number of test tasks; if not given, 600, or all of the trials")
    option("--tasks", str, None, "other data to test on; nothing is kept then")
    for name, of in _SIZES.items():
        option(f"--{name}", int, None, f"{of}, if not the run's own")
    option("--seed", int, 0, "of the test tasks: equal seeds, equal tasks; the trials have none")
    option("--split", str, "test", "test; or trials (P-KOCH, P-LAKE); or validation, which is not kept")
    parser.add_argument(
        "--turns",
        type=int,
        choices=(1, 4, 8),
        default=1,
        help="answers are the mean over this many turns of a whole task, 8 with mirror images",
    )
    option("--test-steps", int, None, "inner steps before the answer, if not the run's own")
    option("--adapt", str, None, "of pre-trained features: centroids, head or all; the run's if not given")
    option("--steps", int, None, "inner steps that by_step goes up to; the run's if not given")
    option(
        "--chunk-size", int, None, "tasks solved at once, which bounds the memory; by their size if not given"
    )
    parser.add_argument(
        "--accelerator",
        choices=get_args(Accelerator),
        default="cpu",
        help="kind of device; auto: the best there is",
    )
    option("--data-root", str, None, "folder that data sets are looked for in; the run's if not given")
    add_files(parser, method="nil tests a gradient learner by its features; or the run's, FILE.py:NAME")
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="calibrate probabilities on development tasks, and tell queries of other classes",
    )
    parser.add_dataclass(ExecutorOptions)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser
