"""The transport over iroh (QUIC). No other package imports that library.

Primitives: `endpoint.open_transport`, `keys.IrohKeys`; `patches` mends iroh's generated Python code.
"""
