"""Learned architectures: search spaces, and policies over them."""

from fphi.learnable.architecture.nasbench201 import NASBench201Space
from fphi.learnable.architecture.policy import IndependentPolicy, Policy
from fphi.learnable.architecture.space import Decision, Edge, FixedSpace, Graph, SearchSpace, Tokens

__all__ = [
    "SPACES",
    "Decision",
    "Edge",
    "FixedSpace",
    "Graph",
    "IndependentPolicy",
    "NASBench201Space",
    "Policy",
    "SearchSpace",
    "Tokens",
]

SPACES: dict[str, type[SearchSpace]] = {cls.name: cls for cls in (NASBench201Space,)}
