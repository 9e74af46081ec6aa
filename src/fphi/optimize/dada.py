"""The bilevel search of DADA: a policy learns from validation examples, the network from what it augments.

Li, Hu, Wang, Hospedales, Robertson, Yang, ECCV 2020, arXiv 2003.03780.

The paper takes the hypergradient as the difference of two estimates by RELAX, of the training loss at two
points near θ and of the same sample. Both are f(b) ∇log p(b) and terms without f, which cancel: what is left
is REINFORCE, and nothing that c has learned. Here RELAX is of the difference, f(b) = -ξ ⟨∇L_val(θ'),
∇L_train(θ; b)⟩ by a central difference: the same mean, and c does what it is for.
"""

from functools import partial
from random import Random
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.augmentation.relaxed_policy import RelaxedPolicy, Sample
from fphi.learnable.augmentation.training_images import fill_of, require_images_of
from fphi.learnable.relaxed import ControlVariate
from fphi.learnable.space import Tokens
from fphi.objective.hypergradient import exact, finite_difference
from fphi.objective.relax import learn_control, relax, square
from fphi.optimize.dada_phase import DadaPhase
from fphi.optimize.epochs import EpochRow, rows_of
from fphi.optimize.restored import restore_optimizer
from fphi.optimize.two_level import TwoLevel
from fphi.tasks.supervised import Supervised
from fphi.tasks.types import Examples
from fphi.within import Parameters
from fphi.within.distorting import cut_out, mirrored, shifted
from fphi.within.uncompiled import uncompiled

__all__ = ["Augmented", "Dada"]


class Augmented(NamedTuple):
    """A minibatch that the policy has changed.

    Attributes:
        examples: what the network is given.
        sample: what has changed them.
        seed: of what the network itself draws on them, so that every pass is the same.
    """

    examples: Examples
    sample: Sample
    seed: int


class _Whole(nn.Module):
    """What a checkpoint has the parameters and buffers of."""

    def __init__(self, network: nn.Module, policy: RelaxedPolicy, control: ControlVariate) -> None:
        super().__init__()
        self.network, self.policy, self.control = network, policy, control


