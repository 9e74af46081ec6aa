"""The page in one file answers as PyTorch does, for every learner that it takes; the others are refused."""

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asking import RESULTS
from browser import Watched, chromium
from cli_helpers import fphi, refused
from fphi.errors import FphiError
from fphi.export.html import render_html
from fphi.export.layers import Weights, layers_of
from fphi.learnable import (
    ComparisonLearner,
    FullContext,
    GradientLearner,
    MatchingLearner,
    MetricLearner,
    PrototypicalLearner,
    RelationLearner,
    SiameseLearner,
)
from fphi.networks import MLP, BatchNorm, Conv4
from fphi.networks.relation import RelationModule, relation_embedding
from fphi.serve.look import look_of
from fphi.tasks import Examples
from fphi.tasks.options import TaskOptions
from fphi.within import sgd

COUNTS = (2, 1, 3)
EVEN = (2, 2, 2)


@pytest.fixture(scope="module")
def seen() -> Iterator[Watched]:
    """A page of a browser, for one file after the other."""
    with chromium() as browser:
        context = browser.new_context()
        yield Watched(context.new_page())
        context.close()


def unlike_new(learner: ComparisonLearner) -> ComparisonLearner:
    """In evaluation mode, with scales, shifts and stored statistics that are none of their first values."""
    for module in learner.modules():
        if isinstance(module, BatchNorm):
            for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
                spread = torch.rand_like(tensor)
                tensor.data.copy_(spread + 0.5 if name in ("running_var", "weight") else spread - 0.3)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data.mul_(2)  # so that embeddings, and scores, differ
    return learner.eval()


def described(size: int, channels: int) -> dict[str, Any]:
    look = look_of(TaskOptions("some/folder"), (channels, size, size))
    limits = {"classes": 20, "examples": 100, "shots": None, "bound": False}
    return {"method": "m", "paper": "p", "tasks": "images", "look": asdict(look), "limits": limits}


def conv4(norm: Any, **settings: Any) -> nn.Module:
    return Conv4(None, **{"filters": 6, "image_size": 16, "norm": norm, **settings})


LEARNERS: dict[str, Callable[[], ComparisonLearner]] = {
    "running": lambda: PrototypicalLearner(conv4("running")),
    "query-batch": lambda: PrototypicalLearner(conv4("query-batch")),
    "support": lambda: PrototypicalLearner(conv4("support")),
    "support+1": lambda: PrototypicalLearner(conv4("support+1")),
    "cosine": lambda: PrototypicalLearner(conv4("running"), distance="cosine"),
    "stride": lambda: PrototypicalLearner(conv4("running", downsample="stride", channels=3)),
    "mean": lambda: PrototypicalLearner(
        conv4("support", downsample="stride", features="mean", affine="shift")
    ),
    "unpooled": lambda: PrototypicalLearner(
        conv4("running", filters=(4, 5, 6), last_pool=False, image_size=17)
    ),
    "mlp": lambda: PrototypicalLearner(MLP(256, (12, 9), None, "query-batch")),
    "matching": lambda: MatchingLearner(conv4("query-batch")),
    "matching euclidean": lambda: MatchingLearner(conv4("running"), distance="euclidean"),
    "metric": lambda: MetricLearner(conv4("running")),
    "siamese": lambda: SiameseLearner(conv4("support"), 6, features=7),
    "siamese matching": lambda: SiameseLearner(conv4("running"), 6, learn_by="matching"),
    "relation": lambda: RelationLearner(relation_embedding(1, 6), RelationModule(6, filters=6)),
    "relation batch": lambda: RelationLearner(
        relation_embedding(1, 6, "query-batch"), RelationModule(6, filters=6, norm="query-batch")
    ),
}


def shape_of(name: str) -> tuple[int, int]:
    """Pixels of a side, and channels."""
    return {"stride": (16, 3), "unpooled": (17, 1), "relation": (28, 1), "relation batch": (28, 1)}.get(
        name, (16, 1)
    )


def _images(count: int, channels: int, size: int) -> Tensor:
    """Blocks of grey, some darker than others."""
    coarse = torch.rand(count, channels, 4, 4) * torch.linspace(0.2, 1, count)[:, None, None, None]
    return (255 * nn.functional.interpolate(coarse, (size, size))).round().byte()


@torch.no_grad()
@pytest.mark.parametrize("name", LEARNERS)
def test_scores_and_probabilities_agree_with_torch(seen: Watched, name: str, tmp_path: Path) -> None:
    learner, (size, channels) = unlike_new(LEARNERS[name]()), shape_of(name)
    (tmp_path / "page.html").write_text(render_html(learner, described(size, channels)), encoding="utf-8")
    counts = EVEN if name.startswith("relation") else COUNTS
    images = _images(sum(counts) + 1, channels, size)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    x = images.float() / 255
    expected = learner.solve_alone(Examples(x[None, :-1], labels[None]), x[None, -1:])[0, 0]
    classes = [rows.flatten(1).tolist() for rows in torch.split(images[:-1], list(counts))]
    seen.open((tmp_path / "page.html").as_uri())
    found = seen.page.evaluate(
        """async ([classes, question]) => {
            const bytes = classes.map((images) => images.map((image) => Uint8Array.from(image)));
            const asked = Uint8Array.from(question);
            return [fphi.compare(bytes, asked).scores, (await fphi.source.answer(bytes, asked)).probabilities];
        }""",
        [classes, images[-1].flatten().tolist()],
    )
    assert seen.errors == []
    scores, probabilities = (torch.tensor(values) for values in found)
    assert torch.allclose(scores, expected, atol=1e-3, rtol=0), (scores - expected).abs().max()
    share = expected / expected.sum() if name.startswith("relation") else expected.softmax(0)
    assert torch.allclose(probabilities, share, atol=1e-3, rtol=0)
    assert float(expected.max() - expected.min()) > 5e-3  # else everything would agree


