"""Pictures of what a search for augmentation has found: images, and the course of a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fphi.learnable.augmentation import OPERATIONS, AugmentationPolicy, Schedule
from fphi.learnable.augmentation.training_images import require_images_of
from fphi.report.plots import COLOURS, INK, new_figure, style_axes, to_png
from fphi.tasks.supervised import Supervised

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_augmentation", "draw_policy", "shares"]

_IMAGES, _DRAWS = 10, 5
_DRAWN_FOR = 2000  # images that shares are counted on


def draw_augmentation(augmentation: AugmentationPolicy | Schedule, data: Supervised) -> bytes:
    """Training images above what is drawn for them; for a schedule its course below, as PNG.

    Of a schedule the images are those of its last epoch.

    Args:
        augmentation: what was found.
        data: whose first training images are shown.
    """
    mean, deviation = require_images_of(data)
    images = ((data.train.x[:_IMAGES] * deviation + mean) / 255).clamp(0, 1)
    if isinstance(augmentation, Schedule):
        return _drawn(augmentation.policy(augmentation.epochs - 1), images, augmentation)
    return _drawn(augmentation, images)


def draw_policy(policy: AugmentationPolicy, images: Tensor) -> bytes:
    """Images ``[n, C, H, W]`` in 0 … 1 above what is drawn for them, as PNG."""
    return _drawn(policy, images)


def _drawn(policy: AugmentationPolicy, images: Tensor, schedule: Schedule | None = None) -> bytes:
    figure = new_figure(6.4, 4.2 if schedule is None else 7.4)
    figure.set_layout_engine("constrained")
    above, *below = figure.subplots(1 + (schedule is not None), 1, squeeze=False).flat
    above.imshow(_sheet(policy, images), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    above.set_title("first row: training images; below: as they are trained on", color=INK, fontsize=8)
    above.set_axis_off()
    if schedule is not None:
        _draw_course(below[0], schedule)
    return to_png(figure)


def _draw_course(axes: Axes, schedule: Schedule) -> None:
    """How often each operation is applied, over the epochs, one on top of the other."""
    courses = np.stack([shares(policy) for _, policy in schedule.segments], 1)
    course = np.repeat(courses, [epochs for epochs, _ in schedule.segments], 1)
    order = [i for i in np.argsort(-course.sum(1)) if course[i].any()]
    if order:
        colours = [COLOURS[i % len(COLOURS)] for i in range(len(order))]
        names = [tuple(OPERATIONS)[i] for i in order]
        epochs = np.arange(course.shape[1])
        axes.stackplot(epochs, course[order], labels=names, colors=colours, step="post", alpha=0.8)
        axes.legend(frameon=False, fontsize=6, ncols=2, loc="upper left", labelcolor=INK)
    style_axes(axes, "operations applied to an image", "epochs")


def shares(policy: AugmentationPolicy) -> NDArray[np.float64]:
    """How often each operation is applied to an image, in the order of `OPERATIONS`."""
    generator = torch.Generator().manual_seed(0)
    plan = policy.plan(policy.draw(_DRAWN_FOR, generator))
    counts = torch.bincount(plan.operations[plan.operations >= 0], minlength=len(OPERATIONS))
    return counts.double().numpy() / _DRAWN_FOR


def _sheet(policy: AugmentationPolicy, images: Tensor) -> NDArray[np.float32]:
    """``[H, W]`` or ``[H, W, 3]``."""
    generator = torch.Generator().manual_seed(0)
    drawn = [policy(images, policy.draw(len(images), generator)) for _ in range(_DRAWS)]
    rows = [torch.nn.functional.pad(row, (1, 1, 1, 1), value=1.0) for row in (images, *drawn)]
    sheet = torch.cat([torch.cat(list(row), 2) for row in rows], 1).permute(1, 2, 0).numpy()
    found: NDArray[np.float32] = sheet[..., 0] if sheet.shape[2] == 1 else sheet
    return found