class Dada(TwoLevel):
    """A search that stands somewhere: the network, the policy, the control variate, and their optimizers.

    Args:
        network: ``[n, C, H, W]`` to ``[n, classes]``, with its first weights; any one.
        data: images; the network learns from ``data.train``, the policy from ``data.validation``.
        seed: of everything random.
        phase: settings.
        policy: new; None: over DADA's sub-policies.

    Raises:
        FphiError: the data are no images, or neither grey nor in three colours.
    """

    phase: DadaPhase

    def __init__(
        self,
        network: nn.Module,
        data: Supervised,
        seed: int = 0,
        phase: DadaPhase | None = None,
        policy: RelaxedPolicy | None = None,
    ) -> None:
        self._mean, self._deviation = require_images_of(data)
        weights: Parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
        super().__init__(network, weights, data, seed, phase or DadaPhase())
        self.policy = policy or RelaxedPolicy(seed=_seed(seed, "policy"), fill=fill_of(data))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed(seed, "control"))
            self.control = ControlVariate(3 * len(self.policy.pairs))
        self.adam, self.control_adam = (
            uncompiled(torch.optim.Adam)(part.parameters(), lr=lr, betas=(0.5, 0.999))
            for part, lr in ((self.policy, self.phase.policy_lr), (self.control, self.phase.control_lr))
        )
        self._squares: list[list[float]] = []

    @property
    def ended(self) -> bool:
        """Whether all epochs are done."""
        return len(self.rows) >= self.phase.epochs

    @property
    def module(self) -> nn.Module:
        """The network, the policy and the control variate."""
        return _Whole(self._network, self.policy, self.control)

    @property
    def fingerprint(self) -> str:
        """Two searches with the same one take the same course."""
        shapes = [list(p.shape) for p in self.theta.values()]
        return f"{type(self._network).__name__} {shapes} {self.policy.pairs} {self.phase} seed={self.seed}"

    def result(self) -> Tokens:
        """The heaviest sub-policies."""
        return self.policy.derive(self.phase.sub_policies)

    def epoch(self, number: int) -> EpochRow:
        """See `TwoLevel.epoch`."""
        self._squares = []
        return super().epoch(number)

    def learn(self, batch: Examples, validation: Examples, generator: torch.Generator) -> float:
        """A step of the policy, one of the control variate, and one of the network on the same images."""
        augmented = self.augment(batch, generator)
        self.policy_step(augmented, validation)
        torch.manual_seed(augmented.seed)
        return self.weight_step(augmented.examples)

    def augment(self, batch: Examples, generator: torch.Generator) -> Augmented:
        """A training minibatch changed by a sub-policy that is drawn for all of it."""
        x = batch.x
        if self.phase.shift:
            x = shifted(x, max(x.shape[-2:]) // 8, generator)
            x = mirrored(x, generator) if x.shape[1] == 3 else x
        sample = self.policy.draw(generator)
        chance = self.policy.chance(len(x), generator)
        plain = ((x * self._deviation + self._mean) / 255).clamp(0, 1)
        x = (255 * self.policy.change(plain, sample, chance) - self._mean) / self._deviation
        if self.phase.cutout:
            x = cut_out(x, self.phase.cutout, generator)
        seed = int(torch.randint(2**62, (), generator=generator))
        return Augmented(Examples(x.contiguous(memory_format=self._layout), batch.y), sample, seed)

    def policy_step(self, batch: Augmented, validation: Examples) -> None:
        """One step of c and one of the policy; the network and its running statistics stay as they are."""
        value, by_magnitudes = self.value(batch, validation)
        by_choices = self.choices(batch.sample, value)
        own = self.policy
        for name, p in own.drawn_by().items():
            p.grad = by_choices[name]
        own.magnitudes.grad = torch.zeros_like(own.magnitudes)
        own.magnitudes.grad[batch.sample.number] = by_magnitudes
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        own.restrict()

    def value(self, batch: Augmented, validation: Examples) -> tuple[Tensor, Tensor]:
        """How bad what was drawn is: f, a scalar, and its gradient in the two operations' magnitudes ``[2]``.

        f is the derivative of the validation loss at the next θ by a factor of the training loss: how much
        this minibatch, so augmented, hurts. Nothing is changed by it.

        Raises:
            FphiError: the search diverges.
        """
        self._network.train()
        own = self.policy.magnitudes
        phi: Parameters = {"factor": own.new_ones(()), "magnitudes": own.detach()[batch.sample.number]}

        def training(theta: Parameters, phi: Parameters) -> Tensor:
            x = self.policy.straight_through(batch.examples.x, batch.sample, phi["magnitudes"])
            torch.manual_seed(batch.seed)
            return phi["factor"] * self.loss(Examples(x, batch.examples.y), theta, {})

        def on_validation(theta: Parameters, phi: Parameters) -> Tensor:
            torch.manual_seed(batch.seed)
            return self.loss(validation, theta, {})

        form = (
            exact if self.phase.derivative == "exact" else partial(finite_difference, scale=self.phase.scale)
        )
        with torch.random.fork_rng(devices=[]):
            found = form(training, on_validation, self.theta, phi, self.ahead()).gradient
        if not all(bool(g.isfinite().all()) for g in found.values()):
            raise FphiError("the search diverges: the policy's gradient is not finite; choose a smaller lr")
        return found["factor"], found["magnitudes"]

    def choices(self, sample: Sample, value: Tensor) -> Parameters:
        """The gradient in the logits and the probabilities, from which c learns.

        Args:
            sample: what was drawn.
            value: f of it.
        """
        unit = self.control.unit
        found = plain = self.estimate(sample, value / unit, control=False)
        squares = [square(plain).detach()] * 2
        if self.phase.estimator == "relax":
            found = self.estimate(sample, value / unit)
            squares[0] = learn_control(self.control, found, self.control_adam)
            self.control.watch(value)
        self._squares.append([float(unit**2 * each) for each in squares])
        return {name: unit * g.detach() for name, g in found.items()}

    def estimate(self, sample: Sample, value: Tensor, control: bool = True) -> Parameters:
        """The gradient of such a value by RELAX, with a graph to c's parameters, or by REINFORCE."""
        c = conditional = value.new_zeros(())
        if control:
            c, conditional = map(self.control, sample.soft(self.phase.temperature))
        found = relax(value, sample.log_probability, (c, conditional), self.policy.drawn_by())
        return self.policy.counted(found, sample)

    def figures(self) -> EpochRow:
        """The entropy of the sub-policy, the mean square of its gradient and REINFORCE's, the rate of θ."""
        relaxed, plain = (sum(numbers) / len(numbers) for numbers in zip(*self._squares, strict=True))
        return {
            "entropy": self.policy.entropy(),
            "square": relaxed,
            "square_reinforce": plain,
            "lr": self.sgd.param_groups[0]["lr"],
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything but the parameters and buffers."""
        return {
            "w": self.sgd.state_dict(),
            "policy": self.adam.state_dict(),
            "control": self.control_adam.state_dict(),
            "rows": self.rows,
        }

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go on from a state of such a search; a `ValueError`, `KeyError` or `TypeError` if it is none."""
        rows = rows_of(state["rows"])
        begun = bool(rows)
        restore_optimizer(self.sgd, state["w"], stepped=begun)
        restore_optimizer(self.adam, state["policy"], stepped=begun)
        with_control = begun and self.phase.estimator == "relax"
        restore_optimizer(self.control_adam, state["control"], stepped=with_control)
        self.rows = rows


def _seed(seed: int, part: str) -> int:
    return Random(f"{seed}/{part}").getrandbits(63)
