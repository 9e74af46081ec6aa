"""When an answer is right."""

from torch import Tensor

__all__ = ["are_right"]


def are_right(outputs: Tensor, labels: Tensor, dim: int = -1) -> Tensor:
    """Whether the class with the highest output is the label; none is where that is nan or infinite.

    Args:
        outputs: one of each class. Minus infinity rules a class out.
        labels: class numbers, of the other dimensions.
        dim: that of the classes.

    >>> import torch
    >>> nan, inf = torch.nan, torch.inf
    >>> are_right(torch.tensor([[2.0, 1.0], [nan, 0.0], [0.0, -inf]]), torch.tensor([0, 0, 0])).tolist()
    [True, False, True]
    """
    answers = outputs.argmax(dim, keepdim=True)
    found = outputs.gather(dim, answers).isfinite()
    return ((answers == labels.unsqueeze(dim)) & found).squeeze(dim)
