"""Batch normalisation whose source of statistics is named, and whose calls change no state."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from fphi.ranges import checked

__all__ = [
    "Affine",
    "BatchNorm",
    "Mode",
    "Pass",
    "Records",
    "StepFree",
    "network_pass",
    "norm_modes",
    "per_step_parameters",
    "set_steps",
    "trial_pass",
]

Mode = Literal["query-batch", "support", "support+1", "running", "per-step", "per-step-running"]
StepFree = Literal["query-batch", "support", "support+1", "running"]  # of a network that is not adapted
Affine = Literal["scale+shift", "shift", "none"]


class Pass(NamedTuple):
    """What a norm layer must know of the pass of a network that it takes part in.

    Args:
        support_rows: how many of the leading rows are the support set; None: all.
        step: number of the inner step, from 0.
        adapting: whether it is that of a support set in an inner step.
        trial: whether the pass only finds something out about the network, and nothing is collected of it.
    """

    support_rows: int | None = None
    step: int = 0
    adapting: bool = False
    trial: bool = False


# Of this thread alone: others may call the same network.
_PLAIN = Pass()
_PASS: ContextVar[Pass] = ContextVar("pass", default=_PLAIN)


@contextmanager
def network_pass(support_rows: int | None = None, step: int = 0, adapting: bool = False) -> Iterator[None]:
    """Tell the norm layers of a network called within which leading rows are the support set, and the step.

    Args:
        support_rows: see `Pass`.
        step: see `Pass`.
        adapting: see `Pass`.
    """
    token = _PASS.set(Pass(support_rows, step, adapting))
    try:
        yield
    finally:
        _PASS.reset(token)


@contextmanager
def trial_pass() -> Iterator[None]:
    """Within it a pass is what it would be outside, but a trial."""
    token = _PASS.set(_PASS.get()._replace(trial=True))
    try:
        yield
    finally:
        _PASS.reset(token)


class _Moments(torch.autograd.Function):
    """Mean and variance ``[channels]`` of ``x: [n, channels, ...]``, with a derivative in one pass over x.

    ``torch.var_mean`` takes several times as long on a CPU, and so does the backward pass that torch derives.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x.mean(_positions(x))
        deviation = x - _spread(mean, x)
        # In place: fresh memory costs more than all the arithmetic here.
        return mean, deviation.mul_(deviation).mean(_positions(x))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(inputs[0], output[0])
        ctx.save_for_forward(inputs[0], output[0])

    @staticmethod
    def backward(ctx: Any, to_mean: Tensor, to_var: Tensor) -> Tensor:
        x, mean = ctx.saved_tensors
        count = x.numel() // x.shape[1]
        slope = to_var * (2 / count)
        return torch.addcmul(_spread(to_mean / count - slope * mean, x), x, _spread(slope, x))

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> tuple[Tensor, Tensor]:
        x, mean = ctx.saved_tensors
        deviation = x - _spread(mean, x)
        return tangent.mean(_positions(x)), 2 * (deviation * tangent).mean(_positions(x))


class Records(list[tuple[int, Tensor, Tensor]]):
    """The inner step and the moments of each pass, while a layer ``collects``; its copies share them."""

    def __deepcopy__(self, memo: object) -> "Records":
        return self


def _positions(x: Tensor) -> list[int]:
    return [d for d in range(x.dim()) if d != 1]


def _spread(of_channels: Tensor, x: Tensor) -> Tensor:
    return of_channels.view((-1,) + (1,) * (x.dim() - 2))


