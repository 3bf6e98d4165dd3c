"""The HTTP door: an ASGI app. Chat goes through plain ASGI (`chat.py`), everything else through Starlette.

Import `app` to make the application, `http1.protocol` for the hardened HTTP server protocol.
"""
