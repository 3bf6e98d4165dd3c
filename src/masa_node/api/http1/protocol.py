"""uvicorn's HTTP protocol with bounds on everything that a caller can make grow, and strict about what a request is.

What uvicorn's httptools protocol leaves open, and what is done about it here:
- Heads, trailers and chunk headers may grow, and a connection may stay silent, for ever: bounds and timers.
- A request with a body that offers an upgrade (Java's HttpClient: `Upgrade: h2c`) loses its body, which is then read
  as the next request. The offer is ignored (RFC 9110, 7.8) and the body kept.
- Trailers count as headers, an absolute URL as a path on this host, `gzip, chunked` as `chunked`: refused or ignored.
- A caller that still sends when it is answered gets a reset instead of the answer. So the connection lingers, and is
  not used again, as nobody knows how long its body goes on.
- Only the last of several pipelined requests learns that the caller has gone: all do.
"""

import asyncio
import socket
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote
from weakref import WeakKeyDictionary

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from masa_node.api.guard import ADMITTED
from masa_node.api.http1.crowd import ConnectionState, Crowd, max_connections, source_of
from masa_node.api.http1.cycle import Cycle, CycleUntilClose, Writer
from masa_node.api.http1.raw_responses import HEAD_TOO_LARGE, HEAD_TOO_SLOW, MALFORMED, MAX_HEAD_BYTES, MAX_HEADERS
from masa_node.api.http1.request_target import path_and_query
from masa_node.api.request_body import BODY_IS_HERE
from masa_node.api.responses import Scope

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

HEAD_TIMEOUT_S = 15.0
# A client library sends one chunk a socket write; this many tiny ones are an attack.
FREE_CHUNKS = 2_048
MIN_CHUNK_BYTES = 64
# Chunk headers and trailers may be as long as a head, and an eighth of the body: 7 bytes a chunk of MIN_CHUNK_BYTES.
BODY_BYTES_PER_FRAMING_BYTE = 8
# After an early answer (413, 401) the rest of the body is read and dropped, so that the client gets to read the answer.
MAX_DROPPED_BYTES = 64 * 1024 * 1024
DROP_TIMEOUT_S = 30.0  # nginx's lingering_time: in all
LINGER_S = 5.0  # nginx's lingering_timeout: without a byte
FLUSH_STALL_S = 30.0  # a caller that reads nothing of the rest of its answer for so long will not read it
MAX_PIPELINED = 16  # requests that wait for their turn; hardly any client sends even two

