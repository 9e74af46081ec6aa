"""What makes a training a run: loops, folders, executors, progress."""
