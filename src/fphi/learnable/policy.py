"""A policy: a distribution over the architectures of a space, whose parameters are φ."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.space import Decision, FixedSpace, Space, Tokens
from fphi.ranges import SEED, checked

__all__ = ["IndependentPolicy", "Policy"]


class Policy(nn.Module):
    """π(architecture): samples them, and says how likely they are."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space

    @abstractmethod
    def sample(self, count: int, generator: torch.Generator) -> list[Tokens]:
        """Architectures drawn from π."""

    @abstractmethod
    def score(self, tokens: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
        """Log π ``[n]`` of each architecture, and the summed entropies ``[n]`` of the answers on the way."""


class IndependentPolicy(Policy):
    """One softmax for each decision, independent of all others: the REINFORCE of NAS-Bench-201.

    Args:
        space: with decisions that do not depend on one another.
        seed: of the initial logits, normal with standard deviation ``spread``.
        spread: see ``seed``; 0 starts uniform.
    """

    @checked(seed=SEED)
    def __init__(self, space: Space, seed: int = 0, spread: float = 1e-3) -> None:
        if not isinstance(space, FixedSpace):
            raise FphiError(
                f"the decisions of the space {space.name} depend on one another: choose the LSTM controller, "
                "as nasnet and zoph-le have it"
            )
        super().__init__(space)
        decisions: tuple[Decision, ...] = space.decisions
        most = max(decision.choices for decision in decisions)
        noise = torch.randn(len(decisions), most, generator=torch.Generator().manual_seed(seed))
        self.logits = nn.Parameter(spread * noise)
        possible = torch.arange(most) < torch.tensor([[decision.choices] for decision in decisions])
        self.register_buffer("impossible", ~possible)
        self.impossible: Tensor

    def log_probabilities(self) -> Tensor:
        """Log π of each answer to each question, ``[decisions, most choices]``; -inf where there is none."""
        return self.logits.masked_fill(self.impossible, -torch.inf).log_softmax(-1)

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> list[Tokens]:
        drawn = torch.multinomial(
            self.log_probabilities().exp(), count, replacement=True, generator=generator
        )
        return [tuple(column) for column in drawn.T.tolist()]

    def score(self, tokens: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
        logs = self.log_probabilities()
        answers = torch.tensor(tokens, device=logs.device)  # [n, decisions]
        chosen = logs.expand(len(tokens), *logs.shape).gather(-1, answers.unsqueeze(-1)).squeeze(-1)
        entropy = -(logs.exp() * logs.masked_fill(self.impossible, 0.0)).sum()
        return chosen.sum(-1), entropy.expand(len(tokens))