_BYTES_AROUND_A_HEADER = len(": \r\n")
_NO_LINGER = struct.pack("ii", 1, 0)  # closing then sends a reset


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. Answers what goes over a bound or is not HTTP, as far as it can, and closes."""

    app: "ASGI3Application"
    _timer: asyncio.TimerHandle | None = None
    _running: "Cycle | None" = None  # whose answer is being written, or was the last to be
    _in_head = False
    _in_body = False
    _wants_upgrade = False
    _lingers = False
    _refused_with = MALFORMED
    _messages = 0
    _head_bytes = 0
    _framing_bytes = 0
    _body_bytes = 0
    _chunks = 0
    _trailers = 0
    _coding = b""
    _dropped_bytes = 0
    _drop_until_s = 0.0
    _stalled_since_s: float | None = None
    since_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller connected: the first head has to come soon."""
        super().connection_made(transport)
        self._writer = Writer(transport, self._answer_is_over)
        self.since_s = self.loop.time()
        self._start_timer(HEAD_TIMEOUT_S)
        self._source = source_of(self.client[0] if self.client else None)
        for least in _crowd_of(self.server_state).add(self, self._source):
            least.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone. Nothing may keep this object: not a timer, nor a part of it that refers back to it.

        A node looks for circles so rarely that those of closed connections, 10 kB each, would only ever grow.
        """
        self._stop_timer()
        self._unset_keepalive_if_required()  # which uvicorn leaves running when the caller sent a reset
        _crowd_of(self.server_state).remove(self, self._source)
        self.pipeline.clear()
        if self._running is not None:
            self._running.caller_has_gone()
        super().connection_lost(exc)
        self._writer.let_go()
        self.cycle = None  # type: ignore[assignment]  # as uvicorn begins; one that never had its turn refers back

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._lingers:
            self._drop(len(data))
            return
        self._unset_keepalive_if_required()
        messages, body_bytes = self._messages, self._body_bytes
        was_between = not (self._in_head or self._in_body)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(self._refused_with)
            return
        if self._messages == messages and (self._in_head or self._in_body):
            self._count_framing(len(data) - (self._body_bytes - body_bytes))
        elif self._messages == messages + 1 and was_between and self._in_head:
            self._count_framing(len(data))
        if self._timer is None and not self._lingers:
            self._wait_for_more()

    def _wait_for_more(self) -> None:
        if self._in_head:
            self._start_timer(HEAD_TIMEOUT_S)
        elif self.is_idle and not self.transport.is_closing():
            # Nothing but blank lines came, or the end of a body that was answered before.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    @property
    def is_idle(self) -> bool:
        """Is there neither a request on its way in nor an answer on its way out?"""
        return not (self._in_head or self._in_body or self._is_answering)

    @property
    def _is_answering(self) -> bool:
        return self._running is not None and not self._running.response_complete

    # ---- what the parser calls; raising makes it fail, and the request be refused ----

    def on_message_begin(self) -> None:
        """A request begins."""
        self._messages += 1
        self._in_head = True
        self._in_body = self._wants_upgrade = False
        self._head_bytes = self._framing_bytes = self._body_bytes = 0
        self._chunks = self._trailers = self._dropped_bytes = 0
        self._coding = b""
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        self._head_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of the head, or a trailer, which is never taken for one."""
        if not self._in_head:
            self._trailers += 1
            if self._trailers > MAX_HEADERS:
                raise ValueError("too many trailers")
            return
        name = name.lower()
        if name == b"transfer-encoding":
            self._coding = value.lower()
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        self._head_bytes += len(name) + len(value) + _BYTES_AROUND_A_HEADER
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            self._refused_with = HEAD_TOO_LARGE
            raise ValueError("too large a head")

    def on_headers_complete(self) -> None:
        """The head is complete: the request's cycle begins, now or when its turn comes."""
        self._stop_timer()
        self.since_s = self.loop.time()
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._wants_upgrade = True
            return
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0") or self._head_bytes > MAX_HEAD_BYTES:
            raise ValueError("not HTTP/1, or all of it is target")
        if self._coding and (self._coding != b"chunked" or version == "1.0"):
            raise ValueError("no coding but chunked, and that only in HTTP/1.1")
        method = self.parser.get_method()
        raw_path, _, query = path_and_query(self.url, method, self.headers).partition(b"?")
        path = raw_path.decode("ascii")
        self.scope["method"] = method.decode("ascii")
        self.scope["http_version"] = version
        self.scope["path"] = unquote(path) if "%" in path else path
        self.scope["raw_path"] = raw_path
        self.scope["query_string"] = query
        if len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("too many requests in advance")
        cycle = self._new_cycle(version)
        self._in_head, self._in_body = False, True
        self.cycle = cycle
        if self._is_answering:
            self.pipeline.appendleft((cycle, self.app))
        else:
            self._start_asgi_task(cycle, self.app)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._chunks += 1
        self._body_bytes += len(body)
        if self._chunks > FREE_CHUNKS and self._body_bytes < self._chunks * MIN_CHUNK_BYTES:
            raise ValueError("too many tiny chunks")
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        if self._wants_upgrade:
            return
        self._in_body = False
        self._stop_timer()
        cast("Scope", self.scope)[BODY_IS_HERE] = True
        super().on_message_complete()

    # ---- what the answer's writer calls ----

    def on_response_complete(self) -> None:
        """An answer is written: the next one's turn, or the rest of the body is dropped, or the connection idles."""
        if self._lingers:
            self.server_state.total_requests += 1
            return
        self.since_s = self.loop.time()
        if self._in_head:
            self._start_timer(HEAD_TIMEOUT_S)
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came for the keep-alive time."""
        self.timeout_keep_alive_task = None
        self._close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self._running = cast("Cycle", cycle)
        super()._start_asgi_task(cycle, app)

    def _answer_is_over(self) -> None:
        """The answer is whole and the connection is not kept, or the answer is cut."""
        if isinstance(self._running, CycleUntilClose) and self._running.is_cut:
            # A caller that reads until the connection is closed can tell a cut answer only by a reset.
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self.transport.abort()
        elif self._in_body or self._in_head:
            self._linger()
        else:
            self._close()

    # ---- inside ----

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = b"".join(self._head_without_upgrade()) + data[offer.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
            else:
                return

    def _head_without_upgrade(self) -> Iterator[bytes]:
        """The head that was just parsed, so that the body after it is parsed as one."""
        yield b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        for name, value in self.headers:
            if name != b"upgrade":
                yield b"%b: %b\r\n" % (name, value)
        yield b"\r\n"

    def _count_framing(self, size: int) -> None:
        """So many bytes came that are not content. In the read in which a body begins they are not known."""
        self._framing_bytes += size
        if self._framing_bytes > MAX_HEAD_BYTES + self._body_bytes // BODY_BYTES_PER_FRAMING_BYTE:
            self._refuse(HEAD_TOO_LARGE if self._in_head else MALFORMED)

    def _new_cycle(self, version: str) -> "Cycle":
        kind = Cycle if version == "1.1" else CycleUntilClose
        return kind(
            scope=self.scope,
            transport=cast("asyncio.Transport", self._writer),
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            # Whether the body still comes after an answer instead of `100 Continue` cannot be known: never go on then.
            keep_alive=version == "1.1" and self.parser.should_keep_alive() and not self.expect_100_continue,
            on_response=self.on_response_complete,
        )

    def _refuse(self, answer: bytes) -> None:
        """Answer, unless an answer to this request is already on its way, and close."""
        if self._lingers or self.transport.is_closing():
            return
        running = self._running
        is_answered = running is not None and running.response_started and (self._in_body or self._is_answering)
        if running is not None:
            running.caller_has_gone()
        self.pipeline.clear()
        if not is_answered:
            self.transport.write(answer)
        self._linger()

    def _linger(self) -> None:
        """Close, but go on reading for a while what the caller sends: a reset would destroy the answer."""
        self._lingers = True
        self._unset_keepalive_if_required()
        self.transport.write_eof()
        self.flow.resume_reading()
        self._drop_until_s = self.loop.time() + DROP_TIMEOUT_S
        self._drop(0)

    def _drop(self, size: int) -> None:
        """Read and drop a little more, within bounds."""
        self._dropped_bytes += size
        left_s = self._drop_until_s - self.loop.time()
        self._stop_timer()
        if self._dropped_bytes > MAX_DROPPED_BYTES or left_s <= 0:
            self._close()
        else:
            self._timer = self.loop.call_later(min(LINGER_S, left_s), self._close)

    def _close(self) -> None:
        self._stop_timer()
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            self._timer = self.loop.call_later(FLUSH_STALL_S, self._abort_if_stalled, unsent)
        self.transport.close()

    def _abort_if_stalled(self, unsent_before: int) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent >= unsent_before:
            self.transport.abort()
        else:
            self._timer = self.loop.call_later(FLUSH_STALL_S, self._abort_if_stalled, unsent)

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self._too_late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        if self._is_answering:  # the next request waits for its turn, perhaps because we do not read
            self._start_timer(HEAD_TIMEOUT_S)
        elif self._in_head:
            self._refuse(HEAD_TOO_SLOW)
        else:
            self._close()

    # ---- as the crowd sees it ----

    @property
    def state(self) -> ConnectionState:
        """What it is in the middle of; nobody without a key where one is needed is in the middle of anything."""
        if self._lingers or self.transport.is_closing():
            return ConnectionState.ANSWERED
        running = self._running
        if running is None or running.response_complete or ADMITTED not in running.scope:
            return ConnectionState.IDLE
        if running.more_body:
            return ConnectionState.SENDING
        stalled_s = 0.0 if self._stalled_since_s is None else self.loop.time() - self._stalled_since_s
        return ConnectionState.STALLED if stalled_s > FLUSH_STALL_S else ConnectionState.WORKED_ON

    def pause_writing(self) -> None:
        """The caller reads more slowly than the answer comes."""
        self._stalled_since_s = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The caller reads again."""
        self._stalled_since_s = None
        super().resume_writing()


_CROWDS: WeakKeyDictionary[object, Crowd[BoundedHttpProtocol]] = WeakKeyDictionary()


def _crowd_of(server_state: object) -> Crowd[BoundedHttpProtocol]:
    """The connections of one server."""
    crowd = _CROWDS.get(server_state)
    if crowd is None:
        crowd = _CROWDS[server_state] = Crowd(max_connections)
    return crowd
