"""Bodies of requests: what routing needs to know of them, and the few changes that are made to their bytes."""
