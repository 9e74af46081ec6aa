"""The last trainings of a search for augmentation, several by each way; what is done is not done again."""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from fphi.objective.augmentation_loss import NetworkOf
from fphi.run.disk.interrupt import stoppable
from fphi.run.disk.lines import LineFile
from fphi.run.disk.schema import number, text, whole
from fphi.run.search.retrain import Retrained
from fphi.tasks.hashing import stream_key
from fphi.tasks.supervised import Supervised
from fphi.within.trained import parameter_count
from fphi.within.training import Augment, NetworkTraining, TrainingFailedError

__all__ = ["LastTrainings"]

_MEND = "delete it: these trainings are done again"
_LONGEST = 1e15  # seconds of a training


@dataclass(frozen=True)
class _Done:
    """One training; ``test`` is None where it failed."""

    way: str
    seed: int
    parameters: int
    validation: float | None
    test: float | None
    seconds: float
    failure: str


@dataclass(frozen=True)
class LastTrainings:
    """Trains one network in several ways, and keeps what came of each.

    Args:
        path: of the file.
        network: that is trained.
        data: of the problem.
        training: how it is trained.
    """

    path: Path
    network: NetworkOf
    data: Supervised
    training: NetworkTraining

    def by(self, way: str, seeds: Iterable[int], augment: Callable[[int], Augment | None]) -> Retrained:
        """Train once for each seed and test.

        Args:
            way: name of what is done to the images.
            seeds: of weights, order and augmentation: equal seeds, equal first weights.
            augment: of a seed, what is done; None: nothing.

        Raises:
            StoppedError: SIGTERM or Ctrl-C; what has been trained is kept.
        """
        file = LineFile(self.path, _done, _MEND)
        try:
            before = {entry.seed: entry for entry in file.entries if entry.way == way}
            done = []
            for seed in seeds:
                entry = before.get(seed)
                if entry is None:
                    with stoppable("before the end of the retraining"):
                        entry = self._train(way, seed, augment(seed))
                        file.add(asdict(entry))
                done.append(entry)
        finally:
            file.close()
        return _joined(done)

    def _train(self, way: str, seed: int, augment: Augment | None) -> _Done:
        own = int(stream_key(seed, "retrain") >> 1)
        module, start = self.network(self.data, own), time.monotonic()
        try:
            trained = self.training.train(module, self.data, own, augment=augment)
        except TrainingFailedError as error:
            seconds = time.monotonic() - start
            return _Done(way, seed, parameter_count(module), None, None, seconds, str(error))
        seconds, validation = time.monotonic() - start, trained.validation_accuracy
        return _Done(way, seed, parameter_count(module), validation, trained.test_accuracy(), seconds, "")


def _joined(done: list[_Done]) -> Retrained:
    """Means over the seeds; a failure of one is a failure of all."""
    seconds, parameters = sum(entry.seconds for entry in done), done[0].parameters
    failed = next((entry.failure for entry in done if entry.failure), "")
    tests = tuple(entry.test for entry in done if entry.test is not None)
    validations = [entry.validation for entry in done if entry.validation is not None]
    if failed:
        return Retrained(None, parameters, None, None, seconds, failed)
    return Retrained(None, parameters, fmean(validations), fmean(tests), seconds, by_seed=tests)


def _done(content: dict[str, Any]) -> _Done:
    """An entry of the file."""
    if (content["test"] is None) != bool(content["failure"]):
        raise ValueError("a training has either failed or a test")
    for name in ("validation", "test"):
        if content[name] is not None:
            number(content[name], name, 0, 1)
    return _Done(
        text(content["way"], "way"),
        whole(content["seed"], "seed"),
        whole(content["parameters"], "parameters", 0),
        content["validation"],
        content["test"],
        number(content["seconds"], "seconds", 0, _LONGEST),
        text(content["failure"], "failure"),
    )
