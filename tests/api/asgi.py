"""The application alone: one ASGI call, its messages kept."""

import asyncio

from masa_node.api.app import App
from masa_node.api.responses import AsgiMessage

HEADERS = ((b"host", b"localhost"),)


class Called:
    """What the application sent."""

    def __init__(self) -> None:
        self.sent: list[AsgiMessage] = []

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def is_complete(self) -> bool:
        """Was the last part of the body said to be the last?"""
        return bool(self.sent) and not self.sent[-1].get("more_body", True)


async def call(
    app: App, method: str, path: str, body: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = HEADERS
) -> Called:
    """One request, all of whose body is there."""
    called = Called()
    messages: list[AsgiMessage] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> AsgiMessage:
        if not messages:
            await asyncio.Event().wait()  # the caller stays, however long the answer takes on a busy machine
        return messages.pop()

    async def send(message: AsgiMessage) -> None:
        called.sent.append(dict(message))

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
    }
    await app(scope, receive, send)
    return called
