"""One HTTP/1.1 connection to an LLM server: writes a request, hands out the answer's bytes as they come.

httptools (llhttp, Node.js' parser) does the parsing; this file holds what a connection may be used for and when.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from masa_node.chat.errors import BrokenAnswer, ConnectionClosed, NotAnAnswer, ProviderError
from masa_node.chat.headers import passed_back
from masa_node.chat.kept_errors import fresh
from masa_node.chat.request import Headers
from masa_node.routing.provider import Taker, TakeWhole
from masa_node.routing.running.chunks import ends_with_a_chunk
from masa_node.routing.running.known_head import KnownHead
from masa_node.routing.running.turn_of_reads import LOOK_AFTER, TurnOfReads
from masa_node.routing.running.turn_of_writes import TurnOfWrites, Writer
from masa_node.upstreams.http.heads import HEAD_END, as_text, has_length_twice, with_one_length

# With more unread (and the last read, up to 256 kB) the server waits: a slow caller slows it and fills no memory.
MAX_UNREAD_BYTES = 64 * 1024
MAX_OFFERED_BYTES = 4096  # in one read: of more pieces each costs less where all are parsed and looked at together
# What an LLM's answer head may take, or trailers; the largest seen (OpenAI with rate limits) is 4 kB.
MAX_OVERHEAD_BYTES = 64 * 1024

_INFORMATIONAL = range(100, 200)
_SWITCHING = 101
_OK = 200
_NO_BODY = (204, 304)
# Status, headers, and the first of each name; what the caller gets of them, where nothing is odd about them.
_ParsedHead = tuple[int, Headers, dict[str, str], Headers | None]


class Connection(asyncio.Protocol):
    """A connection that carries one exchange at a time: `send`, `head`, `read_piece` until b"", then again.

    `head_done`: is the head of the answer here? `is_reusable()` tells whether another exchange may follow. Any error
    closes it. Not safe for two tasks.
    """

    __slots__ = (
        *("_asked", "_complete", "_error", "_head_bytes", "_is_between_chunks", "_is_length_twice"),
        *("_keep_alive", "_known", "_listener", "_overhead_bytes", "_parser", "_paused", "_pieces", "_reads", "_rests"),
        *("_take_whole", "_taken", "_taker", "_transport", "_unread_bytes", "_until_eof", "_waiter", "_writer"),
        "_writes",
        *("first_headers", "got_bytes", "head_done", "headers", "idle_since_s", "loop", "status", "was_kept"),
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, writes: TurnOfWrites, reads: TurnOfReads) -> None:
        self.loop = loop
        self._writes = writes
        self._reads = reads
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._listener: Callable[[], None] | None = None
        self._taker: Taker | None = None
        self._take_whole: TakeWhole | None = None
        self._taken: Callable[[], None] | None = None
        self.idle_since_s = 0.0
        self._known: KnownHead[_ParsedHead] = KnownHead(any_date=True)
        self._asked = self._rests = False  # `_rests`: see `TurnOfReads`
        self.was_kept = False  # did an exchange go before this one?
        self._parser: httptools.HttpResponseParser | None = _lenient_parser(self)
        # What follows is so again once an answer was read to its end and another exchange may follow, but for what
        # `renew` says.
        self._pieces: list[bytes] = []
        self._unread_bytes = 0
        self._overhead_bytes = 0
        self.head_done = False
        self._head_bytes = b""  # as long as it is not done
        self._is_length_twice = False
        self._is_between_chunks = False
        self._complete = False
        self._keep_alive = False
        self._until_eof = False
        self._paused = False
        self._error: ProviderError | None = None
        self.got_bytes = False
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.first_headers: dict[str, str] = {}  # by name, where one is there more than once

    # ---- what its user does ----

    def send(self, *request: bytes) -> None:
        """Begin an exchange: write a complete request, head and body. Large parts are written as they are, uncopied."""
        self._asked = True
        if self._transport is None:  # it closed between two turns of the loop
            self._fail(ConnectionClosed("the server closed the connection before it was asked."))
        else:
            for part in request:
                self._writer.write(part)

    async def head(self) -> None:
        """Wait for the head of the answer: `status` and `headers` are set then.

        Raises `ConnectionClosed` if the server hung up (`got_bytes` tells whether before a byte came), `NotAnAnswer`.
        """
        while not self.head_done:
            await self._wait()

    async def read_piece(self) -> bytes:
        """What has come of the body, at least a byte; b"" at its end. Raises `BrokenAnswer` if it was cut."""
        while not self._pieces:
            if self._complete:
                return b""
            await self._wait()
        return self._take()

    def listen(self, came: Callable[[], None] | None, taker: Taker | None = None) -> None:
        """From now on call this whenever something has come, or nothing more will. It must not raise.

        Chunks that come whole are offered to `taker` before, those of one read together.
        """
        self._listener, self._taker, self._take_whole, self._taken = came, taker, None, None

    def listen_for_whole(self, came: Callable[[], None], take: TakeWhole, taken: Callable[[], None]) -> None:
        """See `AskedNow`: an answer whose head is known. `taken` is called when it was: another exchange may follow."""
        self._listener, self._take_whole, self._taken = came, take, taken

    def take_now(self) -> bytes | None:
        """What `read_piece` would give; None where it would wait, b"" where it is to tell how the answer ended."""
        if self._pieces:
            return self._take()
        return b"" if self._complete or self._error is not None else None

    def put_back(self, data: bytes) -> None:
        """Have what was taken taken again, before all that came since."""
        self._pieces.insert(0, data)
        self._unread_bytes += len(data)

    @property
    def has_failed(self) -> bool:
        """Will nothing more come, although the answer is not complete?"""
        return self._error is not None

    @property
    def is_read(self) -> bool:
        """Has all of the answer come, and was it taken?"""
        return self._complete and not self._pieces

    def is_reusable(self) -> bool:
        """May another exchange follow on it? Not while the server has yet to read of the last one."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if self._writer.unwritten or transport.get_write_buffer_size():
            return False
        return self._complete and self._keep_alive and self._error is None

    def renew(self) -> bool:
        """Make ready for the next exchange. Only when it `is_reusable()`; false where it was closed since."""
        if self._transport is None or self._transport.is_closing():
            return False
        self.was_kept = True
        self.head_done = self._complete = self._keep_alive = self.got_bytes = False
        self._overhead_bytes = 0
        self.headers = []
        return True

    def close(self) -> None:
        """Close at once; what was not written is dropped. Idempotent."""
        if self._transport is not None:
            self._transport.abort()

    def _take(self) -> bytes:
        pieces, self._pieces, self._unread_bytes = self._pieces, [], 0
        if self._paused:
            self._paused = False
            self._read_on()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _wait(self) -> None:
        if self._error is not None:
            raise fresh(self._error)
        self._waiter = self.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: ProviderError) -> None:
        if self._error is None and not self._complete:
            self._error = error
        self._wake()
        self.close()

    def _count_overhead(self, more_bytes: int) -> None:
        """Bound what is no body: a head, chunk extensions, trailers. The parser keeps it in memory."""
        self._overhead_bytes += more_bytes
        if self._overhead_bytes > MAX_OVERHEAD_BYTES:
            part = "what came after a part" if self.head_done else "the head"
            text = (
                f"{part} of its answer is larger than {MAX_OVERHEAD_BYTES} bytes. Is there an LLM server at that URL?"
            )
            self._fail(self._wrong(text))

    def _wrong(self, message: str) -> ProviderError:
        return BrokenAnswer(message) if self.head_done else NotAnAnswer(message)

    # ---- what the event loop calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._writer = Writer(self._transport, self._writes)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        reads = self._reads
        reads.count = count = reads.count + 1
        if (count >= LOOK_AFTER or reads.resting) and reads.has_to_rest(self) and self._transport is not None:
            self._rests = True
            self._transport.pause_reading()
        if self._is_between_chunks and (taker := self._taker) is not None and len(data) < MAX_OFFERED_BYTES:
            data = taker.take(data)  # between two chunks the parser does not have to see what was taken
            if not data:
                return
        body = b"" if self.got_bytes or not self._asked else self._known.body_of(data)
        if body:
            take_whole, passed = self._take_whole, self._known.parsed[3]
            if take_whole is not None and passed is not None and take_whole(passed, body):
                self._was_taken()
                return
            self._came_whole(body)
        else:
            self._parse(data)
        if self._listener is not None:
            self._listener()

    def _was_taken(self) -> None:
        taken, self._listener, self._take_whole, self._taken = self._taken, None, None, None
        self._keep_alive = True
        self._completed()
        if taken is not None:
            taken()

    def _came_whole(self, body: bytes) -> None:
        self.status, headers, self.first_headers, _ = self._known.parsed
        self.headers = [*headers]
        self.head_done = self.got_bytes = self._keep_alive = True
        self.on_body(body)
        self._completed()

    def go_on(self) -> None:
        """See `TurnOfReads`."""
        self._rests = False
        self._read_on()

    def _read_on(self) -> None:
        if self._transport is not None and not (self._paused or self._rests):
            self._transport.resume_reading()

    def _parse(self, data: bytes) -> None:
        if not self._asked or self._parser is None:  # nothing was asked: whatever this is, it is no answer
            self.close()
            return
        self.got_bytes = True
        self._is_between_chunks = False
        unread_bytes = self._unread_bytes
        try:
            if self.head_done:
                self._parser.feed_data(data)
            else:
                self._feed_head(self._parser, data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self._fail(
                self._wrong(f"what came is not valid HTTP ({type(exc).__name__}). Is there an LLM server at that URL?")
            )
            return
        if self._complete:
            return
        if self._unread_bytes == unread_bytes:
            self._count_overhead(len(data))
        else:
            self._overhead_bytes = 0
            self._is_between_chunks = ends_with_a_chunk(data, self._pieces[-1])
            if self._unread_bytes > MAX_UNREAD_BYTES and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()

    def _feed_head(self, parser: httptools.HttpResponseParser, data: bytes) -> None:
        """Hand it to the parser, which takes no length twice: then the head is read again, with one (RFC 9110, 8.6)."""
        is_first = not self._head_bytes
        self._head_bytes += data
        if not self._is_length_twice:
            try:
                parser.feed_data(data)
            except httptools.HttpParserError:
                self._is_length_twice = has_length_twice(self._head_bytes)
                if not self._is_length_twice:
                    raise
        if self._is_length_twice and HEAD_END.search(self._head_bytes):
            self._parser, self.headers, self._is_length_twice = _lenient_parser(self), [], False
            self._parser.feed_data(with_one_length(self._head_bytes))
        if is_first and self._complete and self._keep_alive:
            is_usual = self.status == _OK and "content-encoding" not in self.first_headers
            passed = passed_back(self.headers) if is_usual else None
            self._known.learn(data, (self.status, tuple(self.headers), self.first_headers, passed))

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`. Idempotent."""
        self._transport = None
        self._parser = None  # it holds methods of this connection: a circle
        if not (self._complete or self._error is not None):
            self._end(exc)
        self._wake()
        if self._listener is not None:
            self._listener()

    def _end(self, exc: Exception | None) -> None:
        if not self.head_done:
            self._error = ConnectionClosed(
                "the server closed the connection before it answered. Ask again; its own log should say why."
            )
        elif self._until_eof and exc is None:
            self._complete = True
        else:
            self._error = BrokenAnswer(
                "the connection broke in the middle of the answer. Ask again; the server's own log should say why."
            )

    # ---- what the parser calls ----

    def on_message_begin(self) -> None:
        """A response begins; a second one for one request is refused."""
        if self._complete:
            raise ValueError("an answer to nothing")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        if not self.head_done:  # trailers come after the body and are not looked at
            self.headers.append(as_text(name, value))

    def on_headers_complete(self) -> None:
        """The head is there."""
        assert self._parser is not None  # noqa: S101 - it calls this
        status = self._parser.get_status_code()
        if status in _INFORMATIONAL:
            framing = dict(self.headers)
            if status == _SWITCHING or framing.get("content-length", "0") != "0" or "transfer-encoding" in framing:
                raise ValueError("a switch of protocols nobody asked for, or a body that would be the answer's")
            self.headers = []
            return
        self.status = status
        self.head_done = True
        self._head_bytes = b""
        first = self.first_headers = dict(reversed(self.headers))
        coding = dict(self.headers)["transfer-encoding"] if "transfer-encoding" in first else ""  # the last one counts
        framed = "content-length" in first or "chunked" in coding.lower()
        self._until_eof = not framed and status not in _NO_BODY
        self._wake()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._pieces.append(body)
        self._unread_bytes += len(body)
        if self._waiter is not None:
            self._wake()

    def on_message_complete(self) -> None:
        """The response is complete, if it was not just an informational one."""
        if not self.head_done:
            return
        assert self._parser is not None  # noqa: S101 - it calls this
        self._keep_alive = self._parser.should_keep_alive()
        self._completed()
        if not self._keep_alive and self._transport is not None:
            self.loop.call_soon(self._transport.close)

    def _completed(self) -> None:
        self._complete = True
        self._asked = False
        self.idle_since_s = self.loop.time()
        self._wake()


def _lenient_parser(connection: Connection) -> httptools.HttpResponseParser:
    """Reads what the SDKs' own clients read: lines that end with LF alone, folded headers, spaces behind a chunk's
    size, a length beside chunks, which counts for nothing (RFC 9112, 5.2 and 6.3).
    """
    parser = httptools.HttpResponseParser(connection)
    parser.set_dangerous_leniencies(
        lenient_headers=True,
        lenient_chunked_length=True,
        lenient_optional_cr_before_lf=True,
        lenient_spaces_after_chunk_size=True,
    )
    return parser
