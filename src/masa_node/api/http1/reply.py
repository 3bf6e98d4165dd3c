"""One answer as it goes out: its head, and its body in one piece, in chunks, or until the connection ends."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Protocol

from masa_node.api.http1.request import HttpRequest
from masa_node.chat.answer import WRITTEN
from masa_node.routing.running.turn_of_writes import Writer

RawHeaders = list[tuple[bytes, bytes]]

_NOT_MODIFIED = 304
PART_BYTES = 256 * 1024  # of a whole answer that are written in one go, and so lie in the loop's transport
# What a head may consist of, so that nothing an LLM or a peer said can begin a header, or an answer, of its own.
_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\x00-\x08\x0a-\x1f\x7f]*\r\n")
_FIRST_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus}


class Written(Protocol):
    """The connection, as an answer sees it."""

    @property
    def is_last(self) -> bool:
        """Will no other request be taken, for the connection's or the server's sake?"""
        ...

    def standard_lines(self) -> bytes:
        """The headers of every answer: whole lines."""
        ...

    async def drained(self, *, is_whole: bool = False) -> None:
        """Returns when the caller reads again, or has left, as one has to that takes little of what `is_whole`."""
        ...

    def reply_is_over(self, *, keep: bool) -> None:
        """All of the answer is written. The next request's turn, if the connection may be kept."""
        ...


@dataclass(slots=True, eq=False)
class Reply:
    """The answer to one request. What is called: `whole`; or `begin`, `piece`, `end`, each awaited before the next.

    What is given is written in this turn of the loop; while the caller does not read, that is put off, and the
    awaitable waits. After the caller has left nothing is written, and nothing raised. An answer that is not ended is
    cut by its connection.

    `amend` is given the headers of the answer when it begins. Raises `ValueError` for a head that is not HTTP. The
    writer's `is_paused` is true while the caller reads too slowly. `keep`: may another request follow?
    """

    request: HttpRequest
    _connection: Written
    _writer: Writer
    is_http10: bool
    keep: bool
    amend: Callable[[RawHeaders], None] | None = None
    has_begun: bool = False
    is_complete: bool = False
    _head: bytes = b""  # it goes out with what follows it: every write is a packet

    @property
    def is_paused(self) -> bool:
        """Would what is given now have to wait for the caller to read?"""
        return self._writer.is_paused and not self.request.is_gone

    @property
    def needs_reset(self) -> bool:
        """Would a caller that reads until the connection is closed take what it has for the whole answer?"""
        return self.is_http10 and self.has_begun and not self.is_complete

    def whole(self, status: int, headers: RawHeaders, body: bytes) -> Awaitable[None]:
        """One complete answer. After a 304 nothing but its head is sent: its length is that of what is not sent.

        Of a large one not all is written at once: the loop's transport copies what it is given.
        """
        headers.append((b"content-length", b"%d" % len(body)))
        lines = self._lines_of(headers)
        if len(body) > PART_BYTES:
            return self._in_parts(status, lines, body)
        if self.is_paused:
            return self._when_drained(partial(self.whole_now, status, lines, body))
        self.whole_now(status, lines, body)
        return WRITTEN

    def whole_now(self, status: int, lines: bytes, body: bytes, most_bytes: int | None = None) -> None:
        """As `whole`, to a caller that reads; `most_bytes` of the body, if not all of it.

        `lines` are those of all headers, its length among them, which nobody has to `amend`.
        """
        if self.request.is_gone:
            return
        has_body = self.request.head.method != "HEAD" and status != _NOT_MODIFIED
        self._writer.write(self._head_of(status, lines, b"\r\n", body[:most_bytes] if has_body else b""))
        if most_bytes is None or not has_body:
            self.is_complete = True
            self._connection.reply_is_over(keep=self.keep)

    def begin(self, status: int, headers: RawHeaders) -> Awaitable[None]:
        """An answer of unknown length begins. Its head is written with its first piece."""
        if self.is_paused:
            return self._when_drained(partial(self._begin, status, headers))
        self._begin(status, headers)
        return WRITTEN

    def piece(self, data: bytes) -> Awaitable[None]:
        """More of it, at least a byte."""
        writer = self._writer
        if self.request.is_gone:
            return WRITTEN
        if writer.is_paused:
            return self._when_drained(partial(self.piece, data))
        head, self._head = self._head, b""
        writer.write(head + data if self.is_http10 else b"%b%x\r\n%b\r\n" % (head, len(data), data))
        return WRITTEN

    @property
    def chunks(self) -> Writer | None:
        """What more of it may be written to, chunks and all, once its first piece was given; None where it has none."""
        return self._writer if self.has_begun and not (self.is_http10 or self._head) else None

    def end(self) -> Awaitable[None]:
        """That was all of it."""
        if self.is_paused:
            return self._when_drained(self._end)
        self._end()
        return WRITTEN

    def flush(self) -> None:
        """Write the head, if no piece followed it: the answer is about to be cut."""
        if self._head and not self.request.is_gone:
            self._writer.write(self._head)
        self._head = b""

    async def _drained(self, *, is_whole: bool = False) -> None:
        while self.is_paused:
            await self._connection.drained(is_whole=is_whole)

    async def _when_drained(self, write: Callable[[], object]) -> None:
        await self._drained()
        write()

    async def _in_parts(self, status: int, lines: bytes, body: bytes) -> None:
        """Others have their turn between two of them. What the caller has yet to take is held by whoever gives it."""
        await self._drained()
        self.whole_now(status, lines, body, PART_BYTES)
        if self.is_complete:  # without its body
            return
        for at in range(PART_BYTES, len(body), PART_BYTES):
            await asyncio.sleep(0)
            await self._drained(is_whole=True)
            if self.request.is_gone:
                return
            self._writer.write(body[at : at + PART_BYTES])
        if not self.request.is_gone:
            self._complete()

    def _begin(self, status: int, headers: RawHeaders) -> None:
        last = b"\r\n" if self.is_http10 else b"transfer-encoding: chunked\r\n\r\n"
        self._head = self._head_of(status, self._lines_of(headers), last)

    def _end(self) -> None:
        if self.request.is_gone:
            return
        if not self.is_http10:
            self._writer.write(self._head + b"0\r\n\r\n")
        elif self._head:
            self._writer.write(self._head)
        self._head = b""
        self._complete()

    def _complete(self) -> None:
        self.is_complete = True
        self._connection.reply_is_over(keep=self.keep)

    def _lines_of(self, headers: RawHeaders) -> bytes:
        if self.amend is not None:
            self.amend(headers)
        return lines_of(headers)

    def _head_of(self, status: int, lines: bytes, last: bytes, body: bytes = b"") -> bytes:
        self.has_begun = True
        # Of a body that still comes nobody can tell where it ends, and the next request begins.
        self.keep = self.keep and self.request.is_whole and not self._connection.is_last
        end = last if self.keep else b"connection: close\r\n" + last
        first = _FIRST_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        return b"".join((first, self._connection.standard_lines(), lines, end, body))


def lines_of(headers: RawHeaders) -> bytes:
    """As they are sent. Raises `ValueError` where one is none."""
    return b"".join(map(_line_of, headers))


@lru_cache(maxsize=512)
def _line_of(header: tuple[bytes, bytes]) -> bytes:
    line = b"%b: %b\r\n" % header
    if _LINE.fullmatch(line) is None:
        raise ValueError("a header holds what no header can")
    return line
