"""uvicorn's HTTP protocol with bounds: size and time of a request's head, number of headers and of body chunks.

uvicorn's httptools protocol has none of these (a head may grow and a connection may stay silent for ever), so an
attacker could hold memory and sockets for nothing. THREATS: gzip bombs and tiny chunks, request smuggling.
"""

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES = 64 * 1024  # nginx: 4 x 8 kB, Apache: 100 x 8 kB
MAX_HEADERS = 128  # Apache: 100
HEAD_TIMEOUT_S = 15.0
# A client library sends one chunk a socket write; this many tiny ones are an attack.
FREE_CHUNKS = 2_048
MIN_CHUNK_BYTES = 64
# After an early answer (413, 401) the rest of the body is read and dropped, so that the client gets to read the answer.
MAX_DROPPED_BYTES = 64 * 1024 * 1024

_BAD_REQUEST = (
    b'{"error":{"message":"The request is not valid HTTP/1.1, or its head is too large.",'
    b'"type":"invalid_request_error","param":null,"code":"bad_request"}}'
)


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. Closes it on anything that goes over a bound."""

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _chunks = 0
    _chunk_bytes = 0
    _dropped_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller connected: the first head has to come soon."""
        super().connection_made(transport)
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        super().data_received(data)
        if not self._in_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse()
        elif self._head_timer is None:
            self._start_head_timer()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of the head. Raising here makes the parser fail, and the server answer 400."""
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            raise ValueError("too many headers")

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._stop_head_timer()
        self._in_head = False
        self._head_bytes = self._chunks = self._chunk_bytes = self._dropped_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body. Raising makes the server answer 400."""
        self._chunks += 1
        self._chunk_bytes += len(body)
        if self._chunks > FREE_CHUNKS and self._chunk_bytes < self._chunks * MIN_CHUNK_BYTES:
            raise ValueError("too many tiny chunks")
        if self.cycle.response_complete:
            self._dropped_bytes += len(body)
            if self._dropped_bytes > MAX_DROPPED_BYTES:
                raise ValueError("too much after the answer")
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be parsed, unless an answer is already on its way, and close."""
        del msg
        self._refuse()

    def _refuse(self) -> None:
        if self.transport.is_closing():
            return
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first request, whatever uvicorn says
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(
                b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(_BAD_REQUEST), _BAD_REQUEST)
            )
        self.transport.close()

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
