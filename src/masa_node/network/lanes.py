"""Many asks on few streams of a link. A call into the transport costs tens of microseconds, whatever it carries: what
several asks have to say at the same moment goes out in one write, and comes in in one read.

A lane is a stream of the transport, opened by the node that asks; a call is one ask on it, a `Stream` to those above.
Few asks have a lane each, so that a lost packet delays one of them; many share LANES.

    call (4 bytes) | kind (1 byte) | length of the payload (3 bytes) | payload        all big-endian
"""

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from enum import IntEnum

from masa_node.chat.errors import ProviderError
from masa_node.network.transport import MAX_READ_BYTES, Link, LinkLost, Stream, StreamReset
from masa_node.network.wire import ProtocolFault

LANES = 8  # of each side: beyond that a write carries what several asks have to say
FEW_CALLS = 8  # of a lane; the next wait for lanes that are being opened, so that a thousand at once spread evenly
MAX_CALLS = 256  # open on a lane, those that are just ending too: twice what 1 000 asks at a time need
WINDOW_BYTES = 512 * 1024  # of a call in one direction, not read yet: above an ask's own credit of 256 KiB
MAX_PENDING_BYTES = 256 * 1024  # of a lane, given to it and not to the transport yet; more has to wait
MAX_CHUNK_BYTES = MAX_READ_BYTES

_HEAD = struct.Struct(">II")
_LENGTH_BITS = 24
_LENGTH = (1 << _LENGTH_BITS) - 1
_GRANT = struct.Struct(">I")


class CallKind(IntEnum):
    """What a frame of a lane is."""

    DATA = 0
    FINISH = 1  # nothing more in this direction
    RESET = 2  # the call is given up, in both directions
    WINDOW = 3  # so many bytes more may be sent (4 bytes)


class Call:
    """One ask's bytes on a lane; see `transport.Stream`."""

    __slots__ = (
        *("_fault", "_has_ended", "_has_finished", "_inbox", "_lane", "_number", "_read", "_reader", "_room"),
        *("_unread", "_writer"),
    )

    def __init__(self, lane: "Lane", number: int) -> None:
        self._lane = lane
        self._number = number
        self._inbox: deque[bytes] = deque()
        self._unread = 0
        self._read = 0  # since the last grant
        self._room = WINDOW_BYTES
        self._has_ended = False
        self._has_finished = False
        self._fault: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    async def read(self) -> bytes:
        """See `transport.Stream`. What came before a loss of the link is still given out."""
        inbox = self._inbox
        while not inbox:
            if self._fault is not None:
                raise self._fault
            if self._has_ended:
                return b""
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = inbox.popleft()
        while inbox and len(data) + len(inbox[0]) <= MAX_READ_BYTES:
            data += inbox.popleft()
        self._unread -= len(data)
        self._read += len(data)
        if self._read >= WINDOW_BYTES // 2 and not self._has_ended:
            self._lane.put(self._number, CallKind.WINDOW, _GRANT.pack(self._read))
            self._read = 0
        return data

    async def write(self, data: bytes) -> None:
        """See `transport.Stream`."""
        for start in range(0, len(data), MAX_CHUNK_BYTES):
            chunk = data[start : start + MAX_CHUNK_BYTES] if len(data) > MAX_CHUNK_BYTES else data
            while self._room < len(chunk) or self._lane.is_full:
                await self._wait_for_room()
            if self._fault is not None:
                raise self._fault
            self._room -= len(chunk)
            self._lane.put(self._number, CallKind.DATA, chunk)

    async def finish(self) -> None:
        """See `transport.Stream`."""
        if self._fault is not None:
            raise self._fault
        if not self._has_finished:
            self._has_finished = True
            self._lane.put(self._number, CallKind.FINISH, b"")
            self._leave_if_over()

    def abort(self) -> None:
        """See `transport.Stream`."""
        if self._fault is not None or (self._has_finished and self._has_ended):
            return
        self._lane.put(self._number, CallKind.RESET, b"")
        self._inbox.clear()
        self.fail(StreamReset("this node gave the stream up."))

    # ---- what the lane tells ----

    def came(self, kind: CallKind, payload: bytes) -> None:
        """A frame for this call. Raises `ProtocolFault`."""
        match kind:
            case CallKind.DATA:
                self._take(payload)
            case CallKind.FINISH:
                self._has_ended = True
                _wake(self._reader)
                self._leave_if_over()
            case CallKind.RESET:
                self._inbox.clear()
                self.fail(StreamReset("the peer gave the stream up."))
            case CallKind.WINDOW:
                self._room += _granted(payload)
                if self._room > WINDOW_BYTES:
                    raise ProtocolFault("it granted more than was sent.")
                _wake(self._writer)

    def fail(self, fault: Exception) -> None:
        """Nothing more will come or go."""
        if self._fault is None:
            self._fault = fault
        self._lane.leave(self._number)
        _wake(self._reader)
        _wake(self._writer)

    def look_again(self) -> None:
        """The lane has room again."""
        _wake(self._writer)

    def _take(self, payload: bytes) -> None:
        self._unread += len(payload)
        if self._has_ended or self._unread > WINDOW_BYTES:
            raise ProtocolFault("it sent more on a stream than it may.")
        if payload:
            self._inbox.append(payload)
            _wake(self._reader)

    async def _wait_for_room(self) -> None:
        if self._fault is not None:
            raise self._fault
        self._writer = asyncio.get_running_loop().create_future()
        self._lane.wants_room(self)
        try:
            await self._writer
        finally:
            self._writer = None

    def _leave_if_over(self) -> None:
        if self._has_finished and self._has_ended:
            self._lane.leave(self._number)


