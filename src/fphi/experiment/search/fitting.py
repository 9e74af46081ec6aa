"""What a search refuses before it begins."""

from collections.abc import Iterator
from contextlib import contextmanager

from fphi.errors import FphiError
from fphi.experiment.config import Config

__all__ = ["searchable"]


@contextmanager
def searchable(config: Config) -> Iterator[None]:
    """What an optimizer or a controller refuses came from the user: an option out of its range."""
    try:
        yield
    except ValueError as error:
        name = config.name
        raise FphiError(f"{name} cannot be set up so ({error}); see fphi search {name} --help") from error
