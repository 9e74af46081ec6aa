"""The errors that a user can cause and mend; everything else is a defect."""

__all__ = ["DataError", "FphiError"]


class FphiError(Exception):
    """One line for the user: what was wrong, with the value, and what to do about it."""


class DataError(FphiError):
    """A data set is missing, damaged, or too small for what was asked of it."""
