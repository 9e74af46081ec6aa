"""φ is how much each training example counts: a number for each, or a network that reads their losses."""

from fphi.learnable.weighting.batch_weights import batch_weights
from fphi.learnable.weighting.weight_net import WeightNet

__all__ = ["WeightNet", "batch_weights"]
