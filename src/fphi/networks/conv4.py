"""Conv4, the four-block convolutional network of few-shot learning, pooled and strided, and longer ones."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from fphi.errors import FphiError
from fphi.native import Block, Geometry, Norm, NormPool, conv_block, covers, observed_block
from fphi.native.library import library
from fphi.networks.batch_norm import Affine, BatchNorm, Mode
from fphi.ranges import Range, checked

__all__ = ["Conv4", "ConvBlock"]

# Up to this many input channels a convolution is faster as a product with image patches, whose
# second moments also give the batch statistics of its output without a pass over the output.
_FEW_CHANNELS = 3


class ConvBlock(nn.Module):
    """3x3 convolution, batch norm, ReLU, and 2x2 max-pool (or stride 2 in the convolution, or neither).

    Max-pooling commutes with an increasing map per channel, so the block pools first and normalises
    only the winners: a quarter of the memory traffic, in every derivative. Where a scale is negative
    the filter's sign is turned, which makes the map increasing.
    """

    @checked(padding=Range(0))
    def __init__(
        self,
        channels: int,
        filters: int,
        downsample: Literal["pool", "stride", "none"],
        norm: BatchNorm,
        padding: int = 1,
    ) -> None:
        super().__init__()
        self.pool, self.padding = downsample == "pool", padding
        self.conv = nn.Conv2d(
            channels, filters, 3, stride=2 if downsample == "stride" else 1, padding=padding
        )
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """``x: [n, channels, h, w]`` to ``[n, filters, h/2, w/2]`` (pool rounds down, stride up).

        Without padding ``h`` and ``w`` lose two pixels before that.
        """
        if not self._is_as_made():
            return self._module_by_module(x)
        told = self._for_kernels(x, self.conv.weight)
        if told is not None:
            return self._by_kernels(x, *told)
        sign = self._sign()
        weight = self.conv.weight * sign[:, None, None, None]
        few_channels = self.pool and x.shape[1] <= _FEW_CHANNELS
        found = self._from_patches(x, weight) if few_channels else self._from_convolution(x, weight)
        return self._pooled_and_normalised(*found, sign)

    def is_for_kernels(self) -> bool:
        """Whether the native kernels compute the block, given inputs of theirs."""
        return library() is not None and self._is_as_made()

    def _is_as_made(self) -> bool:
        """Whether convolution and norm are such as `__init__` makes, and are called alone."""
        conv = self.conv
        return (
            _is_plain(conv, nn.Conv2d)
            and _is_plain(self.norm, BatchNorm)
            and not _has_any_global_hook()  # type: ignore[no-untyped-call]
            and conv.kernel_size == (3, 3)
            and conv.stride in (((1, 1),) if self.pool else ((1, 1), (2, 2)))
            and conv.padding == (self.padding, self.padding)
            and conv.padding_mode == "zeros"
            and conv.dilation == (1, 1)
            and conv.groups == 1
        )

    def _module_by_module(self, x: Tensor) -> Tensor:
        z: Tensor = self.norm(self.conv(x)).relu()
        return F.max_pool2d(z, 2) if self.pool else z

    def _for_kernels(self, x: Tensor, weight: Tensor) -> tuple[Norm, Block] | None:
        """What the native kernels are told of the block on ``x``; None: they do not compute it."""
        own = len(self.norm.rows(x)) if self.norm.uses_batch else 0
        spec = NormPool(2 if self.pool else 1, own, self.norm.eps)
        block, norm = Block(Geometry(self.conv.stride[0], self.padding), spec), self._norm()
        return (norm, block) if covers(x, weight, norm, block) else None

    def _by_kernels(self, x: Tensor, norm: Norm, block: Block) -> Tensor:
        if not self.norm.records_pass:
            return conv_block(x, self.conv.weight, norm, block)
        return self._recorded(*observed_block(x, self.conv.weight, norm, block))

    def _recorded(self, y: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
        """``y``; `calibrate` is told what the kernels normalised it with."""
        if self.norm.records_pass:
            self.norm.record(mean, (rstd**-2 - self.norm.eps).clamp_min(0), self.conv.bias)
        return y

    def _norm(self) -> Norm:
        scale, shift = self.norm.affine(self.conv.out_channels, like=self.conv.weight)
        if self.norm.uses_batch:
            return Norm(scale, shift)
        mean, var = self.norm.stored()
        given = mean, (var + self.norm.eps).rsqrt()
        if self.conv.bias is not None:
            shift = shift + self.conv.bias * scale * given[1]
        return Norm(scale, shift, given)

    def _pooled_and_normalised(self, z: Tensor, mean: Tensor, var: Tensor, sign: Tensor) -> Tensor:
        """The block's output from its convolution, the moments to normalise with, and the sign applied."""
        bias = self.conv.bias
        # Moments of this batch are those of the turned filters; the stored ones are not turned.
        own = mean * sign if self.norm.uses_batch else mean
        scale, shift = self.norm.coefficients(own, var, bias)
        if not self.norm.uses_batch and bias is not None:
            shift = shift + bias * scale
        if self.pool:
            z = _winners(z, scale)
        return torch.addcmul(shift[:, None, None], z, (scale * sign)[:, None, None]).relu()

    def _sign(self) -> Tensor:
        """The sign of each channel's scale, a constant; zero counts as positive."""
        if self.norm.weight is None or not self.pool:
            return self.conv.weight.new_ones(self.conv.out_channels)
        scale = self.norm.of_step(self.norm.weight).detach()
        return torch.where(scale < 0, -1.0, 1.0).to(scale.dtype)

    # The bias of a convolution is left out: the statistics of its own output cancel it exactly,
    # gradient and all. `coefficients` adds it to what is recorded for use in place of such statistics.

    def _from_convolution(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = F.conv2d(x, weight, None, self.conv.stride, self.padding)
        return z, *self.norm.moments(z)

    def _from_patches(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The convolution as weight x patches; its moments follow from the patches' moments."""
        patches = F.unfold(x, 3, padding=self.padding)  # [n, k, h*w], k = 9 * channels
        weight = weight.flatten(1)  # [filters, k]
        # Positions before filters, as channels_last has them: pooling is several times faster so.
        z = torch.bmm(patches.mT, weight.mT.expand(x.shape[0], -1, -1))
        size = [side + 2 * self.padding - 2 for side in x.shape[2:]]
        z = z.view(z.shape[0], *size, -1).permute(0, 3, 1, 2)
        if not self.norm.uses_batch:
            return z, *self.norm.moments(z)
        seen = self.norm.rows(patches)
        center = seen.mean((0, 2))
        deviation = seen - center[:, None]
        covariance = torch.bmm(deviation, deviation.mT).sum(0) / (seen.shape[0] * seen.shape[2])
        var = ((weight @ covariance) * weight).sum(1).clamp_min(0)
        return z, weight @ center, var


def _winners(z: Tensor, scale: Tensor) -> Tensor:
    """The largest of each window; where the scale is 0 and makes all equal, the first, as torch's pooling."""
    first = z[..., : z.shape[-2] // 2 * 2 : 2, : z.shape[-1] // 2 * 2 : 2]
    return torch.where(scale[:, None, None] == 0, first, F.max_pool2d(z, 2))


def _is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether it computes what its kind does, by whatever parameters, and nothing else."""
    own = type(module)
    if "parametrizations" in module._modules:  # torch made a class of the one that it was
        own = own.__bases__[0]
    changed = "forward" in vars(module) or "_conv_forward" in vars(module)
    return own is kind and not changed and not _has_hooks(module)


def _has_hooks(module: nn.Module) -> bool:
    """Whether something is called before or after it: torch's pruning is, and its older norms of weights."""
    held = (module._forward_pre_hooks, module._forward_hooks, module._backward_hooks)
    return any(held) or bool(module._backward_pre_hooks)


class Conv4(nn.Module):
    """Four convolution blocks or more (``body``) and a linear ``head``; ``ways=None`` leaves the head out.

    ============================  ==============================================  ==========
    setting                       arguments                                       parameters
    ============================  ==============================================  ==========
    pooled (ProtoNet, 5 ways)     ``Conv4()``                                        112,261
    strided, as MAML's            ``downsample="stride", features="mean",            112,005
                                  affine="shift"``
    strided, as Reptile's         ``downsample="stride"``                            113,221
    mini (84x84 RGB)              ``filters=32, channels=3, image_size=84``           32,901
    five blocks, for 105x105      ``None, image_size=105, last_pool=False,           536,640
                                  filters=(32, 64, 128, 128, 256)``
    ============================  ==============================================  ==========

    Where a norm takes its statistics from the batch they cancel the convolution's bias, which then has no
    effect and no gradient (``grad`` stays None); stored ones, as of ``norm="running"`` in ``eval()``, do not.

    Args:
        ways: outputs of the head, or None for an embedding network.
        channels: input channels.
        image_size: height and width of the (square) images.
        filters: channels of each of four blocks, or of every block there is.
        downsample: 2x2 max-pool after, or stride 2 in, each convolution.
        last_pool: whether the last block halves its maps too.
        features: flatten what the body gives, or average it over positions.
        norm: source of the batch-norm statistics, see `BatchNorm`.
        affine: which of the batch norms' scale and shift are parameters.
    """

    @checked()
    def __init__(
        self,
        ways: int | None = 5,
        *,
        channels: int = 1,
        image_size: int = 28,
        filters: int | Sequence[int] = 64,
        downsample: Literal["pool", "stride"] = "pool",
        last_pool: bool = True,
        features: Literal["flatten", "mean"] = "flatten",
        norm: Mode = "query-batch",
        affine: Affine = "scale+shift",
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        inputs, size, widths = channels, image_size, [filters] * 4 if isinstance(filters, int) else filters
        for block, width in enumerate(widths, 1):
            halving = downsample if block < len(widths) or last_pool else "none"
            blocks.append(ConvBlock(inputs, width, halving, BatchNorm(width, norm, affine)))
            inputs = width
            size = {"pool": size // 2, "stride": (size + 1) // 2, "none": size}[halving]
        if not blocks:
            raise FphiError("filters is empty; give each block its number of filters")
        if size == 0:
            need = 2 ** (len(widths) - (not last_pool))
            raise FphiError(
                f"image_size={image_size} is too small: the poolings need at least {need} pixels, or "
                "fewer filters"
            )
        end = nn.Flatten() if features == "flatten" else nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.body = nn.Sequential(*blocks, end)
        self.feature_size = inputs * size * size if features == "flatten" else inputs
        self.head = nn.Identity() if ways is None else nn.Linear(self.feature_size, ways)

    def forward(self, x: Tensor) -> Tensor:
        """``x: [n, channels, h, w]`` to logits ``[n, ways]``, or features ``[n, feature_size]``."""
        logits: Tensor = self.head(self.body(x))
        return logits
