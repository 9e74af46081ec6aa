"""Training with wrong labels or rare classes, where a small clean set says which examples count.

For a training loop of your own `Reweight` and `MetaWeightNet`; for arrays `WeightedClassifier`.
"""

from fphi.learnable.weighting import WeightNet
from fphi.optimize.meta_weight_net import MetaWeightNet
from fphi.optimize.reweighting import Reweight
from fphi.optimize.weighting import Pair, Weighed, Weighting
from fphi.weighting.classifier import Approach, WeightedClassifier
from fphi.weighting.loader import endless

__all__ = [
    "Approach",
    "MetaWeightNet",
    "Pair",
    "Reweight",
    "Weighed",
    "WeightNet",
    "WeightedClassifier",
    "Weighting",
    "endless",
]
