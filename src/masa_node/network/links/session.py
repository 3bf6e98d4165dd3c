"""One link in use: its control stream is read and written, its heart beats, its requests are taken. Ends with the
link.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from masa_node.chat.errors import LinkLost, ProtocolFault, ProviderError
from masa_node.network.links.control import NEWEST_PROTOCOL, Beat
from masa_node.network.links.frames import FrameKind, FrameReader, FrameStream, frame, header_frame, read_header
from masa_node.network.links.mux import Mux, first_message
from masa_node.network.links.peer_record import MembershipLevel
from masa_node.network.transport.interfaces import Link, NodeId, Stream

# A peer that was killed is out after HEARTBEAT_S * BEATS_MISSED at most; the transport alone takes 30 s to notice.
HEARTBEAT_S = 1.25
BEATS_MISSED = 3
HELD_WITHIN_S = 5.0  # a heartbeat and its answer, on a very bad line
MAX_OUTBOX_BYTES = 1024 * 1024  # control frames that wait for a peer that does not read: seconds' worth of gossip
MAX_CONTROL_FRAMES_PER_S = 200  # a well-behaved peer sends a few
MAX_BEATS_KEPT = 8  # that were not answered: a peer may talk on, and answer none
RTT_EVERY_BEATS = 8  # a side that hears the other one's beats sends its own only to measure: ten seconds
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

    async def serve_stream(self, peer: NodeId, stream: FrameStream) -> None:
        """Serve the request on this stream; owns the stream. Raises nothing but `CancelledError`."""
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


class Session:
    """`run` it in a task; it returns, with `why` set, when the link is gone. `membership` is as what it was let in, by
    the word of `vouched_by` if that is VOUCHED.
    """

    vouched_by: NodeId | None = None

    protocol = NEWEST_PROTOCOL  # the version that both speak

    def __init__(self, link: Link, control: ControlStream, owner: SessionOwner, membership: MembershipLevel) -> None:
        self.link = link
        self.membership = membership
        self.mux = Mux(link, lambda: self.why, self._serve)
        self._group = asyncio.TaskGroup()
        self.peer = link.peer
        self.why = ""
        self.rtt_s: float | None = None
        self._control = control
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self.since_s = self.used_s = self._loop.time()  # `used_s`: when the last request went over it, either way
        self._heard_s = self.since_s
        self._beats: dict[int, float] = {}
        self._hears_beats = False  # since the last one of its own
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._outbox_filled = asyncio.Event()
        self._is_settled = asyncio.Event()  # the peer has answered a heartbeat, or the link is gone

    def close(self, why: str) -> None:
        """End it; `run` returns soon. Idempotent."""
        self.why = self.why or why
        self.link.close(why)

    async def held(self) -> None:
        """Until the peer has answered a heartbeat: it keeps the link, too. Raises `LinkLost` when the link ends first.

        A peer may welcome this node and find only then that it has no room for it.
        """
        try:
            async with asyncio.timeout(HELD_WITHIN_S):
                await self._is_settled.wait()
        except TimeoutError:
            raise LinkLost(f"it has answered no heartbeat within {HELD_WITHIN_S:g} s.") from None
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
            async with self._group as group:
                group.create_task(self._read())
                group.create_task(self._write())
                group.create_task(self._beat())
                await self.mux.run()
        except* ProviderError as lost:
            self.why = self.why or first_message(lost)
        finally:
            self._is_settled.set()
            self.link.close(self.why[:100] or "stopping")

    def _serve(self, stream: FrameStream) -> None:
        self.used_s = self._loop.time()
        serving = self._owner.serve_stream(self.peer, stream)
        try:
            self._group.create_task(serving)
        except RuntimeError:  # the group has begun to end
            serving.close()
            stream.abort()

    async def _read(self) -> None:
        window_s, frames = self._loop.time(), 0
        while True:
            kind, payload = await self._control.next()
            self._heard_s = self._loop.time()
            if self._heard_s - window_s > _WINDOW_S:
                window_s, frames = self._heard_s, 0
            frames += 1
            if frames > MAX_CONTROL_FRAMES_PER_S:
                raise ProtocolFault("it sent more control frames than any node needs.")
            for _ in self._take(kind, payload) or ():
                await asyncio.sleep(0)

    def _take(self, kind: FrameKind, payload: bytes) -> Iterable[None] | None:
        match kind:
            case FrameKind.PING:
                self._hears_beats = True
                self._send(header_frame(FrameKind.PONG, read_header(payload, Beat)))
            case FrameKind.PONG:
                self._note_rtt(read_header(payload, Beat).number)
            case FrameKind.GOSSIP:
                return self._owner.gossip_came(self.peer, payload)
            case FrameKind.VOUCH:
                self._owner.voucher_came(self.peer, payload)
            case FrameKind.IGNORED:
                pass
            case _:
                raise ProtocolFault(f"it sent a {kind.name} frame on the control stream.")
        return None

    def _note_rtt(self, number: int) -> None:
        sent_s = self._beats.pop(number, None)
        if sent_s is not None:
            self.rtt_s = self._heard_s - sent_s
            self._is_settled.set()
            self._beats = {later: at_s for later, at_s in self._beats.items() if later > number}

    async def _beat(self) -> None:
        """The side that dialed beats, and the answers are the other side's signs of life: half the frames of two that
        beat. Where it does not, the other side does.
        """
        number = left_out = 0
        while True:
            sent_s = self._loop.time()
            left_out += 1
            if self.link.is_dialed or not self._hears_beats or left_out >= RTT_EVERY_BEATS:
                number, left_out = number + 1, 0
                self._beats[number] = sent_s
                self._beats.pop(number - MAX_BEATS_KEPT, None)
                self._send(header_frame(FrameKind.PING, Beat(number)))
            self._hears_beats = False
            await asyncio.sleep(HEARTBEAT_S)
            now_s = self._loop.time()
            if now_s - sent_s > HEARTBEAT_S * 2:
                self._heard_s = now_s  # this process itself stood still: what the peer sent is not read yet
            elif now_s - self._heard_s > HEARTBEAT_S * (BEATS_MISSED - 0.5):
                self.why = f"it missed {BEATS_MISSED} heartbeats. Its process was killed, or its network is gone."
                raise LinkLost(self.why)

    def _send(self, data: bytes) -> None:
        self._outbox.append(data)
        self._outbox_bytes += len(data)
        self._outbox_filled.set()
        if self._outbox_bytes > MAX_OUTBOX_BYTES:
            self.close("it does not read what it is sent")

    async def _write(self) -> None:
        while True:
            await self._outbox_filled.wait()
            data = b"".join(self._outbox)
            self._outbox.clear()
            self._outbox_bytes = 0
            self._outbox_filled.clear()
            await self._control.write(data)
