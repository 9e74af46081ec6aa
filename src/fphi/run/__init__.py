"""Across-task training and testing."""

from fphi.run.evaluate import Evaluation, calibrate_on, evaluate

__all__ = ["Evaluation", "calibrate_on", "evaluate"]
