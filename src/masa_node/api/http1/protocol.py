"""One HTTP/1.1 connection: requests in, answers out, one after the other, and an end in every case.

- A connection may not stay silent, or be read from slowly, for ever: one timer.
- A caller that still sends when it is answered would get a reset instead of the answer. So the connection lingers, and
  is not used again, as nobody knows how long its body goes on.
- When a caller leaves, the request that is being answered is told, and those that wait for their turn are forgotten.
"""

import asyncio
import contextlib
import socket
import struct
from collections import deque
from functools import partial
from typing import cast

from masa_node.api.http1.connections import Answering, Connections, has_left
from masa_node.api.http1.crowd import ConnectionState, source_of
from masa_node.api.http1.raw_responses import FULL, HEAD_TOO_SLOW, MAX_PIPELINED, STOPPING, TOO_MANY_AHEAD
from masa_node.api.http1.reader import Incoming, Refused, RequestReader
from masa_node.api.http1.reply import Reply
from masa_node.api.http1.request import MAX_UNREAD_BYTES, HttpRequest
from masa_node.routing.running.turn_of_writes import Writer

HEAD_TIMEOUT_S = 15.0
# After an early answer (413, 401) the rest of the body is read and dropped, so that the client gets to read the answer.
MAX_DROPPED_BYTES = 64 * 1024 * 1024
DROP_TIMEOUT_S = 30.0  # nginx's lingering_time: in all
LINGER_S = 5.0  # nginx's lingering_timeout: without a byte
FLUSH_STALL_S = 30.0  # a caller that reads nothing of the rest of its answer for so long will not read it

