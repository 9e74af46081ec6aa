"""Step 3, how φ is optimized."""

from fphi.optimize.ask_tell import RandomSearch, SearchOptimizer
from fphi.optimize.evolution import AgingEvolution, Evolution, PairwiseTournament, TournamentWithoutRemoval
from fphi.optimize.gradient import GradientDescent, constant, cosine, linear_to_zero
from fphi.optimize.policy_gradient import MovingBaseline, PolicyGradient, PolicyUpdate

__all__ = [
    "AgingEvolution",
    "Evolution",
    "GradientDescent",
    "MovingBaseline",
    "PairwiseTournament",
    "PolicyGradient",
    "PolicyUpdate",
    "RandomSearch",
    "SearchOptimizer",
    "TournamentWithoutRemoval",
    "constant",
    "cosine",
    "linear_to_zero",
]
