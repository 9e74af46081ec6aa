"""The plain recurrent network: all that it knows of a task is in its state."""

import torch
from torch import Tensor, nn

from fphi.ranges import checked

__all__ = ["LSTMCore"]


class LSTMCore(nn.Module):
    """An LSTM over the items and a linear read-out (Hochreiter, Younger, Conwell, ICANN 2001).

    Args:
        inputs: size of an item.
        ways: answers.
        hidden: size of the state.
    """

    @checked()
    def __init__(self, inputs: int, ways: int, *, hidden: int = 200) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, batch_first=True)
        self.head = nn.Linear(hidden, ways)

    def forward(self, past: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Answers to ``past: [B, T, inputs]`` and to each of ``last: [B, Q, inputs]`` after it."""
        batch, queries, _ = last.shape
        outputs, state = self.lstm(past)
        # Every query starts from the state that the past has left: [1, B, hidden] to [1, B*Q, hidden].
        hidden, cell = (s.repeat_interleave(queries, 1) for s in state)
        ends, _ = self.lstm(last.reshape(batch * queries, 1, -1), (hidden, cell))
        answers, answers_last = self.head(outputs), self.head(ends)
        return answers, torch.reshape(answers_last, (batch, queries, -1))
