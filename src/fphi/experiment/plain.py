"""What a file of options may hold."""

__all__ = ["is_group", "is_plain", "is_plain_group"]


def is_plain(value: object) -> bool:
    """Whether it is one value, or a list of such."""
    plain = (str, int, float, bool, type(None))
    return isinstance(value, plain) or (isinstance(value, list) and all(isinstance(v, plain) for v in value))


def is_group(values: object) -> bool:
    """Whether it has names for what it holds."""
    return isinstance(values, dict) and all(isinstance(key, str) for key in values)


def is_plain_group(values: object) -> bool:
    """Whether it has names for plain values."""
    return isinstance(values, dict) and is_group(values) and all(is_plain(v) for v in values.values())
