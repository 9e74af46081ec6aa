"""The weights of the examples of one minibatch, each its own φ: learning to reweight.

Ren, Zeng, Yang, Urtasun, ICML 2018, arXiv 1803.09050.
"""

from torch import Tensor

__all__ = ["batch_weights"]


def batch_weights(descent: Tensor) -> Tensor:
    """What each example counts: in proportion to how much a step along its gradient lowers the clean loss.

    A negative one counts as 0, and the weights are scaled to a sum of 1, so that a common factor of all (the
    learning rate) changes nothing. Where no example helps, all are 0: such a minibatch is to be left out.

    Args:
        descent: of each example ``[n]``, minus the derivative of the clean loss in its weight at 0.

    >>> import torch
    >>> batch_weights(torch.tensor([2.0, 2.0, -4.0, 12.0]))
    tensor([0.1250, 0.1250, 0.0000, 0.7500])
    >>> batch_weights(torch.tensor([-1.0, 0.0]))
    tensor([0., 0.])
    """
    helping = descent.detach().clamp(min=0)
    total = helping.sum()
    return helping / (total + (total == 0))
