"""The learner as a graph answers as PyTorch does: exactly in double precision, and in an ONNX runtime."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fphi
from asking import RESULTS
from cli_helpers import fphi as command
from cli_helpers import refused
from fphi.errors import FphiError
from fphi.export import export_onnx
from fphi.export.families import exportable
from fphi.export.lots import Embedding
from fphi.export.onnx import render_onnx
from fphi.learnable import (
    FullContext,
    Generator,
    GradientLearner,
    ImaginaryLearner,
    LearningAlgorithm,
    MatchingLearner,
    PrototypicalLearner,
    RelationLearner,
    SiameseLearner,
)
from fphi.networks import MLP, BatchNorm, Conv4
from fphi.networks.relation import RelationModule
from fphi.tasks import Examples
from fphi.within import sgd
from learners import LEARNERS, SIZE, WAYS, Case

WIDTH = 6
# Examples of each class, and queries.
TASKS: tuple[tuple[tuple[int, ...], int], ...] = (
    ((2, 2), 1),
    ((3, 1, 2), 4),
    ((1, 1, 1, 1, 1), 3),
    ((1, 4, 1, 2, 1, 3, 2), 2),
)
EQUAL = (((2, 2), 1), ((1, 1, 1, 1, 1), 3), ((3, 3, 3, 3, 3, 3, 3), 2))
# Of the table; those that are left out differ from one of these only in how they are trained.
GRAPH = {
    "nil", "prototypical", "prototypical-running", "prototypical-cosine", "matching", "matching-euclidean",
    "matching-context", "prototype-matching", "relation", "relation-running", "siamese", "siamese, matching",
    "siamese, sigmoids", "triplet", "imaginary", "hypernetwork", "hypernetwork without bias", "multi-task",
    "prototypical-mlp", "anil", "multi-task, head",
}  # fmt: skip
NO_GRAPH = {"maml", "imaml", "reptile", "prototypical, over turns", "leo", "snail", "multi-task, all"}


def task(counts: Sequence[int], queries: int, *shape: int) -> tuple[Tensor, Tensor, Tensor]:
    """Noise; the classes' examples are shuffled, for full context reads them in order."""
    draw = torch.Generator().manual_seed(7)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=draw)]
    x, query_x = (torch.rand(rows, *shape, generator=draw) for rows in (len(labels), queries))
    return x, labels, query_x


def unlike_new(learner: LearningAlgorithm) -> LearningAlgorithm:
    """With scales of both signs, shifts and stored statistics that are none of their first values."""
    for module in learner.modules():
        if isinstance(module, BatchNorm):
            for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
                spread = torch.rand_like(tensor)
                tensor.data.copy_(spread + 0.5 if name == "running_var" else spread - 0.3)
    return learner.eval()


@torch.no_grad()
def alone(learner: LearningAlgorithm, x: Tensor, y: Tensor, query_x: Tensor) -> Tensor:
    return learner.solve_alone(Examples(x[None], y[None]), query_x[None])[0]


