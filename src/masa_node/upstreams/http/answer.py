"""An LLM server's answer, as whoever asked reads it: unpacked where need be, its connection given back."""

import asyncio
from collections.abc import Callable
from functools import lru_cache

from masa_node.chat.errors import BrokenAnswer
from masa_node.chat.request import Headers
from masa_node.routing.provider import Taker
from masa_node.upstreams.http.connection import Connection
from masa_node.upstreams.http.inflating import GZIP_MAGIC, Inflater, codings_in, inflater_for
from masa_node.upstreams.http.target import Target

# After the terminal frame only a trailer may come; a server that then keeps the connection open is not waited for.
AFTER_END_S = 1.0

GiveBack = Callable[[Target, Connection], None]


class HttpAnswer:
    """A response whose head has come. Read it with `read_piece` until b"", or `close()` it."""

    __slots__ = ("_connection", "_first", "_give_back", "_inflater", "_is_plain", "_target", "headers", "status")

    def __init__(self, connection: Connection, target: Target, give_back: GiveBack) -> None:
        self._target = target
        self._give_back = give_back
        self._connection: Connection | None = connection
        self._is_plain = False  # was looked at, and is not compressed
        self._inflater: Inflater | None = None
        self.status = connection.status
        self.headers: Headers = tuple(connection.headers)
        self._first = connection.first_headers

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters; "" if there is none."""
        return _media_type(self._first.get("content-type", ""))

    def header(self, name: str) -> str | None:
        """The first header of this (lower-case) name."""
        return self._first.get(name)

    async def read_piece(self) -> bytes:
        """What has arrived, at least one byte; b"" when the body has ended in good order.

        Raises `BrokenAnswer` when the connection broke or the body is shorter than announced, `EncodedAnswer` where it
        is compressed in a way that cannot be read.
        """
        if self._is_plain:
            return await self._read()
        if self._inflater is None:
            codings = codings_in(self.headers)
            begin = await self._read()
            if len(begin) == 1 and (codings or begin == GZIP_MAGIC[:1]):  # two tell a packed body from another
                begin += await self._read()
            self._inflater = inflater_for(codings, begin)
            if self._inflater is None:
                self._is_plain = True
                return begin
            self._inflater.feed(begin)
        return await self._inflated(self._inflater)

    async def _inflated(self, inflater: Inflater) -> bytes:
        while not (out := inflater.take()):
            piece = await self._read()
            if not piece:
                inflater.finish()
                break
            inflater.feed(piece)
        return out

    async def _read(self) -> bytes:
        connection = self._connection
        if connection is None:
            return b""
        piece = await connection.read_piece()
        if not piece:
            self.finish()
        return piece

    def finish(self) -> None:
        """All of it was taken: its connection may serve another request."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._give_back(self._target, connection)

    def listen(self, came: Callable[[], None] | None, taker: Taker | None = None) -> None:
        """See `Connection`."""
        if self._connection is not None:
            self._connection.listen(came, taker if self._is_plain else None)

    def take_now(self) -> bytes | None:
        """See `Connection`. What is compressed is `read_piece`'s matter."""
        return self._connection.take_now() if self._connection is not None and self._is_plain else b""

    def take_unpacked(self) -> bytes | None:
        """As `take_now`, from the first bytes on. None as well for what may be compressed: `read_piece` can tell."""
        if not self._is_plain and "content-encoding" in self._first and codings_in(self.headers):
            return b""
        self._is_plain = True
        return self._connection.take_now() if self._connection is not None else b""

    def put_back(self, data: bytes) -> None:
        """As if this had not been taken yet."""
        if self._connection is not None:
            self._connection.put_back(data)

    @property
    def is_read(self) -> bool:
        """Has it ended in good order, and was all of it taken?"""
        return self._connection is None or self._connection.is_read

    async def read_trailer(self) -> bytes:
        """What comes after an answer's terminal frame, if it comes soon; b"" also when the connection breaks."""
        try:
            async with asyncio.timeout(AFTER_END_S):
                return await self.read_piece()
        except (TimeoutError, BrokenAnswer):
            self.close()
            return b""

    def close(self) -> None:
        """Give up the rest: the connection is closed at once unless the body was read to its end. Idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@lru_cache(maxsize=16)
def _media_type(text: str) -> str:
    return text.partition(";")[0].strip().lower()
