"""Compiled kernels for convolution blocks; PyTorch computes the same without them."""

from fphi.native.block import Block, conv_block, covers
from fphi.native.convolution import Geometry
from fphi.native.library import describe
from fphi.native.norm_pool import NormPool

__all__ = ["Block", "Geometry", "NormPool", "conv_block", "covers", "describe"]
