"""A picture of an embedding: examples of classes that training never saw, in the plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.report.plots import INK, class_name, new_figure, to_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.offsetbox import AnnotationBbox

__all__ = ["draw_embedding", "principal_components"]

_PIXELS = 0.9  # zoom of an image of 28 pixels, and larger ones are drawn as large


def principal_components(x: Tensor, count: int = 2) -> tuple[Tensor, Tensor]:
    """The first coordinates ``[n, count]`` of ``x: [n, d]`` by principal components, and their variances.

    The variances are fractions of the whole, ``[count]``. Signs are such that each component's largest
    entry is positive: the same data give the same picture.

    >>> line = torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]])
    >>> points, share = principal_components(line, 1)
    >>> points.flatten().tolist(), share.tolist()
    ([-5.0, 0.0, 5.0], [1.0])
    """
    if min(x.shape) < count:
        raise FphiError(
            f"{count} components of {x.shape[0]} examples of width {x.shape[1]}; give more of both"
        )
    centered = x - x.mean(0)
    _, size, directions = torch.linalg.svd(centered.double(), full_matrices=False)
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    directions = directions * largest.sign()
    share = size.square() / size.square().sum().clamp_min(torch.finfo(torch.double).tiny)
    return (centered.double() @ directions[:count].T).to(x), share[:count].to(x)


def draw_embedding(
    points: Tensor, images: Tensor, labels: Tensor, share: Sequence[float], names: Sequence[str] = ()
) -> bytes:
    """The examples themselves at their places in the plane, coloured by class, 1024 x 1088 pixels.

    The ink of line drawings has the colour of the class; photographs have a frame of it.

    Args:
        points: ``[n, 2]``.
        images: ``[n, 1 or 3, h, w]``; the least value of all is black, the greatest white.
        labels: ``[n]``.
        share: fraction of the variance along either axis.
        names: of the classes 0, 1, ...; "class 0", "class 1", ... where not given.
    """
    figure = new_figure(6.4, 6.8)
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    grey = (images - images.min()) / (images.max() - images.min()).clamp_min(1e-12)
    drawings = _are_line_drawings(grey)
    for (x, y), image, label in zip(points.tolist(), grey, labels.tolist(), strict=True):
        axes.add_artist(_example(image, (x, y), _colour(label), drawings))
    axes.update_datalim(points.numpy())
    axes.margins(0.08)
    axes.autoscale_view()
    axes.set_xlabel(f"first component ({share[0]:.0%} of the variance)")
    axes.set_ylabel(f"second component ({share[1]:.0%})")
    axes.set_xticks([])
    axes.set_yticks([])
    _name_classes(figure, sorted(set(labels.tolist())), names)
    return to_png(figure)


def _are_line_drawings(images: Tensor) -> bool:
    """Whether the images have one channel, and nearly all of it is ink or paper."""
    black_or_white = (images < 0.2) | (images > 0.8)
    return images.shape[1] == 1 and float(black_or_white.float().mean()) > 0.8


def _colour(label: int) -> tuple[float, float, float]:
    from matplotlib import colormaps

    red, green, blue = colormaps["tab20"]((2 * label + label // 10) % 20)[:3]  # ten strong ones first
    return red, green, blue


def _example(
    image: Tensor, place: tuple[float, float], colour: tuple[float, float, float], drawing: bool
) -> AnnotationBbox:
    """One image, as coloured ink on nothing or in a coloured frame."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    zoom = _PIXELS * 28 / max(image.shape[1:])
    if not drawing:
        shown = OffsetImage(image.expand(3, -1, -1).permute(1, 2, 0).numpy(), zoom=zoom)
        frame = {"edgecolor": colour, "linewidth": 2.5, "boxstyle": "square,pad=0"}
        return AnnotationBbox(shown, place, pad=0, bboxprops=frame)
    ink = image.mean(0)
    drawn = torch.ones(*ink.shape, 4)
    drawn[..., :3] = torch.tensor(colour)
    drawn[..., 3] = 1 - ink if ink.mean() > 0.5 else ink  # what there is more of is paper: transparent
    return AnnotationBbox(OffsetImage(drawn.numpy(), zoom=zoom), place, frameon=False, pad=0)


def _name_classes(figure: Figure, labels: Sequence[int], names: Sequence[str]) -> None:
    """A legend below the picture."""
    from matplotlib.patches import Patch

    patches = [Patch(color=_colour(label), label=class_name(label, names, 18)) for label in labels]
    legend = figure.legend(
        handles=patches, loc="outside lower center", ncols=4, frameon=False, labelcolor=INK, fontsize=8
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name may have dollar signs
