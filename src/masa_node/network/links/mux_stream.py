"""One request's bytes among those of others on a channel (`mux.py`): in order, within a window, ended from either
side.
"""

import asyncio
import struct
from collections import deque
from enum import IntEnum
from typing import Protocol

from masa_node.chat.errors import ProtocolFault, StreamReset
from masa_node.network.transport.interfaces import MAX_READ_BYTES

MUX_WINDOW_BYTES = 256 * 1024  # of a call in one direction, not read yet: 2.5 MB/s at a round trip of 100 ms
MAX_CHUNK_BYTES = MAX_READ_BYTES
SMALL_BYTES = 4096  # pieces below wait in one object: a byte in one of its own takes forty times as much

_GRANT = struct.Struct(">I")


class MuxFrameKind(IntEnum):
    """What a frame of a channel is."""

    DATA = 0
    FINISH = 1  # nothing more in this direction
    RESET = 2  # the call is given up, in both directions
    WINDOW = 3  # so many bytes more may be sent (4 bytes)


class CarriesStreams(Protocol):
    """What a call needs of its channel."""

    @property
    def is_full(self) -> bool:
        """Does too much wait for the transport?"""
        ...

    def put(self, number: int, kind: MuxFrameKind, payload: bytes) -> None:
        """Send a frame."""
        ...

    def leave(self, number: int) -> None:
        """The call is over."""
        ...

    def wants_room(self, stream: "MuxStream") -> None:
        """Tell this call once there is room."""
        ...


class MuxStream:
    """One request's bytes on a channel; see `interfaces.Stream`."""

    __slots__ = (
        *("_fault", "_has_ended", "_has_finished", "_inbox", "_channel", "_number", "_read", "_reader", "_room"),
        *("_unread", "_writer"),
    )

    def __init__(self, channel: CarriesStreams, number: int) -> None:
        self._channel = channel
        self._number = number
        self._inbox: deque[bytes] = deque()
        self._unread = 0
        self._read = 0  # since the last grant
        self._room = MUX_WINDOW_BYTES
        self._has_ended = False
        self._has_finished = False
        self._fault: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    async def read(self) -> bytes:
        """See `interfaces.Stream`. What came before a loss of the link is still given out."""
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
        if self._read >= MUX_WINDOW_BYTES // 2 and not self._has_ended:
            self._channel.put(self._number, MuxFrameKind.WINDOW, _GRANT.pack(self._read))
            self._read = 0
        return data

    async def write(self, data: bytes) -> None:
        """See `interfaces.Stream`."""
        for start in range(0, len(data), MAX_CHUNK_BYTES):
            chunk = data[start : start + MAX_CHUNK_BYTES] if len(data) > MAX_CHUNK_BYTES else data
            while self._room < len(chunk) or self._channel.is_full:
                await self._wait_for_room()
            if self._fault is not None:
                raise self._fault
            self._room -= len(chunk)
            self._channel.put(self._number, MuxFrameKind.DATA, chunk)

    async def finish(self) -> None:
        """See `interfaces.Stream`."""
        if self._fault is not None:
            raise self._fault
        if not self._has_finished:
            self._has_finished = True
            self._channel.put(self._number, MuxFrameKind.FINISH, b"")
            self._leave_if_over()

    def abort(self) -> None:
        """See `interfaces.Stream`."""
        if self._fault is not None or (self._has_finished and self._has_ended):
            return
        self._channel.put(self._number, MuxFrameKind.RESET, b"")
        self._inbox.clear()
        self.fail(StreamReset("this node gave the stream up."))

    # ---- what the channel tells ----

    def came(self, kind: MuxFrameKind, payload: bytes) -> None:
        """A frame for this call. Raises `ProtocolFault`."""
        match kind:
            case MuxFrameKind.DATA:
                self._take(payload)
            case MuxFrameKind.FINISH:
                self._has_ended = True
                _wake(self._reader)
                self._leave_if_over()
            case MuxFrameKind.RESET:
                self._inbox.clear()
                self.fail(StreamReset("the peer gave the stream up."))
            case MuxFrameKind.WINDOW:
                self._room += _granted(payload)
                if self._room > MUX_WINDOW_BYTES:
                    raise ProtocolFault("it granted more than was sent.")
                _wake(self._writer)

    def fail(self, fault: Exception) -> None:
        """Nothing more will come or go."""
        if self._fault is None:
            self._fault = fault
        self._channel.leave(self._number)
        _wake(self._reader)
        _wake(self._writer)

    def room_came(self) -> None:
        """The channel has room again."""
        _wake(self._writer)

    def _take(self, payload: bytes) -> None:
        self._unread += len(payload)
        if self._has_ended or self._unread > MUX_WINDOW_BYTES:
            raise ProtocolFault("it sent more on a stream than it may.")
        if payload:
            inbox = self._inbox
            if inbox and len(payload) < SMALL_BYTES and len(inbox[-1]) < SMALL_BYTES:
                inbox[-1] += payload
            else:
                inbox.append(payload)
            _wake(self._reader)

    async def _wait_for_room(self) -> None:
        if self._fault is not None:
            raise self._fault
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
