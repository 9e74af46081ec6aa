"""What a configuration file does not start by itself: only the command opens connections and downloads."""

from collections.abc import Collection
from pathlib import Path

from fphi.errors import FphiError
from fphi.tasks.omniglot import find_omniglot

__all__ = ["require_asked", "require_data"]

_ARCHIVES = ("images_background", "images_evaluation")


def require_asked(path: Path, values: dict[str, object], asked: Collection[str]) -> None:
    """Raise if the options of a file would open a connection or start a download that nobody asked for.

    Args:
        path: of the file, which may have come with somebody else's run.
        values: its options.
        asked: the options that the command itself gives.

    Raises:
        FphiError: they would; the message says what to add to the command.
    """
    address = values.get("ray_address")
    if values.get("executor") == "ray" and "executor" not in asked:
        raise FphiError(
            f"{path} has its candidates evaluated on Ray, which opens connections only when you ask for it: "
            "add --executor ray, or --executor in-process"
        )
    if address is not None and "ray_address" not in asked:
        raise FphiError(
            f"{path} names a Ray cluster, to which nothing connects unless you name it: "
            f"add --ray-address {str(address)[:100]}, or take the line out"
        )
    if "tasks" not in asked:
        require_data(path, values.get("tasks"), values.get("data_root"))


def require_data(path: Path, tasks: object, data_root: object) -> None:
    """Raise if the tasks that a file names would have to be downloaded."""
    root = data_root if isinstance(data_root, str) else None
    if tasks == "omniglot" and any(find_omniglot(part, root) is None for part in _ARCHIVES):
        raise FphiError(
            f"{path} is about omniglot, which is not here and is downloaded only when you ask for it: name "
            "its folder by --data-root or FPHI_DATA, or give --tasks omniglot"
        )
