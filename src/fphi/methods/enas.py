"""ENAS: all architectures share one set of weights, so judging one costs a single minibatch.

1. Learnable: the parameters of an LSTM that emits an architecture.
2. Loss: the error on one validation minibatch, with shared weights that other architectures trained too.
3. Optimize: by reinforcement learning, in turn with the shared weights, which learn by gradient.
"""

from dataclasses import dataclass
from typing import ClassVar

from fphi.errors import FphiError
from fphi.learnable.architecture import EnasMicroSpace, SharingSpace
from fphi.learnable.architecture.enas_controller import MacroController, MicroController
from fphi.learnable.controller import LSTMController
from fphi.methods.families.weight_sharing import SharingMethod
from fphi.methods.table import method
from fphi.optimize.sharing_phases import ControllerPhase
from fphi.ranges import count, number, rate, weight

__all__ = ["ENAS", "ENASMacro"]

_PAPER = "Pham, Guan, Zoph, Le, Dean: Efficient Neural Architecture Search, ICML 2018"


@method("enas", paper=_PAPER, arxiv="1802.03268")
@dataclass(frozen=True)
class ENAS(SharingMethod):
    """The micro search: a normal and a reduction cell.

    Args:
        controller_lr: Adam's.
        entropy: weight of an architecture's entropy in its reward.
        hidden: units of the LSTM.
        tanh_constant: bound of the logits of indices.
        divisor: of that bound, for the logits of operations.
        learned_bias: of separable convolutions at the start, within the bound.
        fixed_bias: ± for convolutions and others, beyond the bound, in the normal cell.
    """

    usual_space: ClassVar[str] = "enas-micro"
    paper_budget: ClassVar[str] = "150 epochs: --epochs 150 --batch-size 160 --steps 30 --samples 10"

    controller_lr: float = rate(3.5e-3)
    entropy: float = weight(1e-4)
    hidden: int = count(64, 8192)
    tanh_constant: float = number(1.10, 0, 1e6, open=True)
    divisor: float = number(2.5, 0, 1e6, open=True)
    learned_bias: float = 10.0
    fixed_bias: float = 0.25

    def controller(self, space: SharingSpace, seed: int) -> LSTMController:
        if not isinstance(space, EnasMicroSpace):
            raise FphiError(f"enas searches cells, and {space.name} has none; choose enas-macro")
        return MicroController(
            space,
            seed,
            hidden=self.hidden,
            tanh_constant=self.tanh_constant,
            divisor=self.divisor,
            learned_bias=self.learned_bias,
            fixed_bias=self.fixed_bias,
        )

    def controller_phase(self) -> ControllerPhase:
        return ControllerPhase(self.steps, self.samples, self.batch_size, self.controller_lr, self.entropy)


@method("enas-macro", paper=_PAPER, arxiv="1802.03268")
@dataclass(frozen=True)
class ENASMacro(SharingMethod):
    """The macro search: the branch of each layer, and its skip connections.

    Args:
        controller_lr: Adam's.
        entropy: weight of an architecture's entropy in its reward.
        hidden: units of the LSTM.
        tanh_constant: bound of the logits.
        skip_target: share of possible skip connections that there should be.
        skip_weight: of the divergence of each skip's probability from it.
    """

    usual_space: ClassVar[str] = "enas-macro"
    paper_budget: ClassVar[str] = "310 epochs: --epochs 310 --batch-size 128 --steps 50 --samples 20"

    controller_lr: float = rate(1e-3)
    entropy: float = weight(1e-4)
    hidden: int = count(64, 8192)
    tanh_constant: float = number(1.5, 0, 1e6, open=True)
    skip_target: float = number(0.4, 0, 1, open=True, below=True)
    skip_weight: float = weight(0.8)

    def controller(self, space: SharingSpace, seed: int) -> LSTMController:
        return MacroController(space, seed, hidden=self.hidden, spread=0.1, tanh_constant=self.tanh_constant)

    def controller_phase(self) -> ControllerPhase:
        return ControllerPhase(
            self.steps,
            self.samples,
            self.batch_size,
            self.controller_lr,
            self.entropy,
            skip_target=self.skip_target,
            skip_weight=self.skip_weight,
        )
