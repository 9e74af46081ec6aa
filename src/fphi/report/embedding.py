"""A picture of an embedding: examples of classes that training never saw, in the plane."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.report.plots import new_figure, to_png

__all__ = ["draw_embedding", "principal_components"]

_PIXELS = 0.9  # zoom of a character's 28 pixels


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


def draw_embedding(points: Tensor, images: Tensor, labels: Tensor, share: Sequence[float]) -> bytes:
    """The examples themselves at their places in the plane, coloured by class, 1024 x 960 pixels.

    Args:
        points: ``[n, 2]``.
        images: ``[n, 1 or 3, h, w]`` in 0..1.
        labels: ``[n]``.
        share: fraction of the variance along either axis.
    """
    from matplotlib import colormaps
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    figure = new_figure(6.4, 6.0)
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    colours = colormaps["tab10" if int(labels.max()) < 10 else "tab20"]
    for place, image, label in zip(points.tolist(), images, labels.tolist(), strict=True):
        drawn = torch.ones(*image.shape[1:], 4)
        drawn[..., :3] = torch.tensor(colours(label % colours.N)[:3])
        ink = image.mean(0)
        drawn[..., 3] = 1 - ink if ink.mean() > 0.5 else ink  # what there is more of is paper: transparent
        box = OffsetImage(drawn.numpy(), zoom=_PIXELS)
        axes.add_artist(AnnotationBbox(box, tuple(place), frameon=False, pad=0))
    axes.update_datalim(points.numpy())
    axes.margins(0.08)
    axes.autoscale_view()
    axes.set_xlabel(f"first component ({share[0]:.0%} of the variance)")
    axes.set_ylabel(f"second component ({share[1]:.0%})")
    axes.set_xticks([])
    axes.set_yticks([])
    return to_png(figure)
