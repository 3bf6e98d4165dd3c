"""The frames of one request among those of others on a channel (`mux.py`): in order, within a window, ended from
either side.
"""

import asyncio
import struct
from collections.abc import Callable, Sequence
from typing import Protocol

from masa_node.chat.errors import ProtocolFault, StreamReset
from masa_node.chat.kept_errors import fresh
from masa_node.network.links.frames import Frame, FrameKind

MUX_WINDOW_BYTES = 256 * 1024  # of a request in one direction, not taken yet: 2.5 MB/s at a round trip of 100 ms
_GRANTED_BYTES = MUX_WINDOW_BYTES // 2  # at once
_SHORT_BYTES = 1024  # of a frame
FRAME_COST_BYTES = 64  # of the window, beside its payload: what a frame takes in memory while it waits

_FIRST_OF_A_REQUEST = int(FrameKind.REQUEST)  # to read it off the enum takes as long as the rest of `came`
_PIECE = FrameKind.PIECE
_FINISH: Frame = (FrameKind.FINISH, b"")
_GRANT = struct.Struct(">I")


class CarriesStreams(Protocol):
    """What a request needs of its channel."""

    @property
    def is_full(self) -> bool:
        """Does too much wait for the transport?"""
        ...

    def number(self, silent: int) -> int:
        """Its number on the wire, for a request that sends its first frame. One with a number below 0 has sent none."""
        ...

    def put(self, number: int, kind: FrameKind, payload: bytes) -> None:
        """Send a frame."""
        ...

    def put_all(self, number: int, frames: Sequence[Frame]) -> None:
        """Send these, in one write."""
        ...

    def put_late(self, number: int, kind: FrameKind) -> None:
        """Send a frame soon: nobody waits for it."""
        ...

    def leave(self, number: int) -> None:
        """The request is over."""
        ...

    def will_tell(self, stream: "MuxStream", /) -> None:
        """`tell` this request soon, once for all that came."""
        ...

    def wants_room(self, stream: "MuxStream") -> None:
        """Notify this request once there is room."""
        ...


