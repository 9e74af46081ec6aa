"""The network of the Siamese networks' paper, for whole Omniglot images."""

from torch import Tensor, nn

__all__ = ["KochNet"]

_LAYERS = ((64, 10), (128, 7), (128, 4), (256, 4))  # filters, side of the filter


class KochNet(nn.Sequential):
    """Images ``[n, 1, 105, 105]`` to 4,096 features in 0..1 (Koch et al. 2015): 38,947,648 parameters.

    Four convolutions with ReLU, pooled after all but the last, and a linear layer with a sigmoid.
    Initialised as published: filters N(0, 0.01²), biases N(0.5, 0.01²), linear weights N(0, 0.2²).
    """

    SIZE = 105
    WIDTH = 4096

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        channels, side = 1, self.SIZE
        for number, (filters, width) in enumerate(_LAYERS):
            layers += [nn.Conv2d(channels, filters, width), nn.ReLU()]
            channels, side = filters, side - width + 1
            if number + 1 < len(_LAYERS):
                layers.append(nn.MaxPool2d(2))
                side //= 2
        super().__init__(*layers, nn.Flatten(), nn.Linear(channels * side * side, self.WIDTH), nn.Sigmoid())
        self.apply(_initialise)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        weight: Tensor = module.weight
        nn.init.normal_(weight, std=0.01 if isinstance(module, nn.Conv2d) else 0.2)
        if module.bias is not None:
            nn.init.normal_(module.bias, mean=0.5, std=0.01)
