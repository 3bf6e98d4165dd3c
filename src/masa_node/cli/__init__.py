"""The `masa-node` command: argv to settings to node, and what people read.

Primitives: `main.app` (the commands), `peers` and `stake` (those about peers and stake), `output` (how results are
written).
"""
