"""Pictures of a run: a task with its answers, and test classes in the plane."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cli_helpers import fphi, refused, save_images, trained
from fphi.errors import FphiError
from fphi.report.embedding import draw_embedding, principal_components

Capture = pytest.CaptureFixture[str]


def colours(png: bytes) -> set[tuple[int, ...]]:
    """The colours of a picture that more than 30 pixels have."""
    image = Image.open(BytesIO(png)).convert("RGB")
    found, counts = np.unique(np.asarray(image).reshape(-1, 3), axis=0, return_counts=True)
    return {tuple(colour) for colour in found[counts > 30].tolist()}


def test_a_learner_by_comparison_is_drawn_with_its_embedding(tmp_path: Path, capsys: Capture) -> None:
    run = trained(tmp_path / "run", "--train-ways", 5, method="imaginary", steps=1)
    assert fphi("draw", run, "--out", tmp_path / "new" / "pictures", "--classes", 3, "--each", 4) == 0
    shown = capsys.readouterr().out.split()
    assert [Path(path).name for path in shown] == ["episode.png", "embedding.png"]
    assert all(Path(path).read_bytes().startswith(b"\x89PNG") for path in shown)
    assert len(colours(Path(shown[1]).read_bytes()) - {(255, 255, 255), (0, 0, 0)}) >= 3


def test_a_learner_without_an_embedding_is_drawn_answering(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", steps=1)
    assert fphi("draw", run) == 0
    assert (run / "episode.png").is_file()
    assert not (run / "embedding.png").exists()


def test_what_cannot_be_drawn_is_said_in_a_line(tmp_path: Path, capsys: Capture) -> None:
    assert "no run directory" in refused(capsys, "draw", tmp_path)
    run = trained(tmp_path / "run", "--train-ways", 5, method="prototypical", steps=1)
    assert refused(capsys, "draw", run, "--classes", 1) == "--classes is 1; it must be at least 2"
    assert not (run / "episode.png").exists()


def test_no_more_is_drawn_than_there_is(tmp_path: Path) -> None:
    images = save_images(tmp_path / "images", classes=30, images=4)
    run = trained(
        tmp_path / "run",
        "--train-ways",
        5,
        "--train-queries",
        1,
        "--tasks",
        images,
        method="siamese",
        steps=1,
    )
    assert fphi("draw", run, "--classes", 5000, "--each", 5000) == 0
    assert (run / "embedding.png").is_file()


def test_principal_components_are_the_directions_of_most_variance() -> None:
    x = torch.randn(200, 5, dtype=torch.float64) @ torch.diag(
        torch.tensor([0.1, 5.0, 0.2, 2.0, 0.1]).double()
    )
    points, share = principal_components(x)
    covariance = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)
    torch.testing.assert_close(points.var(0, correction=0), covariance[:2])
    torch.testing.assert_close(share, (covariance / covariance.sum())[:2])
    turned, _ = principal_components(x @ torch.linalg.qr(torch.randn(5, 5).double())[0])
    apart = [(p[:, None] - p[None]).norm(dim=-1) for p in (turned, points)]
    torch.testing.assert_close(*apart)
    with pytest.raises(FphiError, match="2 components of 1 examples"):
        principal_components(x[:1])


@pytest.mark.parametrize("ink", [1.0, 0.0])
def test_paper_is_transparent_whichever_value_it_has(ink: float) -> None:
    images = torch.full((2, 1, 28, 28), 1 - ink)
    images[:, :, 10:18, 10:18] = ink
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    drawn = colours(draw_embedding(points, images, torch.tensor([0, 1]), [0.5, 0.5]))
    assert (31, 119, 180) in drawn
    assert (255, 127, 14) in drawn
    white = Image.open(BytesIO(draw_embedding(points, images, torch.tensor([0, 1]), [0.5, 0.5])))
    pixels = np.asarray(white.convert("L"))
    assert (pixels == 255).mean() > 0.95
