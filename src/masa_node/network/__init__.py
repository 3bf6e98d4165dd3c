"""Everything about peers: who they are, the way to them, what they serve, asking them and serving them.

Import `network` for the whole of it, `memory` for a network without sockets, `transport` for what both are made of.
"""
