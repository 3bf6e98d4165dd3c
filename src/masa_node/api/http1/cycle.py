"""uvicorn's cycle of one request and its answer, with the ends that it does not know."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from masa_node.api.http1.raw_responses import STOPPING

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent


class Writer:
    """The transport as answers see it: a head goes out with what follows it, closing is the connection's business.

    Every write is a packet, and a fifteenth of the cost of a small answer.
    """

    __slots__ = ("_close", "_head", "_holds_next", "_write", "is_closing")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._write = transport.write
        self._close = close
        self._head = b""
        self._holds_next = False
        self.is_closing = transport.is_closing

    def hold_next(self) -> None:
        """Keep what is written next for the write after it."""
        self._holds_next = True

    def write(self, data: bytes) -> None:
        """Write it, after the head that waited for it."""
        if self._holds_next:
            self._holds_next = False
            self._head = data
        elif self._head:
            head, self._head = self._head, b""
            self._write(head + data)
        elif data:
            self._write(data)

    def flush(self) -> None:
        """Write the head that waited, if nothing followed it (an answer without a body)."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """The answer is over."""
        self.flush()
        self._close()

    def let_go(self) -> None:
        """The connection is gone, and has no business left: forget it."""
        self._close = _nothing


def _nothing() -> None:
    """A connection that is gone needs no closing."""


class Cycle(RequestResponseCycle):
    """One request and its answer."""

    _takes_chunks = False

    async def send(self, message: "ASGISendEvent") -> None:
        """See ASGI."""
        writer = cast("Writer", self.transport)
        body = message.get("body")
        # Nearly every message is a piece of a stream to a caller that reads: that way is short.
        if (
            body
            and message.get("more_body")
            and self._takes_chunks
            and not (self.flow.write_paused or self.disconnected)
        ):
            piece = cast("bytes", body)
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            return
        if message["type"] == "http.response.start":
            if self.more_body:  # nobody can tell where the next request begins, or when
                self.keep_alive = False
            writer.hold_next()
            await super().send(message)
            self._takes_chunks = bool(self.chunked_encoding) and self.scope["method"] != "HEAD"
            return
        await super().send(message)
        self._takes_chunks = self._takes_chunks and not self.response_complete
        writer.flush()

    def caller_has_gone(self) -> None:
        """The caller has disconnected."""
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
