"""The weights with which a controller answers the questions of one name."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from fphi.learnable.space import Decision

__all__ = ["Question"]

# Of a parameter's name and its sizes, the parameter.
_New = Callable[..., nn.Parameter]


class Question(nn.Module):
    """The weights of the questions of one name: of a softmax, or of attention where they point at parts."""

    def __init__(self) -> None:
        super().__init__()
        # In blocks of rows: there may come more answers than were foreseen.
        self.weights, self.biases, self.embeddings = (nn.ParameterList() for _ in range(3))
        self.attention = nn.ParameterList()  # W_prev, W_curr, v

    def fit(self, decision: Decision, new: _New, hidden: int) -> None:
        """Make what the question needs and is not there yet."""
        if decision.about:
            if not len(self.attention):
                sizes = {"W_prev": (hidden, hidden), "W_curr": (hidden, hidden), "v": (hidden,)}
                self.attention.extend(new(name, *size) for name, size in sizes.items())
            return
        have = sum(len(block) for block in self.biases)
        if have < decision.choices:
            rows = decision.choices - have
            self.weights.append(new(f"weights from {have}", rows, hidden))
            self.biases.append(new(f"biases from {have}", rows))
            self.embeddings.append(new(f"embeddings from {have}", rows, hidden))

    def logits(self, output: Tensor, choices: int) -> Tensor:
        """``[n, choices]`` of the LSTM's output ``[n, hidden]``."""
        return linear(output, _rows(self.weights)[:choices], _rows(self.biases)[:choices])

    def embedded(self, answers: Tensor) -> Tensor:
        return _rows(self.embeddings)[answers]

    def scores(self, keys: Tensor, output: Tensor) -> Tensor:
        """``[n, parts]`` of W_prev h_j ``[n, parts, hidden]`` and h_i ``[n, hidden]``."""
        scores: Tensor = (keys + linear(output, self.attention[1]).unsqueeze(1)).tanh() @ self.attention[2]
        return scores


def _rows(blocks: Iterable[Tensor]) -> Tensor:
    """The blocks as one; most often there is one."""
    first, *others = blocks
    return torch.cat([first, *others]) if others else first
