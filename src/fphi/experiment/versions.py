"""The versions that a number was taken with."""

import platform

import torch

from fphi import __version__

__all__ = ["versions"]


def versions() -> dict[str, str]:
    """Of fphi, torch and Python."""
    return {"fphi": __version__, "torch": torch.__version__, "python": platform.python_version()}
