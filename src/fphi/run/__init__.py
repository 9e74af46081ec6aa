"""Across-task training and testing."""

from fphi.run.built import build
from fphi.run.evaluate import Evaluation, calibrate_on, evaluate

__all__ = ["Evaluation", "build", "calibrate_on", "evaluate"]
