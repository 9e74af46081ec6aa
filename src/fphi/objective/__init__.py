"""Step 2, the loss over tasks and its gradient."""

from fphi.objective.meta_gradient import meta_gradient

__all__ = ["meta_gradient"]
