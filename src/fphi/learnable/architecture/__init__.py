"""Learned architectures: search spaces, and policies over them."""

from fphi.learnable.architecture.cells import CellSpace
from fphi.learnable.architecture.controller import LSTMController
from fphi.learnable.architecture.darts import DartsSpace, DartsSupernet
from fphi.learnable.architecture.enas_macro import EnasMacroSpace
from fphi.learnable.architecture.enas_micro import EnasMicroSpace
from fphi.learnable.architecture.graphs import GraphSpace
from fphi.learnable.architecture.hierarchical import HierarchicalSpace
from fphi.learnable.architecture.inheritance import inherit
from fphi.learnable.architecture.layers import LayerSpace
from fphi.learnable.architecture.mixture import MixingSpace, Mixture
from fphi.learnable.architecture.nasbench201 import NASBench201Space
from fphi.learnable.architecture.nasbench_macro import NASBenchMacroSpace
from fphi.learnable.architecture.policy import IndependentPolicy, Policy
from fphi.learnable.architecture.space import Decision, Edge, FixedSpace, Graph, SearchSpace, Tokens
from fphi.learnable.architecture.supernet import SharingSpace, Standalone, Supernet, hand_down

__all__ = [
    "SPACES",
    "CellSpace",
    "DartsSpace",
    "DartsSupernet",
    "Decision",
    "Edge",
    "EnasMacroSpace",
    "EnasMicroSpace",
    "FixedSpace",
    "Graph",
    "GraphSpace",
    "HierarchicalSpace",
    "IndependentPolicy",
    "LSTMController",
    "LayerSpace",
    "MixingSpace",
    "Mixture",
    "NASBench201Space",
    "NASBenchMacroSpace",
    "Policy",
    "SearchSpace",
    "SharingSpace",
    "Standalone",
    "Supernet",
    "Tokens",
    "hand_down",
    "inherit",
]

SPACES: dict[str, type[SearchSpace]] = {
    cls.name: cls
    for cls in (
        NASBench201Space,
        NASBenchMacroSpace,
        EnasMicroSpace,
        EnasMacroSpace,
        CellSpace,
        HierarchicalSpace,
        GraphSpace,
        DartsSpace,
        LayerSpace,
    )
}
