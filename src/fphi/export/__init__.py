"""What a run has learned, in a file that needs no fphi."""

from fphi.export.html import export_html
from fphi.export.onnx import export_onnx

__all__ = ["export_html", "export_onnx"]
