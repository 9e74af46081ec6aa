"""``python -m fphi`` is the command ``fphi``."""

import sys

from fphi.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
