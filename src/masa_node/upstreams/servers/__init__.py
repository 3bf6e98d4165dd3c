"""The kinds of LLM servers, one file each: where their endpoints are, how they list their models.

Primitives: `server.Server` (what an `Upstream` must know of a kind), `listing` (lists of models in every shape),
`missing` (what a 404 means).
"""
