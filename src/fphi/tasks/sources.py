"""The data sets that classes are read from, by their names."""

from pathlib import Path

from fphi.errors import DataError
from fphi.tasks.folder import ImageMode, has_split_folders, load_folder
from fphi.tasks.hershey import SIZE as HERSHEY_SIZE
from fphi.tasks.hershey import load_hershey
from fphi.tasks.omniglot import load_omniglot
from fphi.tasks.pool import ClassPool

__all__ = ["GIVEN", "NAMED", "WITHOUT_PROTOCOL", "default_protocol", "load_pool"]

WITHOUT_PROTOCOL = ("sine", "quadratics", "digits", "mnist", "fonts", "tables")
"""Those that say themselves how tasks are made of them."""
NAMED = ("omniglot", "hershey", *WITHOUT_PROTOCOL)
"""The data sets that go by a name; every other is the path of a folder or zip."""
GIVEN = "given in Python"
"""What a run records in place of a name, where its tasks were a `TaskDistribution` that has none."""


def load_pool(
    name: str,
    data_root: Path | str | None = None,
    image_size: int = 28,
    mode: ImageMode = "grey",
) -> ClassPool:
    """Return all classes of an image data set, undivided.

    Args:
        name: "omniglot", "hershey", or the path of a folder or zip of images.
        data_root: where data sets are; see `load_omniglot`.
        image_size: pixels of a side.
        mode: channels, for a path.

    Raises:
        DataError: the data are missing or damaged, or have no images of that size.
    """
    if name == "omniglot":
        return load_omniglot(data_root, image_size)
    if name == "hershey":
        if image_size != HERSHEY_SIZE:
            raise DataError(
                f"image size {image_size}: the embedded characters have {HERSHEY_SIZE}; leave it out"
            )
        return load_hershey()
    if not Path(name).exists():
        raise DataError(f"data {name!r} are neither {', '.join(NAMED)} nor an existing folder or zip")
    return load_folder(name, image_size, mode)


def default_protocol(name: str, pool: ClassPool) -> str:
    """Return the protocol that is meant where none is named."""
    known = {"omniglot": "P-MAML", "hershey": "alphabet"}
    return known.get(name, "folders" if has_split_folders(pool) else "fraction")
