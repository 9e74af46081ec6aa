"""One file per paper: which choice it makes in each of the three steps, with the paper's settings."""

from fphi.methods.base import FewShotMethod, Method, Setting
from fphi.methods.table import get_method, method, methods

__all__ = ["FewShotMethod", "Method", "Setting", "get_method", "method", "methods"]
