"""The links and streams of the in-memory network (`memory.py`): what of QUIC's behaviour matters to its users.

Only futures and the loop's timers; nothing here is a task, so cancelling an await leaves nothing behind.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

from masa_node.chat.errors import LinkLost, StreamReset
from masa_node.network.transport.interfaces import NodeId, Path, Route
from masa_node.network.transport.memory_pipe import MEMORY_WINDOW_BYTES, Pipe, Signal

MAX_STREAMS = 4096  # open at a time that one side opened; more wait
MAX_REASON_BYTES = 100


class Host:
    """One node as the network sees it. Dead: nothing goes in or out. Hung: its awaits rest, nothing is lost."""

    def __init__(self, node_id: NodeId, address: str = "") -> None:
        self.node_id = node_id
        self.address = address
        self.is_dead = False
        self.is_hung = False
        self.is_closed = False
        self.links: set[MemoryLink] = set()
        self.changed = Signal()

    @property
    def is_running(self) -> bool:
        """May this node act?"""
        return self.is_closed or not (self.is_dead or self.is_hung)

    async def running(self) -> None:
        """Returns when this node may act: what a dead one awaits never comes, until its transport is closed."""
        while not self.is_running:
            await self.changed.wait()


Deliver = Callable[[], None]
Carry = Callable[[Host, Host, Deliver], None]


def _again(error: LinkLost | StreamReset) -> LinkLost | StreamReset:
    return type(error)(error.message)  # an exception that is raised twice keeps both tracks


class MemoryStream:
    """One end of a stream."""

    __slots__ = ("_in", "_link", "_out", "is_known", "is_opened_here", "other")

    def __init__(self, link: "MemoryLink", out: Pipe, into: Pipe, *, is_opened_here: bool) -> None:
        self._link = link
        self.is_opened_here = is_opened_here
        self._out = out
        self._in = into
        self.is_known = is_opened_here  # has this end heard of it?
        self.other = self

    @classmethod
    def pair(cls, link: "MemoryLink") -> "MemoryStream":
        """A new stream; the end of the side that opens it."""
        out, back = Pipe(link.rng), Pipe(link.rng)
        here = cls(link, out, back, is_opened_here=True)
        there = cls(link.other, back, out, is_opened_here=False)
        here.other, there.other = there, here
        return here

    async def read(self) -> bytes:
        """See `interfaces.Stream`."""
        pipe, host = self._in, self._link.host
        while True:
            if not host.is_running:
                await host.running()
            if pipe.buffer:
                data, released = pipe.take()
                if released:
                    self._link.send(partial(pipe.release, released))
                return data
            if pipe.receiver_error is not None:
                raise _again(pipe.receiver_error)
            if pipe.finish_arrived:
                self._leave_when_over()
                return b""
            await pipe.arrived.wait()

    async def write(self, data: bytes) -> None:
        """See `interfaces.Stream`."""
        at, host = 0, self._link.host
        while True:
            if not host.is_running:
                await host.running()
            self._check_writable()
            part = data[at : at + MEMORY_WINDOW_BYTES - self._out.unread_bytes]
            self._put(part)
            at += len(part)
            if at >= len(data):
                return
            await self._out.room.wait()

    async def flow(self, came: Callable[[bytes], object]) -> None:
        """See `interfaces.Stream`."""
        data = await self.read()
        while came(data) and data:
            data = await self.read()

    def write_now(self, data: bytes) -> Awaitable[None] | None:
        """See `interfaces.Stream`."""
        if not self._link.host.is_running or len(data) > MEMORY_WINDOW_BYTES - self._out.unread_bytes:
            return self.write(data)
        self._check_writable()
        self._put(data)
        return None

    def _put(self, data: bytes) -> None:
        if data:
            for _ in range(self._out.segments(data)):
                self._link.send(self.other.arrive)

    async def finish(self) -> None:
        """See `interfaces.Stream`."""
        await self._link.host.running()
        if self._out.finished and self._out.sender_error is None:
            return
        self._check_writable()
        self._out.finish()
        self._link.send(self.other.arrive)
        self._leave_when_over()

    def abort(self) -> None:
        """See `interfaces.Stream`."""
        self._link.leave(self)
        if self._out.finished and self._in.finished:
            return
        if self._out.sender_error is not None and self._in.receiver_error is not None:
            return
        error = StreamReset("this node gave the stream up.")
        self._out.sender_error = self._out.sender_error or error
        self._out.room.wake()
        self._in.fail_receiver(error, keep=False)
        if self._out.used or self.other.is_known:
            self._link.send(self.other.reset_arrives)

    # ---- what the link and the other end do ----

    def arrive(self) -> None:
        """A packet of the other end is there."""
        self._announce()
        self._in.arrive()

    def reset_arrives(self) -> None:
        """The other end has given the stream up."""
        self._announce()
        error = StreamReset("the peer gave the stream up.")
        if not self._in.finish_arrived:
            self._in.fail_receiver(error, keep=False)
        self._out.fail_sender(error)
        self._leave_when_over()

    def link_lost(self, error: LinkLost, *, keep: bool) -> None:
        """Its link is gone; `keep`: what has arrived can still be read."""
        self._out.fail_sender(error)
        if not (keep and self._in.finish_arrived):
            self._in.fail_receiver(error, keep=keep)

    def _check_writable(self) -> None:
        if self._out.sender_error is not None:
            raise _again(self._out.sender_error)
        if self._out.finished:
            raise StreamReset("this side of the stream is finished.")

    def _announce(self) -> None:
        if not self.is_known and not self._link.is_down:
            self.is_known = True
            self._link.take_in(self)

    def _leave_when_over(self) -> None:
        sent = self._out.finished or self._out.sender_error is not None
        read = (self._in.finish_arrived and not self._in.buffer) or self._in.receiver_error is not None
        if sent and read:
            self._link.leave(self)


class MemoryLink:
    """One end of a link. `rng` (see `Pipe`) and `send` are of the pair and of the network."""

    def __init__(self, host: Host, carry: Carry, rng: random.Random | None, *, is_dialed: bool) -> None:
        self.host = host
        self.rng = rng
        self.other = self
        self.streams: set[MemoryStream] = set()  # that are not over
        self.changed = Signal()
        self.rtt_s: float | None = None
        self.silence: asyncio.TimerHandle | None = None  # ends the link when nothing was heard for too long
        self._carry = carry
        self.is_dialed = is_dialed  # did this node open the connection?
        self._incoming: deque[MemoryStream] = deque()
        self._opened = 0  # of `streams` by this side
        self._why: str | None = None

    @classmethod
    def pair(cls, dialer: Host, taker: Host, carry: Carry, rng: random.Random | None) -> "MemoryLink":
        """A new link; the end of the node that dialed."""
        here, there = cls(dialer, carry, rng, is_dialed=True), cls(taker, carry, rng, is_dialed=False)
        here.other, there.other = there, here
        dialer.links.add(here)
        taker.links.add(there)
        return here

    @property
    def peer(self) -> NodeId:
        """The node at the other end."""
        return self.other.host.node_id

    @property
    def is_down(self) -> bool:
        """Is it gone, as this end knows?"""
        return self._why is not None

    async def open(self) -> MemoryStream:
        """See `interfaces.Link`; waits while MAX_STREAMS of this side are open."""
        while True:
            await self.host.running()
            self._check_up()
            if self._opened < MAX_STREAMS:
                stream = MemoryStream.pair(self)
                self.streams.add(stream)
                self._opened += 1
                return stream
            await self.changed.wait()

    async def accept(self) -> MemoryStream:
        """See `interfaces.Link`."""
        while True:
            await self.host.running()
            self._check_up()
            if self._incoming:
                return self._incoming.popleft()
            await self.changed.wait()

    def path(self) -> Path:
        """Always direct."""
        return Path(Route.DIRECT, self.other.host.address, self.rtt_s)

    async def closed(self) -> str:
        """See `interfaces.Link`."""
        while True:
            await self.host.running()
            if self._why is not None:
                return self._why
            await self.changed.wait()

    def close(self, reason: str) -> None:
        """See `interfaces.Link`."""
        if self.is_down:
            return
        shortened = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        self.send(lambda: self.other.go_down(shortened))
        self.go_down(reason, keep=False)

    # ---- what the network and the streams do ----

    def send(self, deliver: Deliver) -> None:
        """Have something happen at the other end, a latency later."""
        self._carry(self.host, self.other.host, deliver)

    def leave(self, stream: MemoryStream) -> None:
        """That stream is over at this end."""
        if stream in self.streams:
            self.streams.remove(stream)
            self._opened -= stream.is_opened_here
            self.changed.wake()

    def take_in(self, stream: MemoryStream) -> None:
        """The peer has opened a stream; one too many that nobody accepts is given up."""
        if len(self._incoming) >= MAX_STREAMS:
            stream.abort()
            return
        self.streams.add(stream)
        self._incoming.append(stream)
        self.changed.wake()

    def go_down(self, why: str, *, keep: bool = True) -> None:
        """This end of the link is gone; the other one is not told. `keep`: what has arrived can still be read."""
        if self.is_down:
            return
        self._why = why
        if self.silence is not None:
            self.silence.cancel()
        error = LinkLost(f"the connection is gone: {why}")
        for stream in self.streams:
            stream.link_lost(error, keep=keep)
        self.streams.clear()
        self._incoming.clear()
        self._opened = 0
        self.host.links.discard(self)
        self.changed.wake()

    def _check_up(self) -> None:
        if self._why is not None:
            raise LinkLost(f"the connection is gone: {self._why}")
