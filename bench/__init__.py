"""The benchmark: what the node costs, measured against nothing in between and against nginx. See README.md.

Run it with ``python -m bench`` from the project's root; nothing here is imported by the node.
"""
