"""The errors that a user can cause and mend; everything else is a defect."""

__all__ = ["DataError", "FphiError", "printable"]


class FphiError(Exception):
    """One line for the user: what was wrong, with the value, and what to do about it."""


class DataError(FphiError):
    """A data set is missing, damaged, or too small for what was asked of it."""


def printable(text: str) -> str:
    r"""The text with its control characters spelled out: a name from a file must not steer the terminal.

    >>> printable("\x1b[2Jgone")
    '\\x1b[2Jgone'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
