"""The network of learning to reweight's experiment on MNIST."""

from torch import Tensor, nn

from fphi.errors import FphiError

__all__ = ["LeNet"]


class LeNet(nn.Module):
    """Three 5x5 convolutions of 16, 32 and 64 filters, each halving the sides, and a layer of 100 units.

    After Ren et al., ICML 2018, arXiv 1803.09050.

    Args:
        outputs: classes.
        input_shape: ``(channels, height, width)``; sides of at least 8.

    Raises:
        FphiError: the images are too small.
    """

    def __init__(self, outputs: int, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        if len(input_shape) != 3 or min(input_shape[1:]) < 8:
            raise FphiError(f"lenet takes images with sides of at least 8, not {input_shape}; choose mlp")
        channels = input_shape[0]
        layers: list[nn.Module] = []
        for before, filters in ((channels, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(before, filters, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*layers, nn.Flatten())
        features = 64 * (input_shape[1] // 8) * (input_shape[2] // 8)
        self.head = nn.Sequential(nn.Linear(features, 100), nn.ReLU(), nn.Linear(100, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """``[n, *input_shape]`` to ``[n, outputs]``."""
        logits: Tensor = self.head(self.body(x))
        return logits
