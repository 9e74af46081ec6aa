"""What a run has learned, in a file that needs no fphi."""