@pytest.mark.parametrize("case", [c for c in LEARNERS if c.name in GRAPH], ids=lambda case: case.name)
def test_the_graph_answers_as_the_learner(case: Case) -> None:
    learner = unlike_new(case.build("auto"))
    graph = exportable(learner, (1, SIZE, SIZE))
    fixed = case.name in ("anil", "multi-task, head")  # the former has its ways
    tasks = EQUAL if case.name.startswith("relation") else TASKS
    tasks = tasks[:2] + tasks[3:]  # five ways are asked of the runtime
    for counts, queries in tasks:
        if fixed and len(counts) > WAYS:
            continue
        given = task(counts, queries, 1, SIZE, SIZE)
        # Float32 as far as its rounding allows: what is squared in between has the size of the answers.
        right = alone(learner, *given)
        with torch.no_grad():
            found = graph(*given)
        assert found.shape == right.shape
        assert float((found - right).abs().max()) <= 1e-5 * max(1.0, float(right.abs().max())), counts
    learner.double(), graph.double()
    x, y, query_x = task(*tasks[0], 1, SIZE, SIZE)
    with torch.no_grad():
        found = graph(x.double(), y, query_x.double())
    torch.testing.assert_close(found, alone(learner, x.double(), y, query_x.double()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", [c for c in LEARNERS if c.name in NO_GRAPH], ids=lambda case: case.name)
def test_of_the_others_there_is_none(case: Case) -> None:
    with pytest.raises(FphiError, match=r"run is a \w+, (whose inner steps|of which no ONNX)"):
        exportable(case.build("auto"), (1, SIZE, SIZE), "run")


def net(norm: Any = None) -> MLP:
    return MLP(16, (WIDTH,), None, norm)


def relation(norm: Any) -> RelationLearner:
    maps = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU())
    return RelationLearner(maps, RelationModule(2, 4, 4, 3, norm=norm))


# Prototypical networks are those of a run, further below; context has all of plain matching in it.
SMALL: dict[str, Callable[[], LearningAlgorithm]] = {
    "matching, context": lambda: MatchingLearner(net(), context=FullContext(WIDTH, 1)),
    "relation": lambda: relation("running"),
    "siamese": lambda: SiameseLearner(net("support+1"), WIDTH, learn_by="matching"),
    "imaginary": lambda: ImaginaryLearner(PrototypicalLearner(net()), Generator(WIDTH, 0.3), 3),
    "anil": lambda: GradientLearner(MLP(16, (WIDTH,), 7), sgd(0.3, momentum=0.5), 2, adapts="head"),
}


def session(model: bytes) -> Any:
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime, of fphi[dev]")
    return runtime.InferenceSession(model)


def asked(runs: Any, x: Tensor, y: Tensor, query_x: Tensor) -> Tensor:
    given = {"support_x": x.numpy(), "support_y": y.numpy(), "query_x": query_x.numpy()}
    return torch.from_numpy(runs.run(["logits"], given)[0])


@pytest.mark.parametrize("name", SMALL)
def test_an_onnx_runtime_answers_as_the_learner(name: str) -> None:
    pytest.importorskip("onnxscript", reason="needs onnx and onnxscript, of fphi[onnx]")
    torch.manual_seed(0)
    learner = unlike_new(SMALL[name]())
    model = render_onnx(learner, (1, 4, 4))
    assert str(Path(fphi.__file__).parent).encode() not in model  # no path of this machine
    runs = session(model)
    shapes = {value.name: value.shape for value in (*runs.get_inputs(), *runs.get_outputs())}
    images = {"support_x": ["n", 1, 4, 4], "support_y": ["n"], "query_x": ["q", 1, 4, 4]}
    assert shapes == {**images, "logits": ["q", 7 if name == "anil" else "ways"]}
    for counts, queries in EQUAL if name == "relation" else TASKS:
        given = task(counts, queries, 1, 4, 4)
        found, right = asked(runs, *given), alone(learner, *given)
        assert found.shape == right.shape
        torch.testing.assert_close(found, right, rtol=0, atol=1e-4)
        x, y, query_x = given
        # The first query's answer is the same whoever is asked beside it.
        torch.testing.assert_close(asked(runs, x, y, query_x[:1]), found[:1], rtol=0, atol=1e-5)


def test_a_foreign_norm_layer_without_statistics_has_lots_too() -> None:
    """A torch layer that was never calibrated takes the batch's in `eval()`; every query is with the support alone."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.BatchNorm1d(5), nn.Tanh())
    learner = PrototypicalLearner(network).eval()
    given = task((2, 3), 4, 1, 4, 4)
    with torch.no_grad():
        found = exportable(learner, (1, 4, 4))(*given)
    torch.testing.assert_close(found, alone(learner, *given), rtol=0, atol=1e-5)


def test_parameters_are_shared_and_the_learner_stays() -> None:
    network = Conv4(None, filters=16, image_size=16, norm="support+1")
    embedding = Embedding(network)
    assert {id(p) for p in embedding.parameters()} == {id(p) for p in network.parameters()}
    assert any(isinstance(m, BatchNorm) for m in network.modules())
    assert not any(isinstance(m, BatchNorm) for m in embedding.modules())


class Mixing(nn.Module):
    """Takes the batch's mean without a norm layer that would say so."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.flatten(1))
        return out - out.mean(0)


class Own(PrototypicalLearner):
    def compare(self, support: Examples, queries: Tensor) -> Tensor:
        return -super().compare(support, queries)


def test_what_would_answer_otherwise_is_refused() -> None:
    pytest.importorskip("onnxscript", reason="needs onnx and onnxscript, of fphi[onnx]")
    with pytest.raises(FphiError, match="beside itself, and is not exported"):
        render_onnx(PrototypicalLearner(Mixing()).eval(), (1, 4, 4))
    with pytest.raises(FphiError, match="is a Own, of which no ONNX model is made"):
        render_onnx(Own(net()).eval(), (1, 4, 4))
    per_step = MLP(16, (WIDTH,), 3, "per-step")
    with pytest.raises(FphiError, match="norms of each inner step"):
        render_onnx(GradientLearner(per_step, sgd(0.1), 1, adapts="head").eval(), (1, 4, 4))


def test_a_run_becomes_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="needs onnx, of fphi[onnx]")
    file, run = tmp_path / "learner.onnx", RESULTS / "P-PROTO/prototypical"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert command("export", run, "--onnx", file) == 0
    out, err = capsys.readouterr()
    assert (out, err) == (f"{file}: {file.stat().st_size} bytes\n", "")
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    assert {p.key: p.value for p in model.metadata_props}["method"] == "prototypical"
    learner = fphi.load(run)
    assert isinstance(learner, LearningAlgorithm)
    runs = session(file.read_bytes())
    for counts, queries in TASKS:
        given = task(counts, queries, 1, 28, 28)
        torch.testing.assert_close(asked(runs, *given), alone(learner, *given), rtol=0, atol=1e-4)


def test_a_run_that_cannot_be_exported_says_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run, file = RESULTS / "P-MAML/maml", tmp_path / "learner.onnx"
    assert "anil, which adapts the head alone, can" in refused(capsys, "export", run, "--onnx", file)
    assert "is a folder" in refused(capsys, "export", run, "--onnx", tmp_path)
    monkeypatch.setattr("fphi.export.onnx.find_spec", lambda name: None)
    with pytest.raises(
        FphiError, match=r"needs onnx and onnxscript; install the extra with pip install 'fphi\[onnx\]'"
    ):
        export_onnx(run, file)
    assert list(tmp_path.iterdir()) == []
