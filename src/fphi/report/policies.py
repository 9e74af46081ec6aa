"""Pictures of what a search for augmentation has found: images, and the course of a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fphi.learnable.augmentation import OPERATIONS, AugmentationPolicy, Policy, Schedule
from fphi.learnable.augmentation.training_images import require_images_of
from fphi.report.plots import COLOURS, INK, new_figure, style_axes, to_png
from fphi.tasks.supervised import Supervised

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["described", "draw_augmentation", "draw_policy", "shares"]

_IMAGES, _DRAWS = 10, 5
_NAMED = 5
_HATCHES = ("", "//", "..")  # of the first, second and third operations of a colour
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
    ends = np.cumsum([0, *(epochs for epochs, _ in schedule.segments)])
    order = [i for i in np.argsort(-(courses * np.diff(ends)).sum(1), kind="stable") if courses[i].any()]
    below = np.zeros(len(ends))
    for place, i in enumerate(order):
        above = below + np.append(courses[i], courses[i, -1])  # a step needs its end too
        colour, hatch = COLOURS[place % len(COLOURS)], _HATCHES[place // len(COLOURS)]
        look: dict[str, Any] = {"facecolor": colour, "hatch": hatch, "edgecolor": "white", "linewidth": 0}
        axes.fill_between(ends, below, above, step="post", label=tuple(OPERATIONS)[i], **look)
        below = above
    if order:
        axes.legend(frameon=False, fontsize=7, ncols=6, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    style_axes(axes, "operations applied to an image", "epochs")


def described(augmentation: AugmentationPolicy | Schedule) -> str:
    """It in a line: how large it is, and which operations an image meets most often.

    >>> from fphi.learnable.augmentation import published
    >>> described(published("autoaugment-svhn"))[:58]
    '25 sub-policies; an image meets Invert 0.33, ShearY 0.23, '
    """
    if isinstance(augmentation, Schedule):
        last = described(augmentation.segments[-1][1]).removeprefix("a policy; ")
        return f"{len(augmentation.segments)} policies over {augmentation.epochs} epochs; in the last {last}"
    often = shares(augmentation)
    named = [f"{tuple(OPERATIONS)[i]} {often[i]:.2f}" for i in np.argsort(-often, kind="stable")[:_NAMED]]
    met = ", ".join(name for name in named if not name.endswith(" 0.00")) or "no operation"
    kind = (
        f"{len(augmentation.sub_policies)} sub-policies" if isinstance(augmentation, Policy) else "a policy"
    )
    return f"{kind}; an image meets {met}"


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
