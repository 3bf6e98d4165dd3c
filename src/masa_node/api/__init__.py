"""The HTTP side: its own small server, the chat endpoints, and everything that is only read.

Primitives: `app.App` (guard, routes, the end of every exception), `guard.Guard` (Host, Origin, keys),
`chat.ChatEndpoints`, `routes.NodeView` (what the other endpoints show), `http1` (the HTTP/1.1 server).
"""
