"""An update rule that is an LSTM (Andrychowicz et al., NIPS 2016)."""

import torch
from torch import Tensor, nn

from fphi.ranges import Range, checked
from fphi.within.coordinates import CoordinateLSTM, preprocessed
from fphi.within.optimizers import InnerOptimizer, Parameters, State

__all__ = ["LSTMOptimizer"]

_BLOCK = 4096  # coordinates


class LSTMOptimizer(InnerOptimizer):
    """θ ← θ + u: an LSTM of two layers reads a coordinate's gradient and says its step u.

    All coordinates share its weights, and each has a state of its own: what is learned on one problem serves
    any other (Andrychowicz et al., Learning to Learn by Gradient Descent by Gradient Descent, NIPS 2016,
    arXiv 1606.04474). The paper takes gradients as constants: a learner of ``order=1``.

    Args:
        hidden: units of a layer; with 20 there are 5,141 learned numbers.
        layers: of the LSTM.
        p: of the gradient's preprocessing, see `preprocessed`; None: the gradient as it is.
        scale: of the steps; the authors' code has 0.01, and 1 on quadratics.
    """

    @checked(p=Range(0, 100, open=True), scale=Range(0, open=True))
    def __init__(
        self, hidden: int = 20, layers: int = 2, p: float | None = 10.0, scale: float = 0.01
    ) -> None:
        super().__init__()
        self.p, self.scale = p, scale
        inputs = [1 if p is None else 2, *[hidden] * (layers - 1)]
        self.layers = nn.ModuleList(CoordinateLSTM(size, hidden) for size in inputs)
        self.step = nn.Linear(hidden, 1)

    def init(self, parameters: Parameters) -> State:
        return {
            f"{part}{i}": {name: _cell(layer).start(p) for name, p in parameters.items()}
            for i, layer in enumerate(self.layers)
            for part in ("output", "cell")
        }

    def update(
        self, gradients: Parameters, state: State, parameters: Parameters, step: int
    ) -> tuple[Parameters, State]:
        moved: Parameters = {}
        after: State = {part: {} for part in state}
        for name, p in parameters.items():
            own = [values[name] for values in state.values()]
            moved[name], *carried = self._in_blocks(gradients[name], p, own)
            for part, values in zip(after.values(), carried, strict=True):
                part[name] = values
        return moved, after

    def _in_blocks(self, gradient: Tensor, p: Tensor, state: list[Tensor]) -> list[Tensor]:
        """See `_stepped`; without derivatives as many coordinates at a time as the caches hold."""
        if torch.is_grad_enabled() or p.numel() <= _BLOCK:
            return self._stepped(gradient, p, state)
        given = [gradient.flatten(), p.flatten(), *(values.flatten(0, -2) for values in state)]
        blocks = zip(*(torch.split(values, _BLOCK) for values in given), strict=True)
        steps = [self._stepped(g, own, carried) for g, own, *carried in blocks]
        joined = [torch.cat(parts) for parts in zip(*steps, strict=True)]
        return [values.view(like.shape) for values, like in zip(joined, (p, *state), strict=True)]

    def _stepped(self, gradient: Tensor, p: Tensor, state: list[Tensor]) -> list[Tensor]:
        """Coordinates after a step, and their state: output and cell ``[..., hidden]`` of each layer."""
        x, after = self._read(gradient), []
        for layer, output, cell in zip(self.layers, state[::2], state[1::2], strict=True):
            x, c = layer(x, output, cell)
            after += [x, c]
        return [p + self.scale * self.step(x).squeeze(-1), *after]

    def _read(self, gradient: Tensor) -> Tensor:
        return gradient.unsqueeze(-1) if self.p is None else preprocessed(gradient, self.p)


def _cell(layer: nn.Module) -> CoordinateLSTM:
    assert isinstance(layer, CoordinateLSTM)
    return layer
