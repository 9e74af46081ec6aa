"""By what parameters are known again, whatever is noted beside them."""

from hashlib import sha256
from pathlib import Path

from safetensors.torch import save

from fphi.run.disk.files import read_sealed

__all__ = ["parameters_mark"]


def parameters_mark(path: Path) -> str:
    """A digest of the tensors in a file that `fphi.run.disk.checkpoint.save_parameters` wrote.

    Raises:
        FphiError: no such file, or a damaged one.
    """
    tensors, _ = read_sealed(path)
    return sha256(save(tensors)).hexdigest()[:16]
