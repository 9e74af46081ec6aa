"""Step 3, how φ is optimized."""

from fphi.optimize.gradient import GradientDescent, constant, cosine, halving, linear_to_zero

__all__ = ["GradientDescent", "constant", "cosine", "halving", "linear_to_zero"]
