"""One link in use: its control stream is read and written, its heart beats, its requests are taken. Ends with the
link.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Protocol, cast
from weakref import WeakMethod

from masa_node.chat.errors import LinkLost, ProtocolFault, ProviderError
from masa_node.network.links.control import NEWEST_PROTOCOL, Beat
from masa_node.network.links.frames import FrameKind, FrameReader, FrameStream, frame, header_frame, read_header
from masa_node.network.links.heartbeat import HEARTBEAT_S, Heartbeat
from masa_node.network.links.mux import Mux
from masa_node.network.links.peer_record import MembershipLevel
from masa_node.network.transport.interfaces import Link, NodeId, Stream

HELD_WITHIN_S = 5.0  # a heartbeat and its answer, on a very bad line
MAX_OUTBOX_BYTES = 1024 * 1024  # control frames that wait for a peer that does not read: seconds' worth of gossip
MAX_CONTROL_FRAMES_PER_S = 200  # a well-behaved peer sends a few
ASKED_LATELY_S = 300.0  # a link that carried a request since then is kept, however many there are
_WINDOW_S = 1.0


class SessionOwner(Protocol):
    """Is told what a peer says. Nothing here may wait."""

    def gossip_came(self, peer: NodeId, message: bytes) -> Iterable[None] | None:
        """A gossip message; what is given back is to be iterated, with turns for others in between.

        Raises `ProtocolFault`, at once or then, if the link should end for it.
        """
        ...

    def voucher_came(self, peer: NodeId, signed: bytes) -> None:
        """The peer vouches for this node. Raises `ProtocolFault`."""
        ...

    def serve_stream(self, peer: NodeId, stream: FrameStream, group: asyncio.TaskGroup) -> None:
        """Serve the request on this stream; owns the stream. Whatever has to wait is done by a task in `group`, which
        takes tasks as long as the link has streams that have not failed.
        """
        ...


class ControlStream:
    """Frames read from and written to the control stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._reader = FrameReader()
        self._came: deque[tuple[FrameKind, bytes]] = deque()

    async def write(self, data: bytes) -> None:
        """Whole frames. Raises `StreamReset`, `LinkLost`."""
        await self._stream.write(data)

    def write_now(self, data: bytes) -> Awaitable[None] | None:
        """See `interfaces.Stream`. Raises as above."""
        return self._stream.write_now(data)

    async def next(self) -> tuple[FrameKind, bytes]:
        """The next frame. Raises `ProtocolFault`, `StreamReset`, `LinkLost` (also when the peer has finished)."""
        while not self._came:
            data = await self._stream.read()
            if not data:
                raise LinkLost("it closed the control stream.")
            self._came.extend(self._reader.feed(data))
        return self._came.popleft()

    async def finish(self) -> None:
        """Nothing more will be written."""
        await self._stream.finish()

    def abort(self) -> None:
        """Let go of the stream, and of what has come on it and was not read. Idempotent."""
        self._stream.abort()


class _Ending:
    """What the streams of a link are told when it ends. They do not hold the session, which holds them."""

    why = ""


