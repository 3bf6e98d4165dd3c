"""The few parts of Ethereum that stake needs.

Primitives: `crypto` (keccak-256, addresses, signatures), `abi` (calls and answers as bytes), `json_rpc` (as bytes),
`rpc.Rpc` (several servers, asked in their order).
"""
