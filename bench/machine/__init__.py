"""On what the figures are taken: the machine, the Python, and how quiet it is."""