class Lane:
    """One stream of the transport, cut into calls. `arrived` gets the calls that the peer opens (None: it opens none);
    `why` tells why the link went, if it is known.
    """

    def __init__(self, stream: Stream, why: Callable[[], str], arrived: Callable[[Call], None] | None = None) -> None:
        self._stream = stream
        self._why = why
        self._arrived = arrived
        self._calls: dict[int, Call] = {}
        self._last = 0
        self._held = b""
        self._outbox: list[bytes] = []
        self._pending = 0
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
            why = first_message(lost)
            raise
        finally:
            self._stream.abort()
            for call in list(self._calls.values()):
                call.fail(LinkLost(self._why() or why or "the link to the peer was closed."))

    # ---- for its calls ----

    def put(self, number: int, kind: CallKind, payload: bytes) -> None:
        """Send a frame, together with whatever else is sent in this turn of the loop."""
        self._outbox.append(_HEAD.pack(number, kind << _LENGTH_BITS | len(payload)))
        self._outbox.append(payload)
        self._pending += _HEAD.size + len(payload)
        self._filled.set()

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
            data = b"".join(self._outbox)
            self._outbox.clear()
            await self._stream.write(data)
            self._pending -= len(data)
            wanting, self._wanting = self._wanting, []
            for call in wanting:
                call.look_again()

    async def _read(self) -> None:
        while True:
            data = await self._stream.read()
            if not data:
                raise LinkLost("it closed a lane.")
            self._cut(self._held + data if self._held else data)

    def _cut(self, data: bytes) -> None:
        at, size = 0, len(data)
        while size - at >= _HEAD.size:
            number, rest = _HEAD.unpack_from(data, at)
            length = rest & _LENGTH
            if length > MAX_CHUNK_BYTES:
                raise ProtocolFault(f"it announced {length} bytes on a lane; {MAX_CHUNK_BYTES} are the limit.")
            end = at + _HEAD.size + length
            if end > size:
                break
            self._came(number, rest >> _LENGTH_BITS, data[at + _HEAD.size : end])
            at = end
        self._held = data[at:]

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
                    lane = Lane(stream, self._why, self._arrived.put_nowait)
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
        lane = Lane(stream, self._why)
        self._own.append(lane)
        self._group.create_task(lane.run())
        return lane


def first_message(group: BaseExceptionGroup[ProviderError]) -> str:
    """What the first of these errors says."""
    first = group.exceptions[0]
    return first_message(first) if isinstance(first, BaseExceptionGroup) else first.message


def _granted(payload: bytes) -> int:
    if len(payload) != _GRANT.size:
        raise ProtocolFault("it sent a malformed grant on a lane.")
    granted: int = _GRANT.unpack(payload)[0]
    return granted


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
