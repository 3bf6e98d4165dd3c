"""The HTTP/1.1 server protocol: what a caller can send before there is a request, bounded and strict.

Primitives: `protocol.BoundedHttpProtocol` (one connection), `cycle.Cycle` (one request and its answer), `raw_responses`
(answers to what is no request yet), `request_target.path_and_query`.
"""
