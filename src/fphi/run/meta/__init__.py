"""Meta-training and testing: the outer loop, its ranks and logs."""
