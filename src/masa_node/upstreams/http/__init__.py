"""HTTP/1.1 to LLM servers. Nothing else in the node speaks HTTP to anyone.

Primitives: `client.HttpClient` (a pool of kept-alive connections), `connection` (one of them), `tunnel` and `proxies`
(the way through a proxy), `inflating` (compressed answers), `urls` (as people write them).
"""