class MuxStream:
    """One request's frames on a channel; see `frames.FrameStream`."""

    __slots__ = (
        *("_channel", "_fault", "_has_ended", "_has_finished", "_inbox", "_is_told", "_listener", "_number"),
        *("_reader", "_room", "_take", "_unread", "_window_used", "_writer"),
    )

    def __init__(self, channel: CarriesStreams, number: int) -> None:
        self._channel = channel
        self._number = number
        self._inbox: list[Frame] = []
        self._unread = 0  # of the window: what lies in the inbox
        self._window_used = 0  # the same, with what was given out and not granted again
        self._room = MUX_WINDOW_BYTES
        self._has_ended = False
        self._has_finished = False
        self._fault: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._listener: Callable[[], None] | None = None
        self._take: Callable[[bytes], bool] | None = None
        self._is_told = False  # of what came, soon

    async def receive(self) -> list[Frame]:
        """See `FrameStream`. What came before a loss of the link is still given out."""
        self._grant()
        while not self._inbox:
            if self._fault is not None:
                raise fresh(self._fault)
            if self._has_ended:
                return []
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        frames, self._inbox, self._unread = self._inbox, [], 0
        return frames

    async def send(self, kind: FrameKind, payload: bytes) -> None:
        """See `FrameStream`."""
        cost = len(payload) + FRAME_COST_BYTES
        while self._room < cost or self._channel.is_full:
            await self._wait_for_room()
        if self._fault is not None:
            raise fresh(self._fault)
        self._room -= cost
        self._begin()
        self._channel.put(self._number, kind, payload)

    def send_now(self, *frames: Frame, is_last: bool = False) -> bool:
        """See `FrameStream`."""
        cost = 0
        for _, payload in frames:
            cost += len(payload) + FRAME_COST_BYTES
        if self._fault is not None or self._room < cost or self._channel.is_full:
            return False
        self._room -= cost
        if self._number < 0:
            self._begin()
        if not is_last:
            self._channel.put_all(self._number, frames)
            return True
        self._has_finished = True
        self._channel.put_all(self._number, (*frames, _FINISH))
        self._leave_if_over()
        return True

    def receive_now(self) -> list[Frame] | None:
        """See `FrameStream`."""
        if self._window_used - self._unread >= _GRANTED_BYTES:
            self._grant()
        if not self._inbox:
            return None if self._has_ended or self._fault is not None else []
        frames, self._inbox, self._unread = self._inbox, [], 0
        return frames

    @property
    def has_room(self) -> bool:
        """See `FrameStream`."""
        return self._room >= _SHORT_BYTES and self._fault is None and not self._channel.is_full

    def listen(self, came: Callable[[], None] | None, take: Callable[[bytes], bool] | None = None) -> None:
        """See `FrameStream`."""
        self._listener, self._take = came, take

    def finish(self) -> None:
        """See `FrameStream`."""
        if self._fault is not None:
            raise fresh(self._fault)
        if not self._has_finished:
            self._has_finished = True
            self._begin()
            self._channel.put_late(self._number, FrameKind.FINISH)
            self._leave_if_over()

    def abort(self) -> None:
        """See `FrameStream`."""
        if self._fault is not None or (self._has_finished and self._has_ended):
            return
        if self._number > 0:
            self._channel.put(self._number, FrameKind.RESET, b"")
        self._inbox.clear()
        self.fail(StreamReset("this node gave the stream up."))

    # ---- what the channel tells ----

    def came(self, kind: FrameKind, payload: bytes) -> None:
        """A frame for this request. Raises `ProtocolFault`."""
        if kind < _FIRST_OF_A_REQUEST and self._took(kind, payload):
            return
        cost = len(payload) + FRAME_COST_BYTES
        self._window_used += cost
        if self._has_ended or self._window_used > MUX_WINDOW_BYTES:
            raise ProtocolFault("it sent more on a stream than it may.")
        if kind is _PIECE and self._take is not None and not self._inbox and self._take(payload):
            if self._window_used - self._unread >= _GRANTED_BYTES:
                self._grant()
            return
        self._unread += cost
        self._inbox.append((kind, payload))
        if self._reader is not None or not self._is_told:
            self._more_came()

    def fail(self, fault: Exception) -> None:
        """Nothing more will come or go."""
        if self._fault is None:
            self._fault = fault
        self._channel.leave(self._number)
        _wake(self._reader)
        _wake(self._writer)
        self.tell()

    def tell(self) -> None:
        """Something has come, or nothing more will."""
        self._is_told = False
        if self._listener is not None:
            self._listener()

    def room_came(self) -> None:
        """The channel has room again."""
        _wake(self._writer)

    def _begin(self) -> None:
        if self._number < 0:
            self._number = self._channel.number(self._number)

    def _took(self, kind: FrameKind, payload: bytes) -> bool:
        """Was this a frame of the mux's own?"""
        match kind:
            case FrameKind.FINISH:
                self._has_ended = True
                self._more_came()
                self._leave_if_over()
            case FrameKind.RESET:
                if not self._has_ended:  # else all was sent: who sent it does not wait until it is read
                    self._inbox.clear()
                self.fail(StreamReset("the peer gave the stream up."))
            case FrameKind.WINDOW:
                self._room += _granted(payload)
                if self._room > MUX_WINDOW_BYTES:
                    raise ProtocolFault("it granted more than was sent.")
                _wake(self._writer)
            case _:
                return False
        return True

    def _more_came(self) -> None:
        _wake(self._reader)
        if self._listener is not None and not self._is_told:
            self._is_told = True
            self._channel.will_tell(self)

    def _grant(self) -> None:
        """Grant what was given out: a reader that comes for more is done with it."""
        taken = self._window_used - self._unread
        if taken >= _GRANTED_BYTES and not self._has_ended and self._fault is None:
            self._window_used = self._unread
            self._channel.put(self._number, FrameKind.WINDOW, _GRANT.pack(taken))

    async def _wait_for_room(self) -> None:
        if self._fault is not None:
            raise fresh(self._fault)
        self._writer = asyncio.get_running_loop().create_future()
        self._channel.wants_room(self)
        try:
            await self._writer
        finally:
            self._writer = None

    def _leave_if_over(self) -> None:
        if self._has_finished and self._has_ended:
            self._channel.leave(self._number)


def _granted(payload: bytes) -> int:
    if len(payload) != _GRANT.size:
        raise ProtocolFault("it sent a malformed grant on a channel.")
    granted: int = _GRANT.unpack(payload)[0]
    if not granted:
        raise ProtocolFault("it granted nothing on a channel.")
    return granted


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
