"""Many asks on few streams of a link. A call into the transport costs tens of microseconds, whatever it carries: what
several asks have to say at the same moment goes out in one write, and comes in in one read.

A lane is a stream of the transport, opened by the node that asks; a call (`mux_stream.py`) is one ask on it, a `Stream`
to those above. Few asks have a lane each, so that a lost packet delays one of them; many share LANES.

    call (4 bytes) | kind (1 byte) | length of the payload (3 bytes) | payload        all big-endian

What a peer makes this node do costs the peer bytes, not this node its memory or its loop: what waits for a peer that
does not read is bounded, and the link closed beyond; frames that carry little are read in slices, and at a rate.
"""

import asyncio
import struct
from collections.abc import Callable

from masa_node.chat.errors import LinkLost, ProtocolFault, ProviderError
from masa_node.network.links.mux_stream import MAX_CHUNK_BYTES, WINDOW_BYTES, Call, CallKind
from masa_node.network.links.token_bucket import Allowance
from masa_node.network.transport.interfaces import Link, Stream

__all__ = ["LANES", "MAX_CALLS", "MAX_CHUNK_BYTES", "WINDOW_BYTES", "Call", "CallKind", "Lane", "Lanes"]

LANES = 8  # of each side: beyond that a write carries what several asks have to say
FEW_CALLS = 8  # of a lane; the next wait for lanes that are being opened, so that a thousand at once spread evenly
MAX_CALLS = 256  # open on a lane, those that are just ending too: twice what 1 000 asks at a time need
MAX_PENDING_BYTES = 256 * 1024  # of a lane, given to it and not to the transport yet; more has to wait
MAX_PENDING_FRAMES = 16 * MAX_CALLS  # that have no payload and cannot wait: a well-behaved peer leaves a few a call
# Work is counted in frames that carry next to nothing, some 2 us each; a call that is opened costs as much as 20.
CALL_WORK = 20
LITTLE_BYTES = 16  # a frame of an ask or of an answer has more
SLICE_WORK = 200  # then others have their turn; with every lane of a link busy, below 5 ms
WORK_PER_S = 50_000  # of one link: 2 500 calls a second, more than one node can answer; a tenth of a core
WORK_BURST = 2 * WORK_PER_S
SHORTEST_REST_S = 0.001  # a timer is no finer

_HEAD = struct.Struct(">II")
_LENGTH_BITS = 24
_LENGTH = (1 << _LENGTH_BITS) - 1


class Lane:
    """One stream of the transport, cut into calls. `arrived` gets the calls that the peer opens (None: it opens none);
    `why` tells why the link went, if it is known.
    """

    def __init__(
        self, stream: Stream, why: Callable[[], str], pace: Allowance, arrived: Callable[[Call], None] | None = None
    ) -> None:
        self._stream = stream
        self._why = why
        self._pace = pace
        self._arrived = arrived
        self._calls: dict[int, Call] = {}
        self._last = 0
        self._held = b""
        self._outbox: list[bytes] = []
        self._pending = 0
        self._pending_frames = 0  # without a payload
        self._work = 0  # done since others had their turn
        self._overflow = ""
        self._filled = asyncio.Event()
        self._wanting: list[Call] = []

    @property
    def calls(self) -> int:
        """How many are open."""
        return len(self._calls)

    @property
    def is_full(self) -> bool:
        """Does too much wait for the transport?"""
        return self._pending > MAX_PENDING_BYTES

    def open(self) -> Call:
        """A new call; the peer hears of it with the first bytes written."""
        self._last += 1
        call = self._calls[self._last] = Call(self, self._last)
        return call

    async def run(self) -> None:
        """Until the stream or the link is gone, which it raises: `LinkLost`, `StreamReset`, `ProtocolFault`."""
        why = ""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write())
                group.create_task(self._read())
        except* ProviderError as lost:
            why = self._overflow or first_message(lost)
            if not self._overflow:
                raise
        finally:
            self._stream.abort()
            for call in list(self._calls.values()):
                call.fail(LinkLost(self._why() or why or "the link to the peer was closed."))
        if self._overflow:
            raise LinkLost(why)

    # ---- for its calls ----

    def put(self, number: int, kind: CallKind, payload: bytes) -> None:
        """Send a frame, together with whatever else is sent in this turn of the loop."""
        if self._overflow:
            return
        self._outbox.append(_HEAD.pack(number, kind << _LENGTH_BITS | len(payload)))
        self._outbox.append(payload)
        self._pending += _HEAD.size + len(payload)
        self._pending_frames += kind is not CallKind.DATA
        self._filled.set()
        if self._pending_frames > MAX_PENDING_FRAMES:
            self._overflow = "it does not read what it is sent."
            self._outbox.clear()
            self._stream.abort()  # which ends `run`

    def leave(self, number: int) -> None:
        """The call is over."""
        self._calls.pop(number, None)

    def wants_room(self, call: Call) -> None:
        """Tell this call once there is room."""
        if self.is_full:
            self._wanting.append(call)

    # ---- the two directions ----

    async def _write(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            data, frames = b"".join(self._outbox), self._pending_frames
            self._outbox.clear()
            await self._stream.write(data)
            self._pending -= len(data)
            self._pending_frames -= frames
            wanting, self._wanting = self._wanting, []
            for call in wanting:
                call.look_again()

    async def _read(self) -> None:
        while True:
            data = await self._stream.read()
            if not data:
                raise LinkLost("it closed a lane.")
            if self._held:
                data = self._held + data
            at = self._cut(data, 0)
            while self._work >= SLICE_WORK:
                await self._rest()
                at = self._cut(data, at)
            self._held = data[at:]

    async def _rest(self) -> None:
        """Let others have their turn, longer if this peer keeps the node busier than any needs to."""
        work, self._work = self._work, 0
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)
        while not self._pace.take(work, loop.time()):  # noqa: ASYNC110 - what is waited for is time
            await asyncio.sleep(max(self._pace.when_s(work, loop.time()) - loop.time(), SHORTEST_REST_S))

    def _cut(self, data: bytes, at: int) -> int:
        """Take the frames from there on, as many as may be in one go; where the next one begins."""
        size = len(data)
        while size - at >= _HEAD.size and self._work < SLICE_WORK:
            number, rest = _HEAD.unpack_from(data, at)
            length = rest & _LENGTH
            if length > MAX_CHUNK_BYTES:
                raise ProtocolFault(f"it announced {length} bytes on a lane; {MAX_CHUNK_BYTES} are the limit.")
            end = at + _HEAD.size + length
            if end > size:
                break
            if length < LITTLE_BYTES:
                self._work += 1
            self._came(number, rest >> _LENGTH_BITS, data[at + _HEAD.size : end])
            at = end
        return at

    def _came(self, number: int, kind: int, payload: bytes) -> None:
        if kind > CallKind.WINDOW:
            raise ProtocolFault(f"it sent a frame of unknown kind {kind} on a lane.")
        call = self._calls.get(number)
        if call is None and number > self._last and self._arrived is not None:
            call = self._begun(number, kind)
        if call is not None:  # frames for a call that is over were on their way when it ended
            call.came(CallKind(kind), payload)

    def _begun(self, number: int, kind: int) -> Call | None:
        self._last = number
        self._work += CALL_WORK
        if kind == CallKind.RESET:
            return None
        if len(self._calls) >= MAX_CALLS:
            self.put(number, CallKind.RESET, b"")
            return None
        call = self._calls[number] = Call(self, number)
        assert self._arrived is not None  # noqa: S101 - asked by the caller
        self._arrived(call)
        return call


