"""Searches: the loop of ask and tell, its history, executors and tables."""
