"""The bilevel search of DARTS: α learns from validation examples, w from training examples, step by step.

Liu, Simonyan, Yang, ICLR 2019, arXiv 1806.09055. All randomness of epoch e comes from (seed, e).
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from fphi.errors import FphiError
from fphi.learnable.mixture import Mixture
from fphi.learnable.space import Tokens
from fphi.objective.hypergradient import Hypergradient, exact, finite_difference, first_order
from fphi.optimize.epochs import EpochRow, rows_of
from fphi.optimize.restored import restore_optimizer
from fphi.optimize.two_level import TwoLevel, require_descent
from fphi.tasks.supervised import Supervised
from fphi.tasks.types import Examples
from fphi.within.uncompiled import uncompiled

__all__ = ["Bilevel", "BilevelPhase"]


@dataclass(frozen=True)
class BilevelPhase:
    """How α and w learn; the defaults but for the epochs are the paper's.

    Args:
        epochs: of the training examples (paper: 50).
        batch_size: examples of a training and of a validation minibatch.
        order: 2: α's gradient is taken at the w that the next step would lead to; 1: at w as it is.
        derivative: of the second order: by finite difference, or exact, which takes twice the memory.
        scale: distance from w to the two points of the difference. The paper's crosses many kinks of a small
            network's ReLUs, so that difference and derivative differ; towards 0 they agree, and float32
            rounds more.
        lr: of w in the first step; it falls along half a cosine.
        lr_end: to this.
        momentum: of w.
        weight_decay: of w.
        clip_norm: longest gradient of w.
        alpha_lr: of α, by Adam with β = (0.5, 0.999).
        alpha_weight_decay: of α.
        max_skips: the search stops after an epoch that ends with more skip connections in the derived cell,
            the normal one if there are two, and the result is what was derived before (Liang et al. 2019,
            arXiv 1909.06035: 1, of 8 operations). Until an epoch has as few, it goes on. None: it never
            stops early.
    """

    epochs: int = 10
    batch_size: int = 64
    order: Literal[1, 2] = 2
    derivative: Literal["difference", "exact"] = "difference"
    scale: float = 0.01
    lr: float = 0.025
    lr_end: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 3e-4
    clip_norm: float = 5.0
    alpha_lr: float = 3e-4
    alpha_weight_decay: float = 1e-3
    max_skips: int | None = None

    def __post_init__(self) -> None:
        """Refuse what trains nothing."""
        require_descent(self)
        if min(self.alpha_lr, self.alpha_weight_decay) < 0:
            raise FphiError(
                f"alpha_lr={self.alpha_lr}, alpha_weight_decay={self.alpha_weight_decay}: both are from 0"
            )
        if self.order not in (1, 2) or self.scale <= 0 or (self.max_skips is not None and self.max_skips < 0):
            raise FphiError(
                f"order={self.order}, scale={self.scale}, max_skips={self.max_skips}: the order is 1 or 2, "
                "the scale above 0, max_skips at least 0"
            )


class Bilevel(TwoLevel):
    """A search that stands somewhere: w, α, both optimizers, and the rows of its epochs.

    Args:
        supernet: of mixed operations; its parameters are w and α.
        data: w learns from ``data.train``, α from ``data.validation``.
        seed: of everything random.
        phase: settings.
    """

    phase: BilevelPhase

    def __init__(
        self, supernet: Mixture, data: Supervised, seed: int = 0, phase: BilevelPhase | None = None
    ) -> None:
        super().__init__(supernet, supernet.weights(), data, seed, phase or BilevelPhase())
        self.supernet = supernet
        self.adam = uncompiled(torch.optim.Adam)(
            supernet.architecture().values(),
            lr=self.phase.alpha_lr,
            betas=(0.5, 0.999),
            weight_decay=self.phase.alpha_weight_decay,
        )
        self._good: Tokens | None = None

    @property
    def ended(self) -> bool:
        """Whether all epochs are done, or the search was stopped early."""
        return len(self.rows) >= self.phase.epochs or any(row["collapsed"] for row in self.rows)

    @property
    def module(self) -> nn.Module:
        """What a checkpoint has the parameters and buffers of."""
        return self.supernet

    def result(self) -> Tokens:
        """What α prefers; of a search that was stopped early, what it preferred before."""
        collapsed = any(row["collapsed"] for row in self.rows)
        return self._good if collapsed and self._good is not None else self.supernet.derive()

    def learn(self, batch: Examples, validation: Examples, generator: torch.Generator) -> float:
        """A step of α, then one of w."""
        self.alpha_step(batch, validation)
        return self.weight_step(batch)

    def figures(self) -> EpochRow:
        """The mean entropy of the operations' shares, the skip connections of each derived cell, the rate of
        w, and whether the search ends here because there are too many skip connections.
        """
        skips = self.supernet.skips()
        return {
            "entropy": self.supernet.entropy(),
            **{f"skips_{kind}": count for kind, count in skips.items()},
            "lr": self.sgd.param_groups[0]["lr"],
            "collapsed": float(self._collapses(next(iter(skips.values())))),
        }

    def alpha_step(self, batch: Examples, validation: Examples) -> None:
        """One step of α; w and the running statistics of batch norms stay as they are."""
        gradient = self.hypergradient(batch, validation).gradient
        for name, alpha in self.supernet.architecture().items():
            alpha.grad = gradient[name]
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)

    def hypergradient(self, batch: Examples, validation: Examples) -> Hypergradient:
        """The validation loss and its gradient in α, by the order and the form of the settings."""
        self.supernet.train()
        theta, phi = self.supernet.weights(), self.supernet.architecture()
        on_validation = partial(self.loss, validation)
        if self.phase.order == 1:
            return first_order(on_validation, theta, phi)
        form = (
            exact if self.phase.derivative == "exact" else partial(finite_difference, scale=self.phase.scale)
        )
        return form(partial(self.loss, batch), on_validation, theta, phi, self.ahead())

    def state_dict(self) -> dict[str, Any]:
        """Everything but the parameters and buffers."""
        good = None if self._good is None else list(self._good)
        return {"w": self.sgd.state_dict(), "alpha": self.adam.state_dict(), "rows": self.rows, "good": good}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go on from a state of such a search; a `ValueError`, `KeyError` or `TypeError` if it is none."""
        rows, good = rows_of(state["rows"]), state["good"]
        if any("collapsed" not in row for row in rows):
            raise ValueError("its rows do not say whether the search collapsed")
        if good is not None:
            own = self.supernet.derive()
            if len(good) != len(own) or any(type(token) is not int for token in good):
                raise ValueError("the architecture that it kept is none")
        restore_optimizer(self.sgd, state["w"], stepped=bool(rows))
        restore_optimizer(self.adam, state["alpha"], stepped=bool(rows))
        self.rows = rows
        self._good = None if good is None else tuple(good)

    def _collapses(self, skips: int) -> bool:
        """Whether there are too many skip connections, when there once were not."""
        limit = self.phase.max_skips
        if limit is None:
            return False
        if skips <= limit:
            self._good = self.supernet.derive()
            return False
        return self._good is not None

    @property
    def fingerprint(self) -> str:
        """Two searches with the same one take the same course."""
        shapes = {name: list(p.shape) for name, p in self.supernet.architecture().items()}
        return f"{type(self.supernet).__name__} {shapes} {self.phase} seed={self.seed}"