_NO_LINGER = struct.pack("ii", 1, 0)  # closing then sends a reset
_CLOCK_STEP_S = 0.001  # uvloop counts whole milliseconds
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class BoundedHttpProtocol(asyncio.Protocol):
    """One connection. Answers what goes over a bound or is not HTTP, as far as it can, and closes."""

    def __init__(self, connections: Connections) -> None:
        self._all = connections
        self.standard_lines = connections.standard_lines  # what answers call
        self._loop = asyncio.get_running_loop()
        self._reader = RequestReader(self._take)
        self._is_reading = True
        self._source = ""
        # what is being answered, and what waits for that
        self._reply: Reply | None = None
        self._task: Answering | None = None
        self._is_new = False  # is nothing at work on it yet?
        self._pipeline: deque[Reply] = deque()
        # whether the caller reads
        self._drained: asyncio.Future[None] | None = None
        self._stalled_since_s: float | None = None
        # what it waits for, and how it ends
        self._deadline_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = 0.0  # uvloop's own cannot tell where it is due at once
        self._timed_message = 1  # the time for the first head runs from when the caller connected
        self._lingers = False
        self._dropped_bytes = self._unsent_bytes = 0
        self._drop_until_s = self.since_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller connected: the first head has to come soon."""
        self._transport = cast("asyncio.Transport", transport)
        self.writer = Writer(self._transport, self._all.writes)
        self.since_s = self._loop.time()
        self._wait_for(HEAD_TIMEOUT_S)
        address: tuple[str, int] | str | None = transport.get_extra_info("peername")  # "" of a Unix socket
        self._source = source_of(address[0] if isinstance(address, tuple) else None)
        for least in self._all.crowd.add(self, self._source):
            if least is self:
                self.writer.write(FULL)
                self.close()
                return
            least.abort()
        if self._all.is_stopping:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone. Nothing may keep this object: not a timer, nor a part of it that refers back to it.

        A node looks for circles so rarely that those of closed connections, 10 kB each, would only ever grow.
        """
        del exc
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._all.crowd.remove(self, self._source)
        self._all.one_less()
        self._lose_request()
        self._reader.close()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._lingers:
            self._drop(len(data))
            return
        reader = self._reader
        # What is asked by POST takes longer than a caller that has closed its end is waited for; a probe does not.
        if not reader.messages and has_left(self._transport, may_half_close=not data.startswith(b"POST")):
            self.abort()
            return
        try:
            reader.feed(data)
        except Refused as refused:
            self._refuse(refused.answer)
            return
        if self._is_new:
            self._begin()
        if reader.in_head and self._timed_message != reader.messages:
            self._timed_message = reader.messages
            self._wait_for(HEAD_TIMEOUT_S)
        request = reader.receiving
        if request is not None and request.unread_bytes > MAX_UNREAD_BYTES and not request.is_waited_for:
            self._is_reading = False
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """The caller sends no more, and is not waited for: the loop closes the connection."""
        self.writer.flush()

    def _take(self, incoming: Incoming, length: int | None, body: bytes | None) -> HttpRequest:
        """A request whose head is complete is taken up now, or when its turn comes."""
        if self._pipeline and len(self._pipeline) >= MAX_PIPELINED:
            self._reader.refused_with = TOO_MANY_AHEAD
            raise ValueError("too many requests in advance")
        self._deadline_s = None
        self.since_s = self._loop.time()
        request = HttpRequest(incoming.head, length, self._body_is_wanted, body)
        reply = Reply(request, self, self.writer, incoming.is_http10, incoming.keep)
        request.expects_continue = incoming.expects_continue
        if self._reply is None:
            self._reply, self._is_new = reply, True
        else:
            self._pipeline.append(reply)
        return request

    # ---- what requests and answers call ----

    @property
    def is_last(self) -> bool:
        """Will no other request be taken? The server stops, and none waits for its turn."""
        return self._all.is_stopping and not self._pipeline

    async def drained(self, *, is_whole: bool = False) -> None:
        """Returns when the caller reads again, or has left, or in a while. For one task at a time.

        A caller that takes nothing of earlier answers meanwhile is left before the next begins, which holds a slot; one
        that takes little of an answer that `is_whole`, within it, as that counts against a budget.
        """
        drained, unsent_bytes = self._loop.create_future(), self._transport.get_write_buffer_size()
        self._drained = drained
        try:
            await asyncio.wait((drained,), timeout=FLUSH_STALL_S)
        finally:
            self._drained = None
        is_stuck = not drained.done() and self._transport.get_write_buffer_size() >= unsent_bytes
        is_before = self._reply is not None and not self._reply.has_begun
        if (is_stuck and is_before) or (is_whole and not drained.done()):
            self.abort()

    def reply_is_over(self, *, keep: bool) -> None:
        """All of an answer is written. The next one's turn, or the rest of the body is dropped, or it idles."""
        self._reply = None
        self.since_s = self._loop.time()
        if self._lingers:
            return
        if not keep or (self._all.is_stopping and not self._pipeline):
            self._end()
            return
        if not self._is_reading:
            self._read_on()
        if self._pipeline:
            self._reply = self._pipeline.popleft()
            self._is_new = True
            self._begin()
        else:
            self._wait_until(self.since_s + (HEAD_TIMEOUT_S if self._reader.in_head else self._all.keep_alive_s))

    def _body_is_wanted(self) -> None:
        reply = self._reply
        if reply is not None and reply.request.expects_continue:
            reply.request.expects_continue = False
            self.writer.write(_CONTINUE)
        self._read_on()

    def _read_on(self) -> None:
        if not (self._is_reading or self._transport.is_closing()):
            self._is_reading = True
            self._transport.resume_reading()

    # ---- inside ----

    def _begin(self) -> None:
        """Have the request answered: by calls, or by a task, or in a moment, when its body has come."""
        reply, by_calls = self._reply, self._all.by_calls
        if reply is None:
            return
        request = reply.request
        answering: Answering | None = None
        if by_calls is not None and request.is_whole:
            answering = by_calls.begin(request, reply, self._is_over)
        elif by_calls is not None and self._is_soon_whole(request) and by_calls.may_begin(request, reply):
            self._all.bodies.add(self)
            return
        if answering is None:
            self._start(reply)
            return
        self._is_new = False
        self._task = answering
        self._all.tasks.add(answering)

    def _start(self, reply: Reply) -> None:
        self._is_new = False
        task = self._task = self._loop.create_task(self._run(reply))
        self._all.tasks.add(task)
        task.add_done_callback(partial(self._is_over, reply))

    @staticmethod
    def _is_soon_whole(request: HttpRequest) -> bool:
        """Clients send a head, and then the body, which is here a moment later if it is short."""
        length = request.content_length
        return length is not None and length <= MAX_UNREAD_BYTES and not request.expects_continue

    def look(self, now_s: float) -> None:
        """See `Waiting`: if the body is not here yet, a task waits for it."""
        del now_s
        self._all.bodies.discard(self)
        if self._is_new and self._reply is not None:
            self._start(self._reply)

    async def _run(self, reply: Reply) -> None:
        # A task that ends as cancelled keeps the error, and with it frames that lead back to the task: a circle that
        # Python 3.11 never frees. Nobody awaits this one, so the cancelling ends here.
        with contextlib.suppress(asyncio.CancelledError):
            await self._all.app(reply.request, reply)

    def _is_over(self, reply: Reply, task: Answering) -> None:
        self._all.task_is_over(task)
        if self._task is task:
            self._task = None  # it leads back here
        if not (reply.is_complete or reply.request.is_gone):
            self._cut(reply)

    def _cut(self, reply: Reply) -> None:
        """The application has ended, or was cancelled at the end of the node, before the answer was whole."""
        reply.flush()
        self._reply = None
        if not reply.has_begun:
            self.writer.write(STOPPING)
        if reply.needs_reset:
            self.writer.flush()
            # A caller that reads until the connection is closed can tell a cut answer only by a reset.
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self.abort()
        else:
            self._end()

    def _lose_request(self) -> None:
        """Nobody takes an answer any more."""
        self._pipeline.clear()
        if self._is_new:
            self.look(0.0)  # whoever answers is told
        reply, task = self._reply, self._task
        self._reply = self._task = None
        if reply is not None:
            reply.request.lose()
            if reply.request.is_cancelled_when_gone and task is not None:
                task.cancel()
        self._wake_writer()

    # ---- how it ends ----

    def close(self) -> None:
        """Close it when all that was written is sent, or once the caller takes no more of it."""
        self.writer.flush()
        self._unsent_bytes = self._transport.get_write_buffer_size()
        if self._unsent_bytes:
            self._wait_for(FLUSH_STALL_S)
        else:
            self._deadline_s = None
        self._transport.close()

    def abort(self) -> None:
        """Close it at once."""
        self._transport.abort()

    def close_if_idle(self) -> None:
        """Close it if nothing is being answered."""
        if self._reply is None and not self._lingers:
            self.close()

    def _end(self) -> None:
        """No other request is taken."""
        if self._transport.is_closing():
            return
        if self._reader.is_within:
            self._linger()
        else:
            self.close()

    def _refuse(self, answer: bytes) -> None:
        """Answer, unless an answer to this request is already on its way, and close."""
        if self._lingers or self._transport.is_closing():
            return
        reply = self._reply
        self._lose_request()
        if reply is None or not reply.has_begun:
            self.writer.write(answer)
        self._linger()

    def _linger(self) -> None:
        """Close, but go on reading for a while what the caller sends: a reset would destroy the answer."""
        self._lingers = self.writer.is_paused = True  # for whoever has yet to hear that nothing can be written any more
        self.writer.flush()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._read_on()
        self._drop_until_s = self._loop.time() + DROP_TIMEOUT_S
        self._drop(0)

    def _drop(self, size: int) -> None:
        """Read and drop a little more, within bounds."""
        self._dropped_bytes += size
        left_s = self._drop_until_s - self._loop.time()
        if self._dropped_bytes > MAX_DROPPED_BYTES or left_s <= 0:
            self.close()
        else:
            self._wait_for(min(LINGER_S, left_s))

    # ---- time ----

    def _wait_for(self, seconds: float) -> None:
        """Something has to happen within this time."""
        self._wait_until(self._loop.time() + seconds)

    def _wait_until(self, deadline_s: float) -> None:
        """The same. One timer serves many deadlines, as each is later than the last."""
        self._deadline_s = deadline_s
        timer = self._timer
        if timer is not None:
            if self._timer_at_s <= deadline_s:
                return
            timer.cancel()
        self._timer_at_s = deadline_s
        self._timer = self._loop.call_at(deadline_s, self._look_at_deadline)

    def _look_at_deadline(self) -> None:
        self._timer = None
        if self._deadline_s is None:
            return
        left_s = self._deadline_s - self._loop.time()
        if left_s > _CLOCK_STEP_S:
            self._wait_for(left_s)
        else:
            self._deadline_s = None
            self._too_late()

    def _too_late(self) -> None:
        if self._transport.is_closing():
            is_stuck = self._transport.get_write_buffer_size() >= self._unsent_bytes
            (self.abort if is_stuck else self.close)()
        elif self._reply is not None:  # the next request waits for its turn, perhaps because we do not read
            self._wait_for(HEAD_TIMEOUT_S)
        elif self._reader.in_head and not self._lingers:
            self._refuse(HEAD_TOO_SLOW)
        else:
            self.close()

    # ---- as the crowd sees it ----

    @property
    def state(self) -> ConnectionState:
        """What it is in the middle of; nobody without a key where one is needed is in the middle of anything."""
        if self._lingers or self._transport.is_closing():
            return ConnectionState.ANSWERED
        if self._reply is None or not self._reply.request.is_admitted:
            return ConnectionState.IDLE
        if not self._reply.request.is_whole:
            return ConnectionState.SENDING
        stalled_s = 0.0 if self._stalled_since_s is None else self._loop.time() - self._stalled_since_s
        return ConnectionState.STALLED if stalled_s > FLUSH_STALL_S else ConnectionState.WORKED_ON

    def pause_writing(self) -> None:
        """The caller reads more slowly than the answer comes."""
        self.writer.is_paused = True
        self._stalled_since_s = self._loop.time()

    def resume_writing(self) -> None:
        """The caller reads again."""
        self.writer.is_paused = self._lingers
        self._stalled_since_s = None
        self._wake_writer()

    def _wake_writer(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
