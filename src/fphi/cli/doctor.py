"""``fphi doctor``: what this installation computes with."""

import platform

import torch

from fphi import __version__, native
from fphi.experiment.parser import Parser

__all__ = ["run"]


def run(arguments: list[str]) -> int:
    """Print the versions, the devices, and whether the native kernels are in use."""
    Parser("doctor", "Show what this installation computes with.").read(arguments)
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    lines = {
        "fphi": __version__,
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "PyTorch": torch.__version__,
        "threads": torch.get_num_threads(),
        "convolutions": native.describe(),
        "other devices": ", ".join(devices) or "none",
    }
    for name, value in lines.items():
        print(f"{name:14} {value}")
    return 0
