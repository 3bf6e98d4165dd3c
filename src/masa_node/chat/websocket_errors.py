"""The error of a WebSocket where there is none."""

from masa_node.chat.errors import WrongMethod


class NoWebSocket(WrongMethod):
    """The endpoint is not had through a WebSocket. Send the request by POST; Codex does so by itself."""

    code = "no_websocket"
