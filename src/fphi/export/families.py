"""Which learners there is a graph of."""

from fphi.errors import FphiError
from fphi.export.exportable import Exportable, exportable_comparison
from fphi.export.head import exportable_head
from fphi.learnable import GradientLearner, LearningAlgorithm, NILLearner

__all__ = ["exportable"]


def exportable(learner: LearningAlgorithm, input_shape: tuple[int, ...], name: str = "it") -> Exportable:
    """The learner, in evaluation mode, as plain operations.

    Args:
        learner: shares its parameters.
        input_shape: of an example.
        name: what messages call it.

    Raises:
        FphiError: there are none for it.
    """
    found = exportable_comparison(learner, input_shape) or exportable_head(learner)
    if found is not None:
        return found
    why = "of which no ONNX model is made"
    if isinstance(learner, GradientLearner) and not isinstance(learner, NILLearner):
        why = (
            "whose inner steps take a gradient through the network, which torch's exporter refuses to write: "
            "anil, which adapts the head alone, can be exported"
        )
    raise FphiError(f"{name} is a {type(learner).__name__}, {why}; fphi.load gives it in Python")