@torch.no_grad()
def test_the_trained_run_agrees_with_torch_and_its_plane_too(seen: Watched, tmp_path: Path) -> None:
    from asking import image
    from fphi.serve.answering import Learned

    run = RESULTS / "P-PROTO/prototypical"
    assert fphi("export", run, "--html", tmp_path / "page.html") == 0
    learned, classes = Learned(run), [[image(0), image(6)], [image(1)], [image(4)], [image(5)]]
    answer = learned.answer(classes, image(1))
    seen.open((tmp_path / "page.html").as_uri())
    found = seen.page.evaluate(
        "([c, q]) => fphi.source.answer(c.map((i) => i.map((v) => Uint8Array.from(v))), Uint8Array.from(q))",
        [[[list(i) for i in images] for images in classes], list(image(1))],
    )
    assert found["probabilities"] == pytest.approx(answer.probabilities, abs=1e-4)
    assert answer.plane is not None
    for what in ("support", "means", "question", "share"):
        one, other = (torch.tensor(plane[what]) for plane in (found["plane"], asdict(answer.plane)))
        assert torch.allclose(one, other, atol=1e-3), what


def test_weights_of_three_bytes_are_near_those_of_four() -> None:
    weights = Weights()
    weights.add(torch.tensor([1.0, -2.0, 0.0, 3.14159265, -1e-30, 65504.0]))
    assert weights.add(torch.randn(1000)) == (6, 1000)
    whole = torch.frombuffer(bytearray(weights.packed(4)), dtype=torch.float32)
    packed = torch.frombuffer(bytearray(weights.packed(3)), dtype=torch.uint8).view(-1, 3)
    padded = torch.cat([torch.zeros(len(packed), 1, dtype=torch.uint8), packed], 1).flatten()
    narrow = torch.frombuffer(bytearray(padded.numpy().tobytes()), dtype=torch.float32)
    assert narrow[:3].tolist() == [1.0, -2.0, 0.0]
    assert ((narrow - whole).abs() <= whole.abs() * 2.0**-16).all()


def test_the_file_is_small_and_lets_nothing_in(tmp_path: Path) -> None:
    """The relation network has room only with weights of three bytes."""
    for run, each in (("P-PROTO/prototypical", 4), ("P-PROTO/relation-1s", 3)):
        assert fphi("export", RESULTS / run, "--html", tmp_path / "page.html") == 0
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert len(page.encode()) < 1_000_000
        assert f'"bytes":{each},' in page
        policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
        assert policy
        assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
        assert "unsafe" not in policy[1]
        assert not re.search(r'(?:src|href)="(?!data:|#)', page.split("<script")[0])
        assert "://" not in page.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        ("P-MAML/maml", "is a GradientLearner, which a page cannot compute alone"),
        ("P-MAML/hypernetwork", "is a HyperLearner"),
        ("P-PROTO/imaginary", "is a ImaginaryLearner"),
        ("P-KOCH/siamese", "weights, which make a page of"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, run: str, reason: str
) -> None:
    assert reason in refused(capsys, "export", RESULTS / run, "--html", tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_other_layers_and_learners_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for layer in (
        nn.GELU(),
        nn.BatchNorm2d(3),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(1, 1, (3, 5)),
        nn.MaxPool2d(3),
    ):
        with pytest.raises(FphiError, match="a page cannot compute"):
            layers_of(nn.Sequential(layer), Weights())
    with pytest.raises(FphiError, match="norms of mode per-step"):
        layers_of(BatchNorm(3, "per-step"), Weights())
    hooked = conv4("running")
    hooked.register_forward_hook(lambda *_: None)
    with pytest.raises(FphiError, match="has hooks"):
        layers_of(hooked, Weights())

    class Own(PrototypicalLearner):
        def compare(self, support: Examples, queries: Tensor) -> Tensor:
            return -super().compare(support, queries)

    context = MatchingLearner(conv4("running"), context=FullContext(6, 2))
    for learner in (Own(conv4("running")), context, GradientLearner(Conv4(5), sgd(0.1), 1)):
        with pytest.raises(FphiError, match="page can"):
            render_html(learner, described(16, 1))
    assert "give --html FILE or --onnx FILE" in refused(capsys, "export", RESULTS / "P-PROTO/prototypical")
    assert "is a folder" in refused(capsys, "export", RESULTS / "P-PROTO/prototypical", "--html", tmp_path)
