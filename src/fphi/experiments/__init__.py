"""The lecture's experiments: each a few trainings, and what is measured of them, in one file."""

from fphi.experiments.base import Experiment, Measured
from fphi.experiments.parts.scale import Scale
from fphi.experiments.parts.trainings import Kind, Planned, StoppedError, Trained
from fphi.experiments.running import run
from fphi.experiments.table import experiment, experiments

__all__ = [
    "Experiment",
    "Kind",
    "Measured",
    "Planned",
    "Scale",
    "StoppedError",
    "Trained",
    "experiment",
    "experiments",
    "run",
]
