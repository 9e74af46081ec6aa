"""One file per paper: which choice it makes in each of the three steps, with the paper's settings."""

from fphi.methods.anil import ANIL
from fphi.methods.fomaml import FOMAML
from fphi.methods.from_scratch import FromScratch
from fphi.methods.maml import MAML
from fphi.methods.meta_sgd import MetaSGD
from fphi.methods.prototypical import Prototypical
from fphi.methods.registry import METHODS, Method, Setting, get_method
from fphi.methods.reptile import Reptile

__all__ = [
    "ANIL",
    "FOMAML",
    "MAML",
    "METHODS",
    "FromScratch",
    "MetaSGD",
    "Method",
    "Prototypical",
    "Reptile",
    "Setting",
    "get_method",
]
