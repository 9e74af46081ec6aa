"""A service that shows runs, as a logger with a name: what all of them have in common."""

import errno
import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from fphi.errors import FphiError
from fphi.run.disk.files import Json, disk_errors, parse_json, write_text

__all__ = ["NamedLogger", "keep", "kept", "markdown"]

_KEPT = "loggers.json"
"""What a run is called where it is logged, so that one that goes on is the same there."""


def kept(out: Path) -> dict[str, Json]:
    """What the loggers of a run have kept in its folder; {} if nothing, or nothing that can be read."""
    path = out / _KEPT
    if not path.is_file():
        return {}
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def keep(out: Path, **values: Json) -> None:
    """Add to what they have kept."""
    write_text(out / _KEPT, json.dumps({**kept(out), **values}) + "\n")


class NamedLogger(ABC):
    """A service that shows runs: told of a run's options, of each row of its log, and of what it comes to.

    Whatever the service raises is an `FphiError`, and the variables of the environment that it sets for
    itself are gone after each call: the next run, and what else the caller does with it, has its own.

    Args:
        out: the run's folder, where it keeps what is not sent anywhere.
        step: meta-steps done, where the run goes on.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    """The modules of its extra."""

    def __init__(self, out: Path, step: int) -> None:
        self.out, self.step = out, step
        self.is_new = step == 0
        with self._asked():
            self.logger = self.made()

    @abstractmethod
    def made(self) -> Any:
        """Lightning's logger; ``is_new`` says whether the options have yet to be told."""

    @abstractmethod
    def picture(self, name: str, image: Image.Image) -> None:
        """Show one."""

    @abstractmethod
    def table(self, header: Sequence[str], body: Sequence[Sequence[str]]) -> None:
        """Show the table of results."""

    def describe(self, options: Mapping[str, Any]) -> None:
        """Tell the run's options."""
        with self._asked():
            self.logger.log_hyperparams(dict(options))

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Tell numbers of a step."""
        with self._asked():
            self.logger.log_metrics(metrics, step)

    def conclude(
        self, pictures: Mapping[str, bytes], header: Sequence[str], body: Sequence[Sequence[str]]
    ) -> None:
        """Tell what came of the run.

        Args:
            pictures: PNG files by name.
            header: of the table of results.
            body: its lines.
        """
        with self._asked():
            for name, png in pictures.items():
                self.picture(name, Image.open(io.BytesIO(png)).convert("RGB"))
            self.table(header, body)

    def save(self) -> None:
        """Put on disk what has been told so far."""
        with self._asked():
            self.logger.save()

    def finalize(self, status: str) -> None:
        """No more is told."""
        with self._asked():
            self.logger.finalize(status)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """The service has the word."""
        prefix = f"{self.name.upper()}_"
        before = {key: value for key, value in os.environ.items() if key.startswith(prefix)}
        try:
            yield
        except FphiError:
            raise
        except Exception as error:  # the service's, which may be anything
            if isinstance(error, OSError) and _is_of_the_disk(error):
                with disk_errors(self.out):
                    raise
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise FphiError(
                f"the logger {self.name} failed ({reason}); check its service and its variables ({prefix}…), "
                "or leave it out; a run that has begun goes on with --resume"
            ) from error
        finally:
            for key in [key for key in os.environ if key.startswith(prefix) and key not in before]:
                del os.environ[key]
            os.environ.update(before)

    def _known(self) -> str | None:
        """What the run is called there, if it has been there."""
        known = kept(self.out).get(self.name)
        return known if isinstance(known, str) else None


def markdown(header: Sequence[str], body: Any) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def _is_of_the_disk(error: OSError) -> bool:
    """Rather than of a connection, which names no file."""
    return error.filename is not None or error.errno in (errno.ENOSPC, errno.EDQUOT)
