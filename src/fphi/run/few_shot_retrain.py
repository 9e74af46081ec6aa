"""The last meta-training of a few-shot search: any network, from new weights, and then the test tasks."""

import time
from collections.abc import Callable

import torch
from torch import nn

from fphi.networks.batch_norm import Mode
from fphi.networks.conv4 import Conv4
from fphi.run.child_training import ChildError, own_randomness, parameter_count
from fphi.run.few_shot_child import FewShotTraining
from fphi.run.retrain import Retrained
from fphi.tasks.distribution import TaskDistribution
from fphi.tasks.hashing import stream_key

__all__ = ["nearest_conv4", "retrain_few_shot"]


def retrain_few_shot(
    make: Callable[[], nn.Module], tasks: TaskDistribution, training: FewShotTraining, seed: int
) -> Retrained:
    """Meta-train a network from new weights and test it on the first test tasks.

    All networks meet the same tasks; weights and what is drawn in training depend on the seed alone.

    Args:
        make: builds the network, with the norm and the outputs that ``training`` asks for.
        tasks: with the splits "train", "validation" and "test".
        training: with at least one test task.
        seed: of weights and training.
    """
    own = int(stream_key(seed, "retrain") >> 1)
    start = time.monotonic()
    with own_randomness(own, training.threads):
        network = make()
    count = parameter_count(network)
    try:
        learner = training.train(network, tasks, own)
    except ChildError as error:
        return Retrained(None, count, None, None, time.monotonic() - start, str(error))
    seconds = time.monotonic() - start
    validation = training.accuracy(learner, tasks, "validation", training.validation_tasks)
    test = training.accuracies(learner, tasks, "test", training.test_tasks)
    return Retrained(network, count, validation, float(test.double().mean()), seconds, by_task=test)


def nearest_conv4(parameters: int, input_shape: tuple[int, ...], outputs: int | None, mode: Mode) -> Conv4:
    """The Conv4 whose number of parameters is closest, by its filters; of two equally close the smaller.

    Its features are the means over the image, as those of searched networks are.

    Args:
        parameters: to come close to.
        input_shape: ``C, H, W`` of a square image.
        outputs: None: features.
        mode: of its batch norms.
    """

    def made(filters: int) -> Conv4:
        channels, size, _ = input_shape
        return Conv4(outputs, channels=channels, image_size=size, filters=filters, features="mean", norm=mode)

    def count(filters: int) -> int:
        with torch.device("meta"):  # nothing is drawn, nothing allocated
            return parameter_count(made(filters))

    above = 1
    while count(above) < parameters:
        above += 1
    return made(min(max(1, above - 1), above, key=lambda filters: abs(count(filters) - parameters)))
