"""Damage that follows the code it reaches, for as long as one likes; no part of the test suite.

    pip install atheris --target elsewhere
    PYTHONPATH=src:tests:elsewhere python tests/fuzz/with_atheris.py png -runs=5000 -rss_limit_mb=2048 -timeout=30

The first word is a kind of file (see ``file_formats.FORMATS``), the others are those of libFuzzer. It ends at
the first input that is neither read nor refused.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    """Change one kind of file until something else than an `FphiError` comes of it."""
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

    kind, *options = sys.argv[1:]
    with atheris.instrument_imports(
        include=["fphi.tasks", "fphi.run.disk", "fphi.report.files", "PIL", "zipfile"]
    ):
        from file_formats import FORMATS, whole
        from fphi.errors import FphiError

    with tempfile.TemporaryDirectory() as made:
        path, corpus = Path(made) / FORMATS[kind].name, Path(made) / "corpus"
        corpus.mkdir()
        path.parent.mkdir(parents=True, exist_ok=True)
        (corpus / "whole").write_bytes(whole(kind, Path(made)))

        def one(data: bytes) -> None:
            path.write_bytes(data)
            with contextlib.suppress(FphiError):
                FORMATS[kind].read(path)

        atheris.Setup([sys.argv[0], *options, str(corpus)], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
