"""Many requests on few streams of a link.

A call into the transport costs tens of microseconds, whatever it carries. So what several requests have to send at the
same moment goes out in one write, and comes in in one read.

A channel is a stream of the transport, opened by the node that asks, and cut into frames (`frames.py`). To the code
above, a request (`mux_stream.py`) is a `FrameStream` on a channel. While requests are few, each has a channel of its
own, so that a lost packet delays one of them. Many share CHANNELS.

What a peer makes this node do costs the peer bytes, and not this node its memory or its event loop: what waits for it
is bounded, and the link ends beyond that. Frames that carry little are read in slices, and at a bounded rate.

The window of each stream is as in HTTP/2 (RFC 9113, 5.2) and yamux: the reader grants what it has taken.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from operator import attrgetter

from masa_node.chat.errors import LinkLost, ProtocolFault, ProviderError
from masa_node.chat.kept_errors import fresh
from masa_node.network.links.frames import HEAD, HEAD_BYTES, LENGTH_BITS, Frame, FrameKind, FrameStream, read_head
from masa_node.network.links.mux_stream import MUX_WINDOW_BYTES, MuxStream
from masa_node.network.links.token_bucket import TokenBucket
from masa_node.network.transport.interfaces import Link, Stream

__all__ = ["CHANNELS", "MAX_STREAMS", "MUX_WINDOW_BYTES", "Channel", "Mux", "MuxStream"]

CHANNELS = 8  # of each side: beyond that a write carries what several requests have to say
FEW_STREAMS = 8  # of a channel while others are being opened: so a thousand at once spread evenly
MAX_STREAMS = 256  # open on a channel, those that are just ending too: twice what 1 000 requests at a time need
MAX_PENDING_BYTES = 256 * 1024  # of a channel, given to it and not to the transport yet; more has to wait
MAX_DUE_BYTES = 8 * 1024  # of what is put off to the next turn: the peer has work, and a full turn takes 10 ms
MAX_PENDING_FRAMES = 16 * MAX_STREAMS  # that cannot wait for room: a well-behaved peer leaves a few a request
# Work is counted in frames that carry next to nothing, some 2 us each; a request that is opened costs as much as 20.
STREAM_WORK = 20
LITTLE_BYTES = 16  # a frame of a request or of an answer has more
NOBODYS_BYTES = 256  # of what comes for a request that is over, and counts in no window: 13 MB a second in all
SLICE_WORK = 200  # then others have their turn; with every channel of a link busy, below 5 ms
WORK_PER_S = 50_000  # of one link: 2 500 requests a second, more than one node can answer; a tenth of a core
WORK_BURST = 2 * WORK_PER_S
_LAST_OF_THE_MUX = int(FrameKind.WINDOW)  # to read it off the enum takes as long as the rest of `put`
LATE_S = 0.01  # below what a packet needs to most peers
SHORTEST_REST_S = 0.001  # a timer is no finer

Arrived = Callable[[MuxStream], None]


class Channel:
    """One stream of the transport, cut into requests. `arrived` gets those that the peer opens (None: it opens none);
    `why` tells why the link went, if it is known. `group` has a task while the transport takes no more.
    """

    def __init__(
        self,
        stream: Stream,
        why: Callable[[], str],
        pace: TokenBucket,
        group: asyncio.TaskGroup,
        arrived: Arrived | None = None,
    ) -> None:
        self._stream = stream
        self._why = why
        self._pace = pace
        self._group = group
        self._arrived = arrived
        self._loop = asyncio.get_running_loop()
        self._streams: dict[int, MuxStream] = {}
        self._last = 0  # number that was begun with
        self._silent = 0  # the last number of one that has sent nothing: below 0
        self._partial = b""
        self._outbox: list[bytes] = []
        self._pending = 0
        self._pending_frames = 0  # without a payload
        self._is_writing = False  # is something due to be written, or has the transport no room?
        self._is_due = False  # is it only the next turn of the loop that is waited for?
        self._late: asyncio.TimerHandle | None = None  # for a frame that waits for others
        self._work = 0  # done since others had their turn
        self._lost: ProviderError | None = None  # where it is not the reader that learns of it
        self._wanting: list[MuxStream] = []
        self._told: list[MuxStream] = []  # those that are told of what is read now
        self.will_tell = self._told.append

    @property
    def streams(self) -> int:
        """How many are open."""
        return len(self._streams)

    @property
    def is_full(self) -> bool:
        """Does too much wait for the transport?"""
        return self._pending > MAX_PENDING_BYTES

    def open(self) -> MuxStream:
        """A new request; the peer hears of it with the first frame, and until then its number is none of the wire's."""
        self._silent -= 1
        stream = self._streams[self._silent] = MuxStream(self, self._silent)
        return stream

    async def run(self) -> None:
        """Until the stream or the link is gone, which it raises: `LinkLost`, `StreamReset`, `ProtocolFault`."""
        why = ""
        try:
            await self._read()
        except ProviderError as exc:
            why = (self._lost or exc).message
            if self._lost is not None:
                raise fresh(self._lost) from None
            raise
        finally:
            self._stream.abort()
            if self._late is not None:
                self._late.cancel()
            for stream in list(self._streams.values()):
                stream.fail(LinkLost(self._why() or why or "the link to the peer was closed."))

    # ---- for its requests ----

    def number(self, silent: int) -> int:
        """Its number from now on, for one that sends its first frame: the peer takes only higher ones for new ones."""
        self._last += 1
        self._streams[self._last] = self._streams.pop(silent)
        return self._last

    def put_all(self, number: int, frames: Sequence[Frame]) -> None:
        """Send these in one write: at once, where no other request has the channel and could have more for it."""
        if self._lost is not None:
            return
        for kind, payload in frames:
            self._keep(number, kind, payload)
        if not self._is_writing:
            if len(self._streams) > 1:
                self._write_soon()
            else:
                self._write()
        if self._is_due and self._pending > MAX_DUE_BYTES:
            self._write()

    def put(self, number: int, kind: FrameKind, payload: bytes) -> None:
        """Send a frame, together with whatever else is sent in this turn of the loop."""
        if self._lost is not None:
            return
        self._keep(number, kind, payload)
        if not self._is_writing:
            self._write_soon()

    def put_late(self, number: int, kind: FrameKind) -> None:
        """Send a frame that nobody waits for: with the next one of any request, or after LATE_S."""
        if self._lost is not None:
            return
        self._keep(number, kind, b"")
        if not self._is_writing and self._late is None:
            self._late = self._loop.call_later(LATE_S, self._write_late)

    def leave(self, number: int) -> None:
        """The request is over."""
        self._streams.pop(number, None)

    def wants_room(self, stream: MuxStream) -> None:
        """Notify this request once there is room."""
        if self.is_full:
            self._wanting.append(stream)

    # ---- the two directions ----

    def _keep(self, number: int, kind: FrameKind, payload: bytes) -> None:
        size = len(payload)
        self._outbox += (HEAD.pack(number, kind << LENGTH_BITS | size), payload)
        self._pending += HEAD_BYTES + size
        if kind > _LAST_OF_THE_MUX:
            return
        self._pending_frames += 1
        if self._pending_frames > MAX_PENDING_FRAMES:
            self._lose(LinkLost("it does not read what it is sent."))

    def _write_late(self) -> None:
        self._late = None
        if self._outbox and not self._is_writing:
            self._write()

    def _write_soon(self) -> None:
        self._is_writing = self._is_due = True
        self._loop.call_soon(self._write_due)

    def _write_due(self) -> None:
        if self._is_due:
            self._write()

    def _write(self) -> None:
        """All that is to be sent."""
        self._is_writing, self._is_due = True, False
        data, frames = b"".join(self._outbox), self._pending_frames
        self._outbox.clear()
        try:
            rest = self._stream.write_now(data)
        except ProviderError as lost:
            self._lose(lost)
            return
        if rest is None:
            self._written(len(data), frames)
            return
        waiting = self._wait(rest, len(data), frames)
        try:
            self._group.create_task(waiting)
        except RuntimeError:  # the group has begun to end
            waiting.close()
            self._stream.abort()

    async def _wait(self, rest: Awaitable[None], size: int, frames: int) -> None:
        try:
            await rest
        except ProviderError as lost:
            self._lose(lost)
        else:
            self._written(size, frames)

    def _written(self, size: int, frames: int) -> None:
        self._pending -= size
        self._pending_frames -= frames
        self._is_writing = False
        if self._outbox:
            self._write_soon()
        wanting, self._wanting = self._wanting, []
        for stream in wanting:
            stream.room_came()

    def _lose(self, error: ProviderError) -> None:
        """Have `run` end with this error."""
        self._lost = self._lost or error
        self._outbox.clear()
        self._stream.abort()

    async def _read(self) -> None:
        """Frames go to their requests by direct calls, up to the work that may be done in one go."""
        while True:
            await self._stream.flow(self._take)
            while self._work >= SLICE_WORK:
                await self._rest()
                self._take_partial()

    def _take(self, data: bytes) -> bool:
        """Read on after this?"""
        if not data:
            raise LinkLost("it closed a channel.")
        self._partial = self._partial + data if self._partial else data
        return self._take_partial()

    def _take_partial(self) -> bool:
        data = self._partial
        at = self._cut(data)
        self._partial = data[at:] if at < len(data) else b""
        for stream in self._told:
            stream.tell()
        self._told.clear()
        return self._work < SLICE_WORK

    async def _rest(self) -> None:
        """Let others have their turn, longer if this peer keeps the node busier than any needs to."""
        work, self._work = self._work, 0
        loop = self._loop
        await asyncio.sleep(0)
        while not self._pace.take(work, loop.time()):  # noqa: ASYNC110 - what is waited for is time
            await asyncio.sleep(max(self._pace.when_s(work, loop.time()) - loop.time(), SHORTEST_REST_S))

    def _cut(self, data: bytes) -> int:
        """Take these frames, as many as may be in one go; where the next one begins."""
        at, size, streams = 0, len(data), self._streams
        while size - at >= HEAD_BYTES and self._work < SLICE_WORK:
            number, kind, length = read_head(data, at)
            end = at + HEAD_BYTES + length
            if end > size:
                break
            if length < LITTLE_BYTES:
                self._work += 1
            stream = streams.get(number)
            if stream is not None:
                stream.came(kind, data[at + HEAD_BYTES : end])
            else:
                self._came(number, kind, data[at + HEAD_BYTES : end])
            at = end
        return at

    def _came(self, number: int, kind: FrameKind, payload: bytes) -> None:
        """A frame of a request that is new, or over."""
        if not number:
            raise ProtocolFault(f"it sent a {kind.name} frame of the control stream on a channel.")
        is_new = number > self._last and self._arrived is not None
        stream = self._begun(number, kind) if is_new else None
        if stream is not None:
            stream.came(kind, payload)
        else:  # it was on its way when the request ended
            self._work += len(payload) // NOBODYS_BYTES

    def _begun(self, number: int, kind: FrameKind) -> MuxStream | None:
        self._last = number
        self._work += STREAM_WORK
        if kind is FrameKind.RESET:
            return None
        if len(self._streams) >= MAX_STREAMS:
            self.put(number, FrameKind.RESET, b"")
            return None
        stream = self._streams[number] = MuxStream(self, number)
        assert self._arrived is not None  # noqa: S101 - asked by the caller
        self._arrived(stream)
        return stream


