"""The order of the tutorials on their page."""

__all__ = ["in_order"]

_TUTORIALS = (
    "own_folder.py",
    "one_text.py",
    "one_sound.py",
    "own_backbone.py",
    "own_method.py",
    "resume_and_compare.py",
    "export.py",
)


def in_order(name: str) -> int:
    """The place of a tutorial among the others."""
    return _TUTORIALS.index(name)
