"""A run as a value: what the command line can do, by the same names."""

from fphi.experiment.comparison import compare
from fphi.experiment.evaluation import evaluate
from fphi.experiment.loading import load
from fphi.experiment.seeds import train_seeds
from fphi.experiment.training import train
from fphi.experiment.tuning.run import tune

__all__ = ["compare", "evaluate", "load", "train", "train_seeds", "tune"]