class Lanes:
    """All lanes of a link, both sides'. `run` it in a task; it ends with the link. `why` as for `Lane`."""

    def __init__(self, link: Link, why: Callable[[], str]) -> None:
        self._link = link
        self._why = why
        self._own: list[Lane] = []
        self._theirs: list[Lane] = []
        self._opening = 0
        self._arrived: asyncio.Queue[Call] = asyncio.Queue()  # as many as may be open: MAX_CALLS on each of LANES
        self._pace = Allowance(WORK_PER_S, WORK_BURST, asyncio.get_running_loop().time())
        self._group: asyncio.TaskGroup | None = None
        self._has_begun = asyncio.Event()
        self._opened = asyncio.Event()  # set once, when the next lane is there or is not to be

    @property
    def calls(self) -> int:
        """How many are open, whoever opened them."""
        return sum(lane.calls for lane in (*self._own, *self._theirs))

    async def run(self) -> None:
        """Take the peer's lanes. Raises `LinkLost`, `StreamReset`, `ProtocolFault`."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._has_begun.set()
                while True:
                    stream = await self._link.accept()
                    if len(self._theirs) >= LANES:
                        stream.abort()
                        raise ProtocolFault(f"it opened more than {LANES} lanes.")
                    lane = Lane(stream, self._why, self._pace, self._arrived.put_nowait)
                    self._theirs.append(lane)
                    group.create_task(lane.run())
        finally:
            self._group = None
            self._wake_openers()

    async def open(self) -> Stream:
        """A new call, on the lane with the fewest; waits until `run` has begun. Raises `LinkLost`."""
        await self._has_begun.wait()
        while self._group is not None:
            if len(self._own) + self._opening < LANES and all(lane.calls for lane in self._own):
                return (await self._new_lane()).open()
            least = min(self._own, key=lambda lane: lane.calls, default=None)
            if least is not None and (not self._opening or least.calls < FEW_CALLS):
                return least.open()
            await self._opened.wait()
        raise self._lost()

    async def accept(self) -> Stream:
        """The next call that the peer opened."""
        return await self._arrived.get()

    def _wake_openers(self) -> None:
        self._opened.set()
        self._opened = asyncio.Event()

    def _lost(self) -> LinkLost:
        return LinkLost(self._why() or "the link to the peer was closed.")

    async def _new_lane(self) -> Lane:
        self._opening += 1
        try:
            stream = await self._link.open()
        finally:
            self._opening -= 1
            self._wake_openers()
        if self._group is None:
            stream.abort()
            raise self._lost()
        lane = Lane(stream, self._why, self._pace)
        running = lane.run()
        try:
            self._group.create_task(running)
        except RuntimeError:  # the group has begun to end, and takes nobody any more
            running.close()
            stream.abort()
            raise self._lost() from None
        self._own.append(lane)
        return lane


def first_message(group: BaseExceptionGroup[ProviderError]) -> str:
    """What the first of these errors says."""
    first = group.exceptions[0]
    return first_message(first) if isinstance(first, BaseExceptionGroup) else first.message
