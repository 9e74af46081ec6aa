"""Compiled kernels for convolution blocks; PyTorch computes the same without them."""

from fphi.native.block import Block, Norm, conv3x3, conv_block, covers, normalised, observed_block
from fphi.native.convolution import Geometry
from fphi.native.library import describe
from fphi.native.norm_pool import NormPool

__all__ = [
    "Block", "Geometry", "Norm", "NormPool", "conv3x3", "conv_block", "covers", "describe", "normalised",
    "observed_block",
]  # fmt: skip
