"""From a few examples of one's own to answers: fit, predict, save."""

from fphi.few_shot.classifier import FewShotClassifier

__all__ = ["FewShotClassifier"]
