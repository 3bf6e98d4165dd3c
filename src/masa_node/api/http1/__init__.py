"""The HTTP/1.1 server: connections, what callers may send over them, and how answers are written.

Primitives: `connections.Connections` (all of one server), `protocol.BoundedHttpProtocol` (one connection),
`reader.RequestReader` (bytes to requests), `request.HttpRequest` and `reply.Reply` (all that an application sees).
"""
