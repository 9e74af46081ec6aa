"""Where a fitted model may be written: over another model, and over nothing else of the user's."""

from pathlib import Path

from fphi.errors import FphiError
from fphi.run.disk.files import disk_errors, read_sealed

__all__ = ["make_ready"]


def make_ready(out: Path, data: Path) -> None:
    """Make the folder of a model's file before the work begins.

    Args:
        out: the file.
        data: what will be learned from.

    Raises:
        FphiError: there can be no such file, or one is there that is no model of a few examples.
    """
    with disk_errors(out):
        if out.exists():
            _require_replaceable(out, data)
        out.parent.mkdir(parents=True, exist_ok=True)


def _require_replaceable(out: Path, data: Path) -> None:
    if data.exists() and out.samefile(data):
        raise FphiError(f"{out} is the data itself; give the name of another file to write")
    if not out.is_file():
        raise FphiError(f"{out} is no ordinary file; give the name of one to write")
    if out.stat().st_size and not _is_classifier(out):
        raise FphiError(f"{out} is there, and no model that fphi fit wrote; give another name, or remove it")


def _is_classifier(path: Path) -> bool:
    try:
        _, content = read_sealed(path)
    except FphiError:
        return False
    return isinstance(content, dict) and content.get("kind") == "classifier"
