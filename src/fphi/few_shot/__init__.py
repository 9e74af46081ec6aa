"""From a few examples of one's own to answers: fit, predict, save."""

from fphi.few_shot.classifier import FewShotClassifier
from fphi.few_shot.own_data import FittedData, Prediction, fit_data, predict_files

__all__ = ["FewShotClassifier", "FittedData", "Prediction", "fit_data", "predict_files"]
