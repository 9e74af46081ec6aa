"""DADA: an augmentation policy whose choices have gradients, learned while one network trains.

1. Learnable: how likely each pair of operations is, and each operation's probability and magnitude.
2. Loss: the validation loss of the network after the step that it is about to take on augmented images.
3. Optimize: by gradient, by RELAX through what is drawn and by a finite difference through the step.
"""

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from torch import nn

from fphi.learnable.augmentation import DadaSpace
from fphi.learnable.space import Space
from fphi.methods.families.searching import RelaxedMethod
from fphi.methods.table import method
from fphi.optimize.dada import Dada
from fphi.optimize.dada_phase import DadaPhase
from fphi.ranges import count, number, rate, share, weight
from fphi.tasks.supervised import Supervised

__all__ = ["DADA"]


@method(
    "dada",
    paper="Li, Hu, Wang, Hospedales, Robertson, Yang: Differentiable Automatic Data Augmentation, ECCV 2020",
    arxiv="2003.03780",
)
@dataclass(frozen=True)
class DADA(RelaxedMethod):
    """The paper searches with half of 4,000 images for the policy; its result is the 25 heaviest pairs.

    Args:
        estimator: of the gradient through what is drawn: relax, or reinforce, without a control variate.
        derivative: through the network's next step: by a finite difference, or exact.
        scale: distance from the weights to the two points of the difference.
        epochs: of the network that is trained meanwhile.
        batch_size: images of a training and of a validation minibatch (paper: 128).
        lr: of the network; it falls to ``lr_end`` along half a cosine.
        lr_end: see ``lr``.
        momentum: of the network.
        weight_decay: of the network.
        clip_norm: longest gradient of the network.
        policy_lr: of the policy, by Adam (paper: 5e-3; more for searches of a few hundred small minibatches).
        control_lr: of the control variate, by Adam (paper: 5e-3).
        temperature: of the relaxed choices that the control variate is given.
        shift: move images by up to an eighth of their side, and mirror coloured ones, before the policy; to
            be given where the children's trainings do so, by --child-augment true.
        cutout: side of a square that is set to the mean after it (paper: 16); 0: none.
    """

    usual_space: ClassVar[str] = "dada"
    searches: ClassVar[type] = DadaSpace
    paper_budget: ClassVar[str] = (
        "20 epochs on 2,000 images: --data cifar10 --train-examples 2000 --validation-examples 2000 "
        "--batch-size 128 --policy-lr 0.005 --control-lr 0.005 --cutout 16 --shift true --child-augment true"
    )

    estimator: Literal["relax", "reinforce"] = "relax"
    derivative: Literal["difference", "exact"] = "difference"
    scale: float = number(0.01, 0, 1000, open=True)
    epochs: int = count(20, 100_000)
    batch_size: int = count(32, 100_000)
    lr: float = rate(0.1)
    lr_end: float = weight(0.0, 1000)
    momentum: float = share(0.9)
    weight_decay: float = weight(2e-4)
    clip_norm: float = number(5.0, 0, 1e9, open=True)
    policy_lr: float = weight(0.02, 1000)
    control_lr: float = weight(1e-3, 1000)
    temperature: float = number(0.5, 0, 1000, open=True)
    shift: bool = False
    cutout: int = count(0, 10_000, least=0)

    def __post_init__(self) -> None:
        """Refuse a search that learns nothing."""
        super().__post_init__()
        self.phase()

    def phase(self, sub_policies: int = 25) -> DadaPhase:
        """The settings of the search."""
        own = {f.name: getattr(self, f.name) for f in fields(DadaPhase) if f.name != "sub_policies"}
        return DadaPhase(**own, sub_policies=sub_policies)

    def begin(self, space: Space, data: Supervised, network: nn.Module, seed: int) -> Dada:
        self.require(space)
        assert isinstance(space, DadaSpace)
        return Dada(network, data, seed, self.phase(space.sub_policies))
