"""Runs that train one network on one large task, and learn meanwhile which examples count."""
