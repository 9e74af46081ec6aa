"""A learner as an ONNX model: support set and queries in, answers out, of any ways, shots and queries."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import fphi
from fphi.errors import FphiError
from fphi.experiment.loading import WITHOUT_TASKS, load_learner, noted_setting, trained_run
from fphi.export.exportable import Exportable
from fphi.export.families import exportable
from fphi.learnable import LearningAlgorithm, RelationLearner
from fphi.run.disk.files import replace_file
from fphi.tasks import Examples
from fphi.within.randomness import undisturbed

__all__ = ["export_onnx", "render_onnx"]

_OPSET = 18
_INPUTS = ("support_x", "support_y", "query_x")
_NEAR = 1e-4  # of the largest answer


@undisturbed()
def export_onnx(run: Path | str, out: Path | str, allowed: Mapping[str, str] | None = None) -> int:
    """Write what a run has learned as an ONNX model that learns a new task when it is run.

    Its inputs are ``support_x [n, *input]``, ``support_y [n]`` (int64, from 0) and ``query_x [q, *input]``,
    its output is ``logits [q, ways]`` with ``ways = max(support_y) + 1``.

    Args:
        run: the folder of a few-shot training.
        out: the file.
        allowed: what is in files of Python, by option; see `fphi.load`.

    Returns:
        The bytes of the file.

    Raises:
        FphiError: the learner cannot be written so, or the extra ``fphi[onnx]`` is not installed.
    """
    _require_extra()
    trained = trained_run(Path(run), allowed, needed=WITHOUT_TASKS)
    setting = trained.with_network(noted_setting(Path(run), trained))
    learner = load_learner(Path(run), trained, setting).eval()
    about = {"method": trained.config.name, "paper": trained.method.paper}
    model = render_onnx(learner, setting.input_shape, about, str(run))
    replace_file(Path(out), model)
    return len(model)


def render_onnx(
    learner: LearningAlgorithm,
    input_shape: tuple[int, ...],
    about: Mapping[str, str] | None = None,
    name: str = "it",
) -> bytes:
    """The ONNX model of a learner in evaluation mode, see `export_onnx`.

    Args:
        learner: is left as it is.
        input_shape: of an example.
        about: what the file says of itself besides.
        name: what messages call the learner.

    Raises:
        FphiError: see `export_onnx`.
    """
    _require_extra()
    graph = exportable(learner, input_shape, name).eval()
    example = _example(input_shape)
    with torch.no_grad():
        _require_same(learner, graph, example, name)
        program = _exported(graph, example, name)
    model = program.model_proto
    _forget(model)
    kind = "relations in 0..1" if isinstance(learner, RelationLearner) else "logits"
    for key, value in {"fphi": fphi.__version__, **(about or {}), "answers": kind}.items():
        model.metadata_props.add(key=key, value=value)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _forget(model: Any) -> None:
    """Leave out what torch's exporter notes of its work: from which lines a node came, and shapes.

    Shapes of what is in between may be wrong for other sizes than the example's, and a runtime that believes
    them takes memory of one tensor for another.
    """
    del model.graph.value_info[:]
    for node in (*model.graph.node, *(node for function in model.functions for node in function.node)):
        del node.metadata_props[:]
    columns = model.graph.output[0].type.tensor_type.shape.dim[1]
    if columns.dim_param:
        columns.dim_param = "ways"


def _require_extra() -> None:
    missing = [package for package in ("onnx", "onnxscript") if find_spec(package) is None]
    if missing:
        raise FphiError(
            f"an ONNX model needs {' and '.join(missing)}; install the extra with pip install 'fphi[onnx]'"
        )


def _example(input_shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """A task of noise, of 3 ways with 2 shots each and 4 queries."""
    draw = torch.Generator().manual_seed(0)
    support_x, query_x = (torch.rand(rows, *input_shape, generator=draw) for rows in (6, 4))
    return support_x, torch.tensor([0, 1, 2, 0, 1, 2]), query_x


def _require_same(
    learner: LearningAlgorithm, graph: Exportable, example: tuple[Tensor, Tensor, Tensor], name: str
) -> None:
    """Raise an `FphiError` if the graph answers another way: a network of one's own may mix its rows."""
    support_x, support_y, query_x = example
    right = learner.solve_alone(Examples(support_x[None], support_y[None]), query_x[None])[0]
    found = graph(*example)
    apart = float((right[:, : found.shape[1]] - found).abs().max())
    if not apart <= _NEAR * max(1.0, float(right.abs().max())):
        raise FphiError(
            f"{name} as a graph answers {apart:.2g} beside itself, and is not exported: either its network "
            "mixes the examples of a batch in a way of its own, or its inner steps make much of rounding, as "
            "Adam's do where a gradient is next to nothing"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter says of its own inside."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def _exported(graph: Exportable, example: tuple[Tensor, Tensor, Tensor], name: str) -> Any:
    examples, queries = torch.export.Dim("n"), torch.export.Dim("q")
    dynamic = {"support_x": {0: examples}, "support_y": {0: examples}, "query_x": {0: queries}}
    with _quiet():
        try:
            return torch.onnx.export(
                graph,
                example,
                dynamo=True,
                dynamic_shapes=dynamic,
                input_names=_INPUTS,
                output_names=["logits"],
                opset_version=_OPSET,
                external_data=False,
                verbose=False,
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError, NotImplementedError) as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise FphiError(f"torch's exporter refuses {name}: {reason}") from error
