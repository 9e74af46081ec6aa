"""Linear CKA: how alike two layers represent the same examples, whatever basis and scale they do it in."""

from torch import Tensor

from fphi.errors import FphiError

__all__ = ["LEAST_DEBIASED", "linear_cka"]

LEAST_DEBIASED = 4  # examples


def linear_cka(x: Tensor, y: Tensor, *, debiased: bool = False) -> float:
    """The centred kernel alignment of two representations of the same n examples, with linear kernels.

    ‖Yᵀ X‖² / (‖Xᵀ X‖ ‖Yᵀ Y‖) in Frobenius norms, of centred features (Kornblith, Norouzi, Lee, Hinton 2019,
    arXiv 1905.00414): 1 for features that differ by a rotation, a reflection, a scale and a shift, 0 for such
    as are uncorrelated. With more features than examples it is near 1 even where nothing is alike:
    ``debiased`` puts unbiased estimates of its three parts in their place (Song et al. 2012; Nguyen, Raghu,
    Kornblith 2021, arXiv 2010.15327), which may be a little below 0 or above 1.

    Args:
        x: ``[n, *d]``.
        y: ``[n, *e]``.
        debiased: as said above; it needs 4 examples.

    Raises:
        FphiError: the numbers of examples differ, there are too few, or features do not vary.

    >>> import torch
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0]])
    >>> round(linear_cka(x, 3 * x.flip(1) + 1), 6)
    1.0
    """
    least = LEAST_DEBIASED if debiased else 2
    if len(x) != len(y) or len(x) < least:
        raise FphiError(
            f"features of {len(x)} and {len(y)} examples; give those of the same, {least} at least"
        )
    k, m = (_gram(features, debiased) for features in (x, y))
    product = _unbiased if debiased else _biased
    parts = product(k, k), product(m, m)
    if not min(parts) > 0:
        raise FphiError("features do not vary from example to example; give others, or more examples")
    return float(product(k, m) / (parts[0] * parts[1]) ** 0.5)


def _gram(features: Tensor, debiased: bool) -> Tensor:
    flat = features.detach().double().flatten(1)
    centred = flat - flat.mean(0)
    products = centred @ centred.mT
    return products.fill_diagonal_(0) if debiased else products


def _biased(k: Tensor, m: Tensor) -> float:
    return float((k * m).sum())


def _unbiased(k: Tensor, m: Tensor) -> float:
    """HSIC's unbiased estimate times n (n - 3), of kernels without their diagonals."""
    n = len(k)
    far = float(k.sum() * m.sum()) / ((n - 1) * (n - 2))
    return float((k * m).sum()) + far - 2 / (n - 2) * float(k.sum(0) @ m.sum(0))
