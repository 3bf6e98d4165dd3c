"""Connections to other nodes: keys, links, streams, and addresses.

Primitives: `interfaces.Transport`, `interfaces.Link`, `interfaces.Stream` (what the packages above use);
`iroh.endpoint.open_transport` and `memory.MemoryNetwork` (the two implementations); `addresses` (which addresses may
be dialled); `handshake_limits` (which connections may shake hands); `lan.LanDiscovery`.
"""
