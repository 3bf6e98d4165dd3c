"""uvicorn's cycle of one request and its answer, with the ends that it does not know."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from masa_node.api.refusals import STOPPING

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent


class Writer:
    """The transport as answers see it: closing it is the connection's business."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


class Cycle(RequestResponseCycle):
    """One request and its answer."""

    def caller_has_gone(self) -> None:
        """Nobody is there any more to be answered."""
        if not self.response_complete:
            self.disconnected = True
        self.waiting_for_100_continue = False
        self.message_event.set()

    async def send_500_response(self) -> None:
        """The application was cancelled before it answered, which happens only at the end of the node."""
        self.response_started = self.response_complete = True
        self.transport.write(STOPPING)
        self.transport.close()


class CycleUntilClose(Cycle):
    """HTTP/1.0: no chunks. An answer of unknown length ends with the connection."""

    _until_close = False

    @property
    def is_cut(self) -> bool:
        """Does the end of the connection come before the end of the answer?"""
        return self.response_started and not self.response_complete

    async def send(self, message: "ASGISendEvent") -> None:
        """See ASGI."""
        if message["type"] == "http.response.start":
            self._until_close = all(name.lower() != b"content-length" for name, _ in message.get("headers", []))
            if self._until_close:
                self.chunked_encoding = False
        elif message["type"] == "http.response.body" and self._until_close:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)