class Session:
    """`run` it in a task; it returns, with `why` set, when the link is gone. `membership` is as what it was let in, by
    the word of `vouched_by` if that is VOUCHED.
    """

    vouched_by: NodeId | None = None

    protocol = NEWEST_PROTOCOL  # the version that both speak
    origin: tuple[str, ...] = ()  # see `room.TakenLink`

    def __init__(self, link: Link, control: ControlStream, owner: SessionOwner, membership: MembershipLevel) -> None:
        self.link = link
        self.membership = membership
        ending, serve = _Ending(), WeakMethod(self._serve)
        self._ending = ending
        self.mux = Mux(link, lambda: ending.why, lambda stream: _serve_by(serve(), stream))
        self._serving = asyncio.TaskGroup()
        self.peer = link.peer
        self._control = control
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self.since_s = self.used_s = self._loop.time()  # `used_s`: when the last request went over it, either way
        self._heart = Heartbeat(self.since_s, is_dialed=link.is_dialed)
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._is_writing = True  # is something due to be written, or has the transport no room? Not before it runs
        self._beating: asyncio.TimerHandle | None = None
        self._settled = self._loop.create_future()  # the peer has answered a heartbeat, or the link is gone

    @property
    def why(self) -> str:
        """Why the link ended, or is about to; "" before."""
        return self._ending.why

    @why.setter
    def why(self, why: str) -> None:
        self._ending.why = why

    @property
    def rtt_s(self) -> float | None:
        """How long a question and its answer last took; None before the first."""
        return self._heart.rtt_s

    def is_idle(self, now_s: float) -> bool:
        """Does it carry no request, and has not lately?"""
        return now_s - self.used_s > ASKED_LATELY_S and not self.mux.streams

    def way_changed(self) -> None:
        """Packets to the peer will have to take another way: be patient with it."""
        self._heart.way_changed(self._loop.time())

    def close(self, why: str) -> None:
        """End it; `run` returns soon. Idempotent."""
        self.why = self.why or why
        self.link.close(why)

    async def held(self) -> None:
        """Until the peer has answered a heartbeat: it keeps the link, too. Raises `LinkLost` when the link ends first.

        A peer may welcome this node and find only then that it has no room for it.
        """
        await asyncio.wait([self._settled], timeout=HELD_WITHIN_S)
        if not self._settled.done():
            raise LinkLost(f"it has answered no heartbeat within {HELD_WITHIN_S:g} s.")
        if self.why:
            raise LinkLost(self.why)

    def send_gossip(self, message: bytes) -> None:
        """Queue a gossip message; a peer that does not read for long loses the link."""
        self._send(frame(FrameKind.GOSSIP, message))

    def send_voucher(self, signed: bytes) -> None:
        """Queue a voucher."""
        self._send(frame(FrameKind.VOUCH, signed))

    async def run(self) -> None:
        """Until the link ends, from whichever side. All that it started has ended then."""
        try:
            # It outlives the streams: what ends with them still gets tasks, which take their first step.
            async with self._serving:
                self._beat(self._loop.time(), "")
                self._write()
                await self.mux.run(self._read())
        except BaseExceptionGroup as ended:
            lost, others = ended.split(ProviderError)
            if lost is not None:
                self.why = self.why or first_message(lost)
            if others is not None:
                raise others from None
            _forget_where(ended)
            _forget_where(lost)
        finally:
            if self._beating is not None:
                self._beating.cancel()
            self._settle()
            self._control.abort()  # a closed connection drains for a while, and would hold what was not read
            self.link.close(self.why[:100] or "stopping")

    def _serve(self, stream: FrameStream) -> None:
        self.used_s = self._loop.time()
        self._owner.serve_stream(self.peer, stream, self._serving)

    async def _read(self) -> None:
        window_s, frames = self._loop.time(), 0
        while True:
            frame_came = await self._control.next()
            now_s = self._loop.time()
            self._heart.heard(now_s)
            if now_s - window_s > _WINDOW_S:
                window_s, frames = now_s, 0
            frames += 1
            if frames > MAX_CONTROL_FRAMES_PER_S:
                raise ProtocolFault("it sent more control frames than any node needs.")
            slices = self._take(*frame_came)
            del frame_came  # the next one may be long in coming
            for _ in slices or ():
                await asyncio.sleep(0)

    def _take(self, kind: FrameKind, payload: bytes) -> Iterable[None] | None:
        match kind:
            case FrameKind.PING:
                self._send(header_frame(FrameKind.PONG, read_header(payload, Beat)))
            case FrameKind.PONG:
                if self._heart.answered(read_header(payload, Beat).number, self._loop.time()):
                    self._settle()
            case FrameKind.GOSSIP:
                return self._owner.gossip_came(self.peer, payload)
            case FrameKind.VOUCH:
                self._owner.voucher_came(self.peer, payload)
            case FrameKind.IGNORED:
                pass
            case _:
                raise ProtocolFault(f"it sent a {kind.name} frame on the control stream.")
        return None

    def _beat(self, looked_s: float, way: str) -> None:
        """See to the heart, and again after a while. It was looked at before; `way` is that of the last question."""
        try:
            self._see_to_heart(looked_s, way)
        except Exception:
            self.close("something went wrong inside this node")  # nobody would see to it any more
            raise

    def _see_to_heart(self, looked_s: float, way: str) -> None:
        now_s, is_busy = self._loop.time(), self.mux.streams > 0
        if self._is_lost(looked_s, now_s, way):
            self.close("it answered no heartbeats. Its process was killed, or its network is gone.")
            return
        number = self._heart.question(now_s, is_busy=is_busy)
        if number is not None:
            way = self.link.path().address
            self._send(header_frame(FrameKind.PING, Beat(number)))
        self._beating = self._loop.call_later(self._heart.rest_s(now_s, is_busy=is_busy), self._beat, now_s, way)

    def _is_lost(self, looked_s: float, now_s: float, way: str) -> bool:
        """Has the peer been silent for too long?"""
        if now_s - looked_s > HEARTBEAT_S * 2:
            self._heart.heard(now_s)  # this process itself stood still: what the peer sent is not read yet
        if self._heart.is_lost(now_s) and way != self.link.path().address:
            self._heart.way_changed(now_s)
        return self._heart.is_lost(now_s)

    def _settle(self) -> None:
        if not self._settled.done():
            self._settled.set_result(None)

    def _send(self, data: bytes) -> None:
        self._outbox.append(data)
        self._outbox_bytes += len(data)
        if not self._is_writing:
            self._is_writing = True
            self._loop.call_soon(self._write)
        if self._outbox_bytes > MAX_OUTBOX_BYTES:
            self.close("it does not read what it is sent")

    def _write(self) -> None:
        """All that is to be sent, in one go."""
        data = b"".join(self._outbox)
        self._outbox.clear()
        self._outbox_bytes = 0
        try:
            rest = self._control.write_now(data) if data else None
        except ProviderError as lost:
            self.close(lost.message)
            return
        self._is_writing = rest is not None
        if rest is not None:
            self._write_later(self._wait(rest))

    def _write_later(self, waiting: Coroutine[None, None, None]) -> None:
        try:
            self._serving.create_task(waiting)
        except RuntimeError:  # the group has begun to end
            waiting.close()

    async def _wait(self, rest: Awaitable[None]) -> None:
        """Until the transport has room for more. Raises nothing: requests that begin now would never take a step."""
        try:
            await rest
        except ProviderError as lost:
            self.close(lost.message)
        else:
            self._write()


def first_message(group: BaseExceptionGroup[ProviderError]) -> str:
    """The message of the first of these errors."""
    first = group.exceptions[0]
    return first_message(first) if isinstance(first, BaseExceptionGroup) else first.message


def _serve_by(serve: Callable[[FrameStream], None] | None, stream: FrameStream) -> None:
    assert serve is not None  # noqa: S101 - what runs the link's streams holds the session
    serve(stream)


def _forget_where(error: BaseException | None) -> None:
    """Drop the tracebacks: those of task groups are cycles (Python 3.11), which hold all of a link until garbage is
    searched for. That is rare, and sees nothing of what Rust holds.
    """
    while error is not None:
        error.__traceback__ = None
        if isinstance(error, BaseExceptionGroup):
            for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
                _forget_where(each)
        error = error.__context__
