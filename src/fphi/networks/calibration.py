"""Statistics that norm layers store: those of given batches."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from fphi.networks.batch_norm import BatchNorm, Records

__all__ = ["calibrate", "lacks_statistics"]

T = TypeVar("T")


@torch.no_grad()
def calibrate(network: nn.Module, batches: Iterable[T], call: Callable[[T], object] | None = None) -> None:
    """Set the running statistics of all layers that store them to their mean over batches.

    Computed anew from given batches, not by a moving average during training: the result does not
    depend on chunks, threads, ranks or the order of anything that happened before.

    Args:
        network: a module that holds the layers; it is in training mode meanwhile.
        batches: what the statistics are taken of: inputs ``[n, *input]``, or what ``call`` takes.
        call: passes a batch through the layers; by default ``network`` itself.
    """
    layers = _to_calibrate(network)
    if not layers:
        return
    was_training = {module: module.training for module in network.modules()}
    network.train()
    for layer in layers:
        layer.collects, layer.records = True, Records()
    try:
        for batch in batches:
            (call or network)(batch)
        for layer in layers:
            if layer.records:  # where a batch went through it
                _set_running(layer)
    finally:
        for layer in layers:
            layer.collects, layer.records = False, Records()
        for module, training in was_training.items():
            module.training = training


def lacks_statistics(network: nn.Module) -> bool:
    """Whether it has a layer that stores statistics, and `calibrate` never was called to take them."""
    return any(not layer.has_statistics for layer in _to_calibrate(network))


def _to_calibrate(network: nn.Module) -> list[BatchNorm]:
    layers = [m for m in network.modules() if isinstance(m, BatchNorm)]
    return [layer for layer in layers if layer.is_running and not layer.keeps_statistics]


def _set_running(layer: BatchNorm) -> None:
    if not layer.is_per_step:
        _set_row(layer, slice(None), layer.records)
        return
    last = len(layer.running_mean) - 1
    of_row: list[tuple[int, Tensor, Tensor]] = []
    for row in range(last + 1):
        own = [record for record in layer.records if min(record[0], last) == row]
        of_row = own or of_row  # a step that no batch took has the statistics of the one before
        if of_row:
            _set_row(layer, row, of_row)


def _set_row(layer: BatchNorm, row: int | slice, records: list[tuple[int, Tensor, Tensor]]) -> None:
    _, *moments = zip(*records, strict=True)
    means, variances = (torch.stack(each) for each in moments)
    mean = means.mean(0)
    layer.running_mean[row].copy_(mean)
    # The variance of all batches together: the mean of theirs, plus that of their means.
    layer.running_var[row].copy_(variances.mean(0) + (means - mean).square().mean(0))