class Mux:
    """All channels of a link, both sides'. `run` it in a task; it ends with the link.

    `arrived` gets each request that the peer opens, at once, and owns it. `why` as for `Channel`.
    """

    def __init__(self, link: Link, why: Callable[[], str], arrived: Arrived) -> None:
        self._link = link
        self._why = why
        self._arrived = arrived
        self._own: list[Channel] = []
        self._theirs: list[Channel] = []
        self._opening = 0
        self._pace = TokenBucket(WORK_PER_S, WORK_BURST, asyncio.get_running_loop().time())
        self._group: asyncio.TaskGroup | None = None
        self._begun: asyncio.Future[None] = asyncio.Future()
        self._opened: asyncio.Future[None] = asyncio.Future()  # done when the next channel is there or is not to be

    @property
    def streams(self) -> int:
        """How many are open, whoever opened them."""
        return sum(channel.streams for channel in (*self._own, *self._theirs))

    async def run(self, *beside: Coroutine[None, None, None]) -> None:
        """Take the peer's channels, and run these with them. Raises `LinkLost`, `StreamReset`, `ProtocolFault`."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._begun.set_result(None)
                _ = [group.create_task(each) for each in beside]
                while True:
                    stream = await self._link.accept()
                    if len(self._theirs) >= CHANNELS:
                        stream.abort()
                        raise ProtocolFault(f"it opened more than {CHANNELS} channels.")
                    channel = Channel(stream, self._why, self._pace, group, self._arrived)
                    self._theirs.append(channel)
                    group.create_task(channel.run())
        finally:
            self._group = None
            self._wake_openers()

    async def open(self) -> FrameStream:
        """A new request, on the channel with the fewest; waits until `run` has begun. Raises `LinkLost`."""
        await asyncio.wait([self._begun])
        while self._group is not None:
            stream = self.open_now()
            if stream is not None:
                return stream
            if len(self._own) + self._opening < CHANNELS:
                return (await self._new_channel()).open()
            await asyncio.wait([self._opened])
        raise self._lost()

    def open_now(self) -> MuxStream | None:
        """The same where there is a channel for it: one that is free, or any when all are opened."""
        if self._group is None or not self._own:
            return None
        for channel in self._own:
            if not channel.streams:
                return channel.open()
        least = min(self._own, key=attrgetter("streams"))
        if len(self._own) + self._opening < CHANNELS:
            return None
        return least.open() if not self._opening or least.streams < FEW_STREAMS else None

    def _wake_openers(self) -> None:
        self._opened.set_result(None)
        self._opened = asyncio.Future()

    def _lost(self) -> LinkLost:
        return LinkLost(self._why() or "the link to the peer was closed.")

    async def _new_channel(self) -> Channel:
        self._opening += 1
        try:
            stream = await self._link.open()
        finally:
            self._opening -= 1
            self._wake_openers()
        if self._group is None:
            stream.abort()
            raise self._lost()
        channel = Channel(stream, self._why, self._pace, self._group)
        running = channel.run()
        try:
            self._group.create_task(running)
        except RuntimeError:  # the group has begun to end, and takes nobody any more
            running.close()
            stream.abort()
            raise self._lost() from None
        self._own.append(channel)
        return channel
