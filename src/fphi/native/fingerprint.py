"""What the kernels were compiled from, in 16 digits that each binary is given and asked for.

`setup.py` and ``make sanitize`` run this file by itself, where fphi is not installed yet.
"""

import hashlib
from pathlib import Path

__all__ = ["fingerprint"]


def fingerprint() -> str:
    """A digest of the sources' names and contents."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).with_name("kernels").glob("*.[ch]pp")):
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)} ".encode() + content)
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    print(fingerprint())