class BatchNorm(nn.Module):
    """Normalise each channel of ``x: [n, channels, ...]``; the mode says with whose statistics.

    ====================  ======================================================================
    ``query-batch``       the batch at hand: transductive on a query set (MAML, Relation networks)
    ``support``           the support set alone; queries are normalised with its statistics
    ``support+1``         the support set and one query at a time (Reptile, inductive)
    ``running``           the batch in training; in ``eval()`` the statistics that `calibrate` stored
    ``per-step``          as ``query-batch``, with its own scale and shift for each inner step (MAML++):
                          a `GradientLearner` gives as many as it takes steps, by `set_steps`
    ``per-step-running``  as ``per-step``; but in ``eval()`` queries have the statistics that `calibrate`
                          stored for their inner step, and inner steps those of the support set
    ====================  ======================================================================

    Written from `_Moments` and one multiply-add, not with ``F.batch_norm``: every derivative of it is
    right under ``torch.func.vmap``. No call moves a buffer: `calibrate` is the one place that does.

    A layer with ``keeps_statistics`` uses what is stored in training too, and `calibrate` leaves it as it is:
    that of a network which is trained no more.

    Args:
        channels: number of channels.
        mode: see above.
        affine: which of scale γ and shift β are parameters.
        eps: added to the variance.
    """

    running_mean: Tensor
    running_var: Tensor

    @checked()
    def __init__(
        self,
        channels: int,
        mode: Mode = "query-batch",
        affine: Affine = "scale+shift",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.mode, self.eps = mode, eps
        self.records = Records()
        self.collects = self.keeps_statistics = False
        shape = (1, channels) if self.is_per_step else (channels,)
        self.weight = nn.Parameter(torch.ones(shape)) if affine == "scale+shift" else None
        self.bias = nn.Parameter(torch.zeros(shape)) if affine != "none" else None
        if self.is_running:
            self.register_buffer("running_mean", torch.zeros(shape))
            self.register_buffer("running_var", torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = self.coefficients(*self.moments(x))
        return torch.addcmul(_spread(shift, x), x, _spread(scale, x))

    @property
    def is_running(self) -> bool:
        """Whether it has stored statistics."""
        return self.mode in ("running", "per-step-running")

    @property
    def has_statistics(self) -> bool:
        """Whether `calibrate` stored any: at first they are a mean of 0 and a variance of 1."""
        return self.is_running and bool(self.running_mean.any() or (self.running_var != 1).any())

    @property
    def is_per_step(self) -> bool:
        """Whether what it has is there once for each inner step."""
        return self.mode in ("per-step", "per-step-running")

    @property
    def uses_batch(self) -> bool:
        """Whether the statistics come from the rows at hand and not from buffers."""
        return not self.is_running or (self.training and not self.keeps_statistics) or self._adapts

    @property
    def records_pass(self) -> bool:
        """Whether the moments of the pass at hand are what `calibrate` wants."""
        return self.collects and not _PASS.get().trial and not self._adapts

    def record(self, mean: Tensor, var: Tensor, offset: Tensor | None = None) -> None:
        """Keep the moments ``[channels]`` of this pass, with its step, where `calibrate` wants them."""
        if self.records_pass:
            whole = mean if offset is None else mean + offset
            self.records.append((_PASS.get().step, whole.detach(), var.detach()))

    @property
    def _adapts(self) -> bool:
        return self.is_per_step and _PASS.get().adapting

    def stored(self) -> tuple[Tensor, Tensor]:
        """Mean and variance ``[channels]`` that `calibrate` stored, those of the step at hand."""
        return self.of_step(self.running_mean), self.of_step(self.running_var)

    def rows(self, x: Tensor) -> Tensor:
        """The rows of ``x`` that the statistics are taken from."""
        return x[: _PASS.get().support_rows] if self.mode == "support" else x

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance ``[channels]`` to normalise ``x`` with."""
        if not self.uses_batch:
            return self.stored()
        rows = self.rows(x)
        wide = rows.to(torch.promote_types(rows.dtype, torch.float32))  # bfloat16 has three figures
        mean, var = _Moments.apply(wide)  # type: ignore[no-untyped-call]
        return mean.to(x.dtype), var.to(x.dtype)

    def coefficients(self, mean: Tensor, var: Tensor, offset: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``(scale, shift)``, each ``[channels]``: the layer is ``scale * x + shift``.

        ``offset`` is what ``mean`` lacks of the mean to record when statistics are collected.
        """
        self.record(mean, var, offset)
        scale = (var + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.of_step(self.weight)
        shift = -mean * scale
        return scale, shift if self.bias is None else shift + self.of_step(self.bias)

    def affine(self, channels: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift ``[channels]`` of the step at hand, 1 and 0 where they are no parameters."""
        scale = like.new_ones(channels) if self.weight is None else self.of_step(self.weight)
        return scale, like.new_zeros(channels) if self.bias is None else self.of_step(self.bias)

    def of_step(self, parameter: Tensor) -> Tensor:
        """A parameter's entry for the inner step at hand, where there is one for each."""
        if not self.is_per_step:
            return parameter
        # More steps at test than in training: the last entry serves for the rest.
        return parameter[min(_PASS.get().step, len(parameter) - 1)]

    @torch.no_grad()
    def set_steps(self, steps: int) -> None:
        """Give ``steps`` inner steps, and the pass after the last, a scale and shift each, and statistics.

        Those that are there already stay as they are, however many, and the others begin as the last of them.
        Only in modes that are ``per-step`` is there anything to do.
        """
        if not self.is_per_step:
            return
        for tensor in (*self.parameters(), *self.buffers()):
            if len(tensor) <= steps:
                _lengthen(tensor, steps + 1)

    def extra_repr(self) -> str:
        return f"mode={self.mode!r}, eps={self.eps}"


def _lengthen(tensor: Tensor, rows: int) -> None:
    """Give a tensor so many rows, by its last; it is the same as before, since an optimizer may hold it."""
    longer = torch.cat([tensor, tensor[-1:].expand(rows - len(tensor), -1)])
    # Of another type for a moment: by that alone torch forgets the shape that gradients were to have.
    tensor.data = longer.to(torch.float32 if tensor.dtype == torch.float64 else torch.float64)
    tensor.data, tensor.grad = longer, None


def norm_modes(network: nn.Module) -> set[str]:
    """The modes of a network's layers."""
    return {m.mode for m in network.modules() if isinstance(m, BatchNorm)}


def set_steps(network: nn.Module, steps: int) -> None:
    """Tell every layer of a network how many inner steps there are: see `BatchNorm.set_steps`."""
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.set_steps(steps)


def per_step_parameters(network: nn.Module) -> set[str]:
    """The names of the scales and shifts of each step."""
    layers = [(name, m) for name, m in network.named_modules() if isinstance(m, BatchNorm) and m.is_per_step]
    return {f"{name}.{own}".removeprefix(".") for name, m in layers for own, _ in m.named_parameters()}
