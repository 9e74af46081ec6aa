"""What simple learners say of a table: kernel ridge regressions in closed form, each row without itself.

Their answers are hints to a learner that can do better: it sees how good they are on the support rows, since
each of these is answered from all others.
"""

import torch
from torch import Tensor

__all__ = ["HINTS", "hints", "precise", "ranks", "relevance", "standardised"]

HINTS = 6
"""Answers of a row: linear with little and with more ridge, of a Gaussian kernel, of two kernels of ranks,
and of normal clouds around the classes' means."""

_SHRINKAGE = 0.05  # of a variance of 1 that is added in all directions
_FAR = 5.0  # deviations beyond which a value is an outlier
_LEAST = 1e-6  # deviation of a column, as a share of its largest value, below which it is constant


def standardised(support: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Columns less their mean over the support, by their deviation in it; constant ones are 0.

    Args:
        support: ``[B, n, d]``, which alone mean and deviation are of.
        rows: ``[B, R, d]``.

    Returns:
        ``[B, R, d]``, outliers clipped at 5, and which columns are not constant ``[B, d]``.
    """
    mean = support.mean(1, keepdim=True)
    centred = support - mean
    largest = support.abs().amax(1, keepdim=True).detach()
    varies = centred.abs().amax(1, keepdim=True).detach() > _LEAST * largest
    variance = torch.where(varies, centred.square().mean(1, keepdim=True), 1.0)
    scaled = torch.where(varies, (rows - mean) * variance.rsqrt(), 0.0)
    return scaled.clamp(-_FAR, _FAR), varies[:, 0]


def ranks(support: Tensor, rows: Tensor) -> Tensor:
    """Where values ``rows: [B, R, d]`` stand among the support's ``[B, n, d]``, from -1 to 1.

    >>> ranks(torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[0.0], [1.0], [2.0], [9.0]]])).flatten().tolist()
    [-1.0, -0.5, 0.0, 1.0]
    """
    ordered = support.detach().transpose(1, 2).contiguous().sort(-1).values
    values = rows.detach().transpose(1, 2).contiguous()
    below = torch.searchsorted(ordered, values) + torch.searchsorted(ordered, values, right=True)
    return (below.to(rows.dtype) / support.shape[1] - 1).transpose(1, 2)


def precise(values: Tensor) -> Tensor:
    """In numbers of 64 bits, where the device has them, and without derivative: what an order is made of."""
    return values.detach().to(values.dtype if values.device.type == "mps" else torch.float64)


def relevance(columns: Tensor, marks: Tensor) -> Tensor:
    """The share ``[B, d]`` of the variance of columns that is between classes, less what chance makes of it.

    Args:
        columns: ``[B, n, d]``, of the support.
        marks: ``[B, n, ways]``, one-hot classes.
    """
    columns, marks = precise(columns), precise(marks)
    n, counts = columns.shape[1], marks.sum(1)
    centred = columns - columns.mean(1, keepdim=True)
    means = marks.transpose(1, 2) @ centred / counts.clamp_min(1)[..., None]
    between = (counts[..., None] * means.square()).sum(1)
    share = between / centred.square().sum(1).clamp_min(1e-12)
    chance = ((counts > 0).sum(1, keepdim=True) - 1) / max(1, n - 1)
    return (share - chance).clamp_min(0)


def hints(x: Tensor, place: Tensor, marks: Tensor, columns: Tensor, weights: Tensor) -> Tensor:
    """The shares of the classes that closed forms expect in each row, ``[B, n + Q, HINTS, ways]``.

    Args:
        x: ``[B, n + Q, d]``, standardised columns, those of the support first.
        place: alike, their ranks.
        marks: ``[B, n, ways]``, one-hot classes of the support.
        columns: ``[B]``, how many are not constant.
        weights: ``[B, d]``, how relevant they are, of sum 1.
    """
    n, d = marks.shape[1], columns.clamp_min(1).to(x.dtype)[:, None, None]
    support = x[:, :n]
    product = x @ support.transpose(1, 2)
    square = x.square().sum(2)
    apart = (square[:, :, None] + square[:, None, :n] - 2 * product).clamp_min(0)
    far = torch.cdist(place, place[:, :n], p=1)
    weighted = place * weights[:, None]
    kernels = [
        (product / d, (0.01, 1.0)),
        ((-apart / (2 * d)).exp(), (0.1,)),
        ((-3 * far / d).exp(), (0.1,)),
        ((-3 * torch.cdist(weighted, weighted[:, :n], p=1)).exp(), (0.1,)),
    ]
    share = marks.mean(1, keepdim=True)
    found = [_answers(kernel, marks - share, ridge) for kernel, ridges in kernels for ridge in ridges]
    shares = (torch.stack(found, 2) + share[:, :, None]).clamp(-1, 2)
    return torch.cat([shares, _of_clouds(x, marks)[:, :, None]], 2)


def _answers(kernel: Tensor, targets: Tensor, ridge: float) -> Tensor:
    """Kernel ridge regression ``[B, n + Q, ways]``: of a support row from all others, of a query from all.

    Without row i its answer is y_i - (A⁻¹ y)_i / (A⁻¹)_ii, where A is the kernel with its ridge.
    """
    n = targets.shape[1]
    matrix = kernel[:, :n] + ridge * torch.eye(n, dtype=kernel.dtype, device=kernel.device)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(matrix))
    dual = inverse @ targets
    left_out = targets - dual / inverse.diagonal(dim1=1, dim2=2)[..., None]
    return torch.cat([left_out, kernel[:, n:] @ dual], 1)


def _of_clouds(x: Tensor, marks: Tensor) -> Tensor:
    """Linear discriminant analysis ``[B, n + Q, ways]``: a support row from all others, a query from all.

    Without row i of class c, which has n_c rows and the mean m_c, the scatter S within classes loses
    a w wᵀ, where w = x_i - m_c and a = n_c / (n_c - 1): the squared distances to all means are rational
    functions of those with it (Sherman and Morrison).
    """
    n, counts = marks.shape[1], marks.sum(1)
    means = marks.transpose(1, 2) @ x[:, :n] / counts.clamp_min(1)[..., None]
    within = x[:, :n] - marks @ means
    ridge = _SHRINKAGE * n * torch.eye(x.shape[2], dtype=x.dtype, device=x.device)
    root = torch.linalg.cholesky(within.transpose(1, 2) @ within + ridge)
    parts = torch.cat([x, within, means], 1).transpose(1, 2)
    rows, own, centres = (
        torch.linalg.solve_triangular(root, parts, upper=False)
        .transpose(1, 2)
        .split([x.shape[1], n, means.shape[1]], 1)
    )
    squares = [part.square().sum(2) for part in (rows, own, centres)]
    apart = squares[0][..., None] + squares[2][:, None] - 2 * rows @ centres.transpose(1, 2)
    # Support rows without themselves.
    size = (marks @ counts[..., None])[..., 0]
    a = size / (size - 1).clamp_min(1)
    left = (1 - a * squares[1]).clamp_min(1e-3)
    along = (own * rows[:, :n]).sum(2, keepdim=True) - own @ centres.transpose(1, 2)
    others = apart[:, :n] + a[..., None] * along.square() / left[..., None]
    alone = torch.where(size > 1, a.square() * squares[1] / left, torch.inf)
    apart = torch.cat([torch.where(marks > 0, alone[..., None], others), apart[:, n:]], 1)
    share = torch.where(counts > 0, counts, 1e-9).log()[:, None]
    return (share - n / 2 * apart.clamp(0, 1e4)).softmax(2)
