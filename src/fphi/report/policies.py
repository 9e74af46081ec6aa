"""Pictures of what a search for augmentation has found: images, and the course of a schedule."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fphi.learnable.augmentation import OPERATIONS, AugmentationPolicy, Schedule, augmenting
from fphi.learnable.augmentation.training_images import require_images_of
from fphi.report.plots import COLOURS, INK, new_figure, style_axes, to_png
from fphi.tasks.supervised import Supervised

__all__ = ["draw_augmentation", "shares"]

_IMAGES, _DRAWS = 10, 5
_DRAWN_FOR = 2000  # images that shares are counted on


def draw_augmentation(augmentation: AugmentationPolicy | Schedule, data: Supervised) -> bytes:
    """Training images above what is drawn for them; for a schedule its course below, as PNG.

    Of a schedule the images are those of its last epoch.

    Args:
        augmentation: what was found.
        data: whose first training images are shown.
    """
    schedule = augmentation if isinstance(augmentation, Schedule) else None
    figure = new_figure(6.4, 4.2 if schedule is None else 7.4)
    figure.set_layout_engine("constrained")
    above, *below = figure.subplots(1 + (schedule is not None), 1, squeeze=False).flat
    above.imshow(_sheet(augmentation, data), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    above.set_title("first row: training images; below: as they are trained on", color=INK, fontsize=8)
    above.set_axis_off()
    if schedule is not None:
        courses = np.stack([shares(policy) for _, policy in schedule.segments], 1)
        ends = np.cumsum([epochs for epochs, _ in schedule.segments])
        course = np.repeat(courses, np.diff([0, *ends]), 1)
        order = [i for i in np.argsort(-course.sum(1)) if course[i].any()]
        colours = [COLOURS[i % len(COLOURS)] for i in range(len(order))]
        names = [tuple(OPERATIONS)[i] for i in order]
        if order:
            epochs = np.arange(course.shape[1])
            below[0].stackplot(epochs, course[order], labels=names, colors=colours, step="post", alpha=0.8)
            below[0].legend(frameon=False, fontsize=6, ncols=2, loc="upper left", labelcolor=INK)
        style_axes(below[0], "operations applied to an image", "epochs")
    return to_png(figure)


def shares(policy: AugmentationPolicy) -> NDArray[np.float64]:
    """How often each operation is applied to an image, in the order of `OPERATIONS`."""
    generator = torch.Generator().manual_seed(0)
    plan = policy.plan(policy.draw(_DRAWN_FOR, generator))
    counts = torch.bincount(plan.operations[plan.operations >= 0], minlength=len(OPERATIONS))
    return counts.double().numpy() / _DRAWN_FOR


def _sheet(augmentation: AugmentationPolicy | Schedule, data: Supervised) -> NDArray[np.float32]:
    """``[H, W]`` or ``[H, W, 3]``."""
    mean, deviation = require_images_of(data)
    x = data.train.x[:_IMAGES]
    generator = torch.Generator().manual_seed(0)
    augment = augmenting(augmentation, data)
    epoch = augmentation.epochs - 1 if isinstance(augmentation, Schedule) else 0
    rows = [x, *(augment(x, epoch, generator) for _ in range(_DRAWS))]
    bordered = [
        torch.nn.functional.pad((row * deviation + mean) / 255, (1, 1, 1, 1), value=1.0) for row in rows
    ]
    lines = [torch.cat(list(row), 2) for row in bordered]
    sheet = torch.cat(lines, 1).clamp(0, 1).permute(1, 2, 0).numpy()
    found: NDArray[np.float32] = sheet[..., 0] if sheet.shape[2] == 1 else sheet
    return found
