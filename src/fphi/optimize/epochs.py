"""What the searches in a supernet tell of each epoch."""

__all__ = ["EpochRow"]

# Numbers by name.
EpochRow = dict[str, float]
