"""The networks, rates and schedules that methods name in their options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.base import LearningAlgorithm
from fphi.methods.base import FewShotMethod, NetworkBuilder, Setting
from fphi.networks import MLP, Conv4, KochNet
from fphi.networks.batch_norm import Mode
from fphi.optimize.gradient import GradientDescent, Schedule, constant, cosine, linear_to_zero
from fphi.within.uncompiled import uncompiled

__all__ = [
    "NETWORKS",
    "Rate",
    "ScheduleName",
    "adam_descent",
    "build_network",
    "current",
    "schedule_named",
    "settled",
]

ScheduleName = Literal["constant", "cosine", "linear"]
_CONV5 = (32, 64, 128, 128, 256)  # filters of its blocks


def build_network(
    name: str, setting: Setting, norm: Mode, head: bool = True, filters: int | None = None
) -> nn.Module:
    """The network for the tasks of ``setting``; without ``head`` it gives features.

    ``filters`` are those of each layer of the networks named conv4, which have 64 where nobody says.

    The setting's own builder comes first. Examples that are vectors have one network for them, an MLP with
    two layers of 40, whatever the name.

    Raises:
        FphiError: there is no network of that name, or it does not take these examples.
    """
    outputs = setting.outputs if head else None
    if setting.network is not None:
        return setting.network(setting.input_shape, outputs, norm)
    if name not in NETWORKS:
        raise FphiError(f"--network is {name!r}; choose one of {', '.join(NETWORKS)}")
    if len(setting.input_shape) != 3 and name != "koch":
        return MLP(setting.input_shape[0], (40, 40), outputs)
    builder: Callable[..., nn.Module] = NETWORKS[name]
    if filters is not None and name.startswith("conv4"):
        builder = partial(builder, filters=filters)
    return builder(setting.input_shape, outputs, norm)


def _conv4(
    input_shape: tuple[int, ...],
    outputs: int | None,
    norm: Mode,
    *,
    downsample: Literal["pool", "stride"] = "pool",
    mean: bool = False,
    five: bool = False,
    filters: int = 64,
) -> nn.Module:
    channels, height, _ = input_shape
    return Conv4(
        outputs,
        channels=channels,
        image_size=height,
        downsample=downsample,
        filters=_CONV5 if five else filters,
        last_pool=not five,
        features="mean" if mean else "flatten",
        affine="shift" if mean else "scale+shift",
        norm=norm,
    )


def _mlp(input_shape: tuple[int, ...], outputs: int | None, norm: Mode) -> nn.Module:
    channels, height, width = input_shape
    return MLP(channels * height * width, (256, 128, 64, 64), outputs, norm)


class _Headed(nn.Module):
    """A network of features (``body``) and a linear ``head``."""

    def __init__(self, body: nn.Module, features: int, outputs: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``x: [n, *input]`` to ``[n, outputs]``."""
        logits: Tensor = self.head(self.body(x))
        return logits


def _koch(input_shape: tuple[int, ...], outputs: int | None, norm: Mode) -> nn.Module:
    if input_shape != (1, KochNet.SIZE, KochNet.SIZE):
        raise FphiError(
            f"--network koch needs grey images of {KochNet.SIZE}x{KochNet.SIZE} pixels, and these are "
            f"{' x '.join(map(str, input_shape))}: add --image-size {KochNet.SIZE}, or choose another network"
        )
    body = KochNet()
    return body if outputs is None else _Headed(body, KochNet.WIDTH, outputs)


# The networks by name. ``conv5`` is for larger images: five blocks of 32 to 256 filters, all but the last
# pooled. ``koch``, the Siamese paper's, has no batch norms, and so no use for the source of their statistics.
NETWORKS: Mapping[str, NetworkBuilder] = {
    "conv4-pool": _conv4,
    "conv4-stride": partial(_conv4, downsample="stride"),
    "conv4-stride-mean": partial(_conv4, downsample="stride", mean=True),
    "conv5": partial(_conv4, five=True),
    "mlp": _mlp,
    "koch": _koch,
}


@dataclass(frozen=True)
class Rate:
    """The usual learning rate of an inner loop, which depends on what is lost.

    Args:
        classification: where the loss is a cross-entropy.
        regression: where it is a squared error, whose gradients are far larger.
    """

    classification: float
    regression: float

    def of(self, setting: Setting) -> float:
        """That of the tasks of ``setting``."""
        return self.regression if setting.ways is None else self.classification


def current(method: FewShotMethod, name: str, setting: Setting) -> bool | int | float | str | None:
    """The value of a method's option; what it comes to in these tasks where it leaves that open."""
    value: bool | int | float | str | None = getattr(method, name)
    if value is not None and value != "auto":
        return value
    usual = getattr(type(method), f"usual_{name}", None)
    return usual.of(setting) if isinstance(usual, Rate) else method.left_open(setting).get(name, value)


def settled(method: FewShotMethod, setting: Setting) -> FewShotMethod:
    """The method with the values that its open options come to in these tasks: in others they stay as here.

    Options of the problem, which follow the tasks (see `FewShotMethod.left_open`), and those without effect
    stay open.
    """
    names = {f.name for f in fields(method)} - set(method.idle(setting))
    found = {name: current(method, name, setting) for name in names}
    return replace(method, **{name: v for name, v in found.items() if v != getattr(method, name)})


def schedule_named(name: ScheduleName) -> Schedule:
    """The schedule of the outer learning rate; the cosine ends at a hundredth."""
    return {"constant": constant, "cosine": lambda: cosine(0.01), "linear": linear_to_zero}[name]()


def adam_descent(
    learner: LearningAlgorithm, lr: float, schedule: ScheduleName, clip_value: float | None
) -> GradientDescent:
    """Adam over all that is learnable."""
    optimizer = uncompiled(torch.optim.Adam)([p for p in learner.parameters() if p.requires_grad], lr=lr)
    return GradientDescent(optimizer, schedule_named(schedule), clip_value=clip_value)
