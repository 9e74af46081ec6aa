"""``python -m fphi`` is the command ``fphi``."""

import sys

from fphi.cli.main import main

sys.exit(main())
