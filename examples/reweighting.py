"""Digits of which a third have wrong labels: trained on plainly, cleaned, and with learned weights.

Run it: python examples/reweighting.py
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

from fphi.tasks.corruption import corrupted
from fphi.tasks.supervised import load_supervised
from fphi.weighting import MetaWeightNet, Pair, Reweight, Weighting, endless
from fphi.within.cleaning import confident_issues

Data = Dataset[tuple[Tensor, ...]]
Begin = Callable[[nn.Module, torch.optim.Optimizer], Weighting]


def train(
    data: Data, clean: Data, test: Pair, begin: Begin | None, epochs: int, lr: float
) -> tuple[nn.Module, list[float], Weighting | None]:
    """An ordinary loop; ``begin`` makes what weighs the examples, None trains plainly."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    weighting = begin(model, optimizer) if begin is not None else None
    clean_batches = endless(DataLoader(clean, batch_size=100, shuffle=True))
    accuracies = []
    for _ in range(epochs):
        for batch in DataLoader(data, batch_size=100, shuffle=True):
            if weighting is None:
                loss = cross_entropy(model(batch[0]), batch[1])
            else:
                loss = weighting.weigh(batch, next(clean_batches)).loss
            if loss.requires_grad:  # where no example helps there is no step
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                # The weights of a minibatch may all be on one example.
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
        schedule.step()
        with torch.no_grad():
            accuracies.append(float((model(test[0]).argmax(1) == test[1]).float().mean()))
    return model, accuracies, weighting


def cleaned(noisy: TensorDataset, clean: TensorDataset, test: Pair, epochs: int, lr: float) -> Data:
    """The examples whose labels are not in doubt, and the clean ones: each third judged by the rest."""
    x, y = noisy.tensors
    probabilities = torch.empty(len(y), 10)
    for fold in torch.randperm(len(y), generator=torch.Generator().manual_seed(0)).tensor_split(3):
        rest = torch.ones(len(y), dtype=torch.bool).index_fill(0, fold, False)
        others: Data = ConcatDataset([Subset(noisy, rest.nonzero().flatten().tolist()), clean])
        model, _, _ = train(others, clean, test, None, epochs, lr)
        with torch.no_grad():
            probabilities[fold] = model(x[fold]).softmax(1)
    kept = (~confident_issues(probabilities, y)).nonzero().flatten().tolist()
    return ConcatDataset([Subset(noisy, kept), clean])


def main() -> dict[str, tuple[float, float]]:
    """Print and return the last and the best epoch's accuracy of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--noise", choices=("none", "uniform", "flip", "flip2"), default="uniform")
    parser.add_argument("--share", type=float, default=0.4)
    parser.add_argument("--imbalance", type=float, default=1.0)
    options = parser.parse_args()
    digits = load_supervised("digits", validation=100)
    task = corrupted(digits, options.noise, options.share, options.imbalance, seed=0)
    noisy, clean = TensorDataset(*task.data.train), TensorDataset(*task.data.validation)
    test: tuple[Tensor, Tensor] = task.data.test
    both: Data = ConcatDataset([noisy, clean])
    print(f"{len(noisy)} examples, {int(task.wrong.sum())} of them with wrong labels; {len(clean)} clean")
    ways: dict[str, tuple[Data, Begin | None, float]] = {
        "plain": (both, None, 0.1),
        "cleaned": (cleaned(noisy, clean, test, options.epochs, 0.1), None, 0.1),
        "reweight": (noisy, Reweight, 0.1),
        "meta-weight-net": (noisy, lambda model, optimizer: MetaWeightNet(model, optimizer, lr=0.03), 0.03),
    }
    results = {}
    for name, (data, begin, lr) in ways.items():
        _, accuracies, weighting = train(data, clean, test, begin, options.epochs, lr)
        results[name] = accuracies[-1], max(accuracies)
        print(f"{name:<16} last epoch {accuracies[-1]:.3f}   best {max(accuracies):.3f}")
        if isinstance(weighting, MetaWeightNet):
            losses = [0.1, 0.5, 1.0, 2.0, 4.0, 8.0]
            curve = zip(losses, weighting.net.curve(losses), strict=True)
            print("weights by loss  " + "  ".join(f"{loss:g}: {weight:.2f}" for loss, weight in curve))
    return results


if __name__ == "__main__":
    main()
