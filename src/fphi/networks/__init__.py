"""The networks that learners adapt, and the one batch norm that they share."""

from fphi.networks.batch_norm import BatchNorm, network_pass
from fphi.networks.calibration import calibrate
from fphi.networks.conv4 import Conv4, ConvBlock
from fphi.networks.koch import KochNet
from fphi.networks.mlp import MLP

__all__ = ["MLP", "BatchNorm", "Conv4", "ConvBlock", "KochNet", "calibrate", "network_pass"]
