"""Learned architectures: the spaces that they are chosen from."""

from fphi.learnable.architecture.cells import AmoebaNetSpace, CellSpace
from fphi.learnable.architecture.darts import DartsSpace, DartsSupernet
from fphi.learnable.architecture.enas_macro import EnasMacroSpace
from fphi.learnable.architecture.enas_micro import EnasMicroSpace
from fphi.learnable.architecture.graphs import GraphSpace
from fphi.learnable.architecture.hierarchical import HierarchicalSpace
from fphi.learnable.architecture.inheritance import inherit
from fphi.learnable.architecture.layers import LayerSpace
from fphi.learnable.architecture.mixing import MixingSpace
from fphi.learnable.architecture.nasbench201 import NASBench201Space
from fphi.learnable.architecture.nasbench_macro import NASBenchMacroSpace
from fphi.learnable.architecture.space import ArchitectureSpace, Edge, Graph
from fphi.learnable.architecture.supernet import SharingSpace, Standalone, Supernet

__all__ = [
    "SPACES",
    "AmoebaNetSpace",
    "ArchitectureSpace",
    "CellSpace",
    "DartsSpace",
    "DartsSupernet",
    "Edge",
    "EnasMacroSpace",
    "EnasMicroSpace",
    "Graph",
    "GraphSpace",
    "HierarchicalSpace",
    "LayerSpace",
    "MixingSpace",
    "NASBench201Space",
    "NASBenchMacroSpace",
    "SharingSpace",
    "Standalone",
    "Supernet",
    "inherit",
]

SPACES: dict[str, type[ArchitectureSpace]] = {
    cls.name: cls
    for cls in (
        NASBench201Space,
        NASBenchMacroSpace,
        EnasMicroSpace,
        EnasMacroSpace,
        CellSpace,
        AmoebaNetSpace,
        HierarchicalSpace,
        GraphSpace,
        DartsSpace,
        LayerSpace,
    )
}
