"""A network whose batch statistics are taken of several batches at once, as plain operations."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fphi.errors import FphiError
from fphi.learnable.modes import keep_batch_statistics
from fphi.networks.batch_norm import BatchNorm

__all__ = ["Embedding", "Lots", "PlainNorm", "plain", "uses_batch"]


@dataclass
class Lots:
    """How the rows at hand are divided; the norm layers of a network look at one such object.

    Attributes:
        count: lots, one after the other; each has statistics of its own.
        rows: of each lot; -1: all that there are in one.
        support: the leading rows of a lot that are the support set; None: all.
    """

    count: int = 1
    rows: int = -1
    support: int | None = None

    def __deepcopy__(self, memo: object) -> "Lots":
        return self


class PlainNorm(nn.Module):
    """A norm layer in evaluation mode, of which every lot of rows has its own batch statistics.

    A `ConvBlock` with another norm layer than its own computes module by module: convolution, norm, ReLU and
    pool, without the native kernels, which no exporter can follow.

    Args:
        norm: whose parameters and buffers are shared.
        lots: see there.
    """

    def __init__(self, norm: BatchNorm | _BatchNorm, lots: Lots) -> None:
        super().__init__()
        self.eps, self.lots = norm.eps, lots
        self.weight, self.bias = norm.weight, norm.bias
        self.of_support = isinstance(norm, BatchNorm) and norm.mode == "support"
        stored = None if uses_batch(norm) else _stored(norm)
        self.register_buffer("mean", None if stored is None else stored[0])
        self.register_buffer("var", None if stored is None else stored[1])

    def forward(self, x: Tensor) -> Tensor:
        """``x: [n, channels, ...]``, the rows of all lots."""
        rows = x.shape[0] if self.lots.rows == -1 else self.lots.rows
        lots = torch.unflatten(x, 0, (self.lots.count, rows))
        shape = (1, 1, -1, *[1] * (x.dim() - 2))
        mean, var = self._moments(lots, shape)
        out: Tensor = (lots - mean) * (var + self.eps).rsqrt()
        if self.weight is not None:
            out = out * self.weight.view(shape)
        if self.bias is not None:
            out = out + self.bias.view(shape)
        return out.flatten(0, 1)

    def _moments(self, lots: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Mean and variance, which go with ``lots: [lots, n, channels, ...]``."""
        if isinstance(self.mean, Tensor) and isinstance(self.var, Tensor):
            return self.mean.view(shape), self.var.view(shape)
        seen = lots[:, : self.lots.support] if self.of_support else lots
        positions = [d for d in range(lots.dim()) if d not in (0, 2)]
        mean = seen.mean(positions, keepdim=True)
        return mean, (seen - mean).square().mean(positions, keepdim=True)


def uses_batch(module: nn.Module) -> bool:
    """Whether a module is a norm layer that takes statistics of the rows at hand."""
    if isinstance(module, BatchNorm):
        return module.uses_batch
    return isinstance(module, _BatchNorm) and (module.training or module.running_mean is None)


def _stored(norm: BatchNorm | _BatchNorm) -> tuple[Tensor, Tensor]:
    if isinstance(norm, BatchNorm):
        return norm.stored()
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


def plain(module: nn.Module, lots: Lots) -> nn.Module:
    """A copy in evaluation mode with plain norms; all parameters and buffers are the module's own.

    Raises:
        FphiError: a norm layer has parameters for each inner step.
    """
    if any(isinstance(m, BatchNorm) and m.is_per_step for m in module.modules()):
        raise FphiError("the network has norms of each inner step, of which no ONNX model is made")
    shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    copied = copy.deepcopy(module, shared).eval()
    keep_batch_statistics(copied)
    if isinstance(copied, BatchNorm | _BatchNorm):
        return PlainNorm(copied, lots)
    for part in list(copied.modules()):
        for name, child in list(part.named_children()):
            if isinstance(child, BatchNorm | _BatchNorm):
                setattr(part, name, PlainNorm(child, lots))
    return copied


class Embedding(nn.Module):
    """The embeddings of a support set and of queries, each query's without any of another.

    Where a network has batch statistics the support set is embedded by itself and each query in a batch with
    it: all these batches are lots of one.

    Args:
        network: in evaluation mode, ``[n, *input]`` to ``[n, *out]``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        norms = [m for m in network.modules() if isinstance(m, BatchNorm | _BatchNorm)]
        self.alone = any(uses_batch(m) and not _is_of_support(m) for m in norms)
        self.lots = Lots()
        self.network = plain(network, self.lots)

    def forward(self, support_x: Tensor, query_x: Tensor) -> tuple[Tensor, Tensor]:
        """``[n, *out]`` and ``[q, *out]`` of ``[n, *input]`` and ``[q, *input]``."""
        rows, queries = support_x.shape[0], query_x.shape[0]
        if not self.alone:
            both = self._pass(torch.cat([support_x, query_x]), Lots(1, rows + queries, rows))
            return both[:rows], both[rows:]
        support = self._pass(support_x, Lots(1, rows))
        beside = support_x.unsqueeze(0).expand(queries, *support_x.shape)
        lots = torch.cat([beside, query_x.unsqueeze(1)], 1).flatten(0, 1)
        embedded = torch.unflatten(self._pass(lots, Lots(queries, rows + 1)), 0, (queries, rows + 1))
        return support, embedded[:, -1]

    def _pass(self, x: Tensor, lots: Lots) -> Tensor:
        self.lots.count, self.lots.rows, self.lots.support = lots.count, lots.rows, lots.support
        out: Tensor = self.network(x)
        return out


def _is_of_support(norm: nn.Module) -> bool:
    return isinstance(norm, BatchNorm) and norm.mode == "support"
