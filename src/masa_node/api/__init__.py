"""The HTTP side: an ASGI app. Chat goes through plain ASGI, everything else through Starlette.

Primitives: `app.App` (guard, routes, the end of every exception), `guard.Guard` (Host, Origin, keys),
`chat.ChatEndpoints`, `routes.NodeView` (what the other endpoints show), `http1` (the HTTP/1.1 server protocol).
"""
