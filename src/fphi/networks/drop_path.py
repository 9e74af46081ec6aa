"""Drop path: whole paths through a network are left out at random during training."""

from torch import Tensor, nn

from fphi.ranges import Range, checked

__all__ = ["DropPath"]


class DropPath(nn.Module):
    """Zeros in place of ``x`` for each image with a probability that grows with the training.

    ScheduledDropPath (Zoph et al., CVPR 2018, arXiv 1707.07012): the probability is ``rate`` times the
    fraction of the training that is done, which whoever trains says through `set_progress`, a method that
    it calls on every module of a network that has one. What is kept is divided by the probability of
    being kept. In evaluation nothing is dropped.

    Args:
        rate: the probability in the end, from 0 to below 1.
    """

    @checked(rate=Range(0, 1, below=True))
    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self.progress = rate, 0.0

    def set_progress(self, fraction: float) -> None:
        """Say how much of the training is done, from 0 to 1."""
        self.progress = fraction

    def forward(self, x: Tensor) -> Tensor:
        """``x: [n, ...]`` to the same shape."""
        keep = 1 - self.rate * self.progress
        if not self.training or keep == 1:
            return x
        mask = x.new_empty(x.shape[0], *(1,) * (x.dim() - 1)).bernoulli_(keep)
        return x * (mask / keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"
