"""One file per paper: which choice it makes in each of the three steps, with the paper's settings."""

from fphi.methods.anil import ANIL
from fphi.methods.darts import DARTS
from fphi.methods.enas import ENAS, ENASMacro
from fphi.methods.fomaml import FOMAML
from fphi.methods.from_scratch import FromScratch
from fphi.methods.hierarchical_evolution import HierarchicalEvolution
from fphi.methods.imaginary import Imaginary
from fphi.methods.large_scale_evolution import LargeScaleEvolution
from fphi.methods.lstm import LSTM
from fphi.methods.maml import MAML
from fphi.methods.mann import MANN
from fphi.methods.matching import Matching
from fphi.methods.meta_sgd import MetaSGD
from fphi.methods.metric import Metric
from fphi.methods.nasnet import NASNet
from fphi.methods.prototypical import Prototypical
from fphi.methods.random_search import RandomSearch
from fphi.methods.registry import METHODS, Method, Setting, get_method
from fphi.methods.regularized_evolution import RegularizedEvolution
from fphi.methods.reinforce import Reinforce
from fphi.methods.relation import Relation
from fphi.methods.reptile import Reptile
from fphi.methods.searching import SEARCHES, SearchMethod, get_search
from fphi.methods.siamese import Siamese
from fphi.methods.snail import SNAIL
from fphi.methods.zoph_le import ZophLe

__all__ = [
    "ANIL",
    "DARTS",
    "ENAS",
    "FOMAML",
    "LSTM",
    "MAML",
    "MANN",
    "METHODS",
    "SEARCHES",
    "SNAIL",
    "ENASMacro",
    "FromScratch",
    "HierarchicalEvolution",
    "Imaginary",
    "LargeScaleEvolution",
    "Matching",
    "MetaSGD",
    "Method",
    "Metric",
    "NASNet",
    "Prototypical",
    "RandomSearch",
    "RegularizedEvolution",
    "Reinforce",
    "Relation",
    "Reptile",
    "SearchMethod",
    "Setting",
    "Siamese",
    "ZophLe",
    "get_method",
    "get_search",
]
