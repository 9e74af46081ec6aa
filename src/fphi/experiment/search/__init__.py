"""A search as a run: what it searches for, its steps, its result."""
