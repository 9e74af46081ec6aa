"""The errors that a user can cause and mend; everything else is a defect."""

__all__ = ["DataError", "FphiError", "printable"]


_LONGEST_WORD, _LONGEST = 400, 2000


class FphiError(Exception):
    """One line for the user: what was wrong, with the value, and what to do about it.

    It is short whatever was given: of a word or a message that has no end the middle is left out.
    """

    def __init__(self, message: str = "") -> None:
        words = str(message).split(" ")
        super().__init__(_cut(" ".join(_cut(word, _LONGEST_WORD) for word in words), _LONGEST))


class DataError(FphiError):
    """A data set is missing, damaged, or too small for what was asked of it."""


def printable(text: str) -> str:
    r"""The text with its control characters spelled out: a name from a file must not steer the terminal.

    >>> printable("\x1b[2Jgone")
    '\\x1b[2Jgone'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-most // 4 :]}"
