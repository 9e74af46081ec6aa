"""SNAIL: temporal convolutions gather what is near, causal attention picks what is needed from all of it."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.ranges import checked

__all__ = ["CausalAttention", "DenseBlock", "SNAILCore", "TemporalConvolution"]

# Every block takes the past [B, T, c] and Q alternative last items [B, Q, c], each at position T after
# the past alone, and gives both with its own output after what it took.


class DenseBlock(nn.Module):
    """A causal convolution of two items, ``dilation`` apart, with a gate: tanh(f)·σ(g).

    Args:
        inputs: channels taken; it gives ``inputs + filters``.
        filters: channels added.
        dilation: distance of the earlier item; before the start there are zeros.
    """

    @checked()
    def __init__(self, inputs: int, filters: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.now = nn.Linear(inputs, 2 * filters)
        self.earlier = nn.Linear(inputs, 2 * filters, bias=False)

    def forward(self, past: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        length = past.shape[1]
        # Row t: what position t sees of t - dilation. Padded behind the product, not before it, so that
        # no shifted copy of the widening input is kept for the backward pass.
        earlier = F.pad(self.earlier(past), (0, 0, self.dilation, 0))
        added = _gated(self.now(past) + earlier[:, :length])
        added_last = _gated(self.now(last) + earlier[:, length : length + 1])
        return torch.cat([past, added], 2), torch.cat([last, added_last], 2)


def _gated(x: Tensor) -> Tensor:
    value, gate = x.chunk(2, 2)
    return value.tanh() * gate.sigmoid()


class TemporalConvolution(nn.Module):
    """`DenseBlock`s of dilation 1, 2, 4, …: the last item of ``length`` sees every earlier one.

    Args:
        inputs: channels taken; it gives ``outputs``, which is ``inputs + ⌈log2 length⌉ * filters``.
        length: longest sequence, the last item included.
        filters: channels that each block adds.

    >>> [block.dilation for block in TemporalConvolution(3, length=6, filters=2).blocks]
    [1, 2, 4]
    """

    @checked()
    def __init__(self, inputs: int, length: int, filters: int) -> None:
        super().__init__()
        count = (length - 1).bit_length()  # ⌈log2 length⌉, without the rounding of a logarithm
        self.blocks = nn.ModuleList(DenseBlock(inputs + i * filters, filters, 2**i) for i in range(count))
        self.outputs = inputs + count * filters

    def forward(self, past: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        for block in self.blocks:
            past, last = block(past, last)
        return past, last


class CausalAttention(nn.Module):
    """One head of attention, from each item to itself and the earlier ones; scores divided by √d_k.

    Keys begin with the projection of the queries, so that items which are alike read each other from the
    first step on. The paper does not say how it begins; two projections at random have nothing in common,
    and take long to find it.

    Args:
        inputs: channels taken; it gives ``inputs + d_v``.
        d_k: size of keys and queries.
        d_v: size of values, the channels added.
    """

    @checked()
    def __init__(self, inputs: int, d_k: int, d_v: int) -> None:
        super().__init__()
        self.sizes = [d_k, d_k, d_v]
        self.project = nn.Linear(inputs, sum(self.sizes))
        with torch.no_grad():
            self.project.weight[d_k : 2 * d_k] = self.project.weight[:d_k]
            self.project.bias[: 2 * d_k] = 0

    def forward(self, past: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        query, key, value = self.project(past).split(self.sizes, 2)
        read = _causal_read(query, key, value)
        read_last = _read_from_end(self.project(last).split(self.sizes, 2), key, value)
        return torch.cat([past, read], 2), torch.cat([last, read_last], 2)


def _causal_read(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """What each item of the past reads, ``[B, T, d_v]``."""
    d_k, d_v = key.shape[2], value.shape[2]
    # On a CPU only equal sizes, in four dimensions, get the version that never holds all T×T scores.
    # Zeros at the end change no score and no value read.
    query, key, value = (F.pad(t, (0, max(d_k, d_v) - t.shape[2])).unsqueeze(1) for t in (query, key, value))
    read: Tensor = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=1 / math.sqrt(d_k))
    return read.squeeze(1)[..., :d_v]


def _read_from_end(own: tuple[Tensor, ...], key: Tensor, value: Tensor) -> Tensor:
    """What the last items read, each from the past and itself, ``[B, Q, d_v]``."""
    query, own_key, own_value = own
    own_score = (query * own_key).sum(2, keepdim=True)
    scores = torch.cat([query @ key.mT, own_score], 2) / math.sqrt(key.shape[2])
    weights = scores.softmax(2)
    return weights[..., :-1] @ value + weights[..., -1:] * own_value


class SNAILCore(nn.Module):
    """Attention and temporal convolution in turn (Mishra, Rohaninejad, Chen, Abbeel 2018, arXiv 1707.03141).

    Attn(64, 32), TC(T, 128), Attn(256, 128), TC(T, 128), Attn(512, 256), linear: the paper's for Omniglot.

    Args:
        inputs: size of an item.
        ways: answers.
        length: T, the longest sequence, the query included: ``ways * shots + 1``.

    >>> SNAILCore(64 + 5, ways=5, length=6).channels
    [69, 101, 485, 613, 997, 1253]
    """

    @checked()
    def __init__(self, inputs: int, ways: int, *, length: int) -> None:
        super().__init__()
        self.length = length
        self.channels = [inputs]
        self.blocks = nn.ModuleList()
        for d_k, d_v, convolves in ((64, 32, True), (256, 128, True), (512, 256, False)):
            self.blocks.append(CausalAttention(self.channels[-1], d_k, d_v))
            self.channels.append(self.channels[-1] + d_v)
            if convolves:
                convolution = TemporalConvolution(self.channels[-1], length, 128)
                self.blocks.append(convolution)
                self.channels.append(convolution.outputs)
        self.head = nn.Linear(self.channels[-1], ways)

    def forward(self, past: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Answers to ``past: [B, T-1, inputs]`` and to each of ``last: [B, Q, inputs]`` after it.

        Raises:
            FphiError: the sequence is longer than the convolutions reach.
        """
        length = past.shape[1] + 1
        if length > self.length:
            raise FphiError(
                f"a sequence of {length} examples for a SNAIL that was built for {self.length} (ways * shots "
                "+ 1): give fewer shots or ways, or train one for these"
            )
        for block in self.blocks:
            past, last = block(past, last)
        return self.head(past), self.head(last)
