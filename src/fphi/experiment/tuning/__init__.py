"""Hyperparameters chosen on development tasks: many trainings, of which the best says its command."""
