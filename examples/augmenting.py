"""Digits, trained on as they are and augmented: by a policy of the literature, or by what was searched.

Run it: python examples/augmenting.py
After a search: fphi search pba --out runs/pba
                python examples/augmenting.py --augmentation runs/pba
It shows how it is done; digits of 8x8 pixels have little to gain by it.
"""

import argparse
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, TensorDataset

import fphi
from fphi.augmentation import PUBLISHED, Augmentation


class Pictures(Dataset[tuple[Tensor, int]]):
    """Pillow images, augmented one by one where a loader's workers read them."""

    def __init__(self, images: Tensor, labels: Tensor, augment: Augmentation) -> None:
        self.pictures = [Image.fromarray((255 * image[0]).byte().numpy()) for image in images]
        self.labels, self.augment = labels.tolist(), augment

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = np.asarray(self.augment(self.pictures[index]), dtype=np.float32)
        return torch.from_numpy(pixels)[None] / 255, self.labels[index]


def train(
    loader: DataLoader[Any], augment: Augmentation | None, epochs: int, batches: bool = True
) -> nn.Module:
    """An ordinary loop; the three lines of augmentation are marked.

    Where the loader has augmented the images, the batches are left as they are; it hears the epoch, too.
    """
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
    )
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for epoch in range(epochs):
        if augment is not None:
            augment.set_epoch(epoch)  # 2: a schedule has a policy for each epoch
        for x, y in loader:
            images = augment(x) if augment is not None and batches else x  # 3: before they are normalised
            loss = cross_entropy(model(images - 0.3), y)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
    return model


def main() -> dict[str, float]:
    """Print and return the test accuracy of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--augmentation", default="trivialaugment", help="a name, a file, or a search's folder"
    )
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    digits = load_digits()
    images, labels = torch.from_numpy(digits.images[:, None]).float() / 16, torch.from_numpy(digits.target)
    named = options.augmentation
    try:
        found = fphi.augmentation.published(named) if named in PUBLISHED else fphi.augmentation.load(named)
    except fphi.FphiError as error:
        parser.exit(2, f"--augmentation {named}: {error}; or one of {', '.join(PUBLISHED)}\n")
    augment = found.stretched(options.epochs)  # 1
    x, y = images[: options.examples], labels[: options.examples].long()
    plain = DataLoader(TensorDataset(x, y), batch_size=50, shuffle=True)
    pictures = DataLoader(Pictures(x, y, augment), batch_size=50, shuffle=True)  # or so
    trained = {
        "as they are": train(plain, None, options.epochs),
        "augmented as batches": train(plain, augment, options.epochs),
        "augmented one by one": train(pictures, augment, options.epochs, batches=False),
    }
    accuracies = {}
    for name, model in trained.items():
        with torch.no_grad():
            right = model(images[options.examples :] - 0.3).argmax(1) == labels[options.examples :]
        accuracies[name] = float(right.float().mean())
        print(f"{name:<22} {accuracies[name]:.3f}")
    return accuracies


if __name__ == "__main__":
    main()
