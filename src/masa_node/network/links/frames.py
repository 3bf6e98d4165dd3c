"""Frames on a stream between two nodes: whose it is, a kind, a length, a payload. Bounded; see docs/protocol.md.

    request (4 bytes) | kind (1 byte) | length of the payload (3 bytes) | payload        all big-endian

On the control stream `request` is 0; on a channel (`mux.py`) it is the number of the request on that channel. Headers
are msgpack maps, checked against structs; unknown fields are ignored, so that a newer node may add some. Bodies and
pieces of answers are raw bytes.
"""

import struct
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Protocol, TypeVar

import msgspec

from masa_node.chat.errors import ProtocolFault

HEAD = struct.Struct(">II")  # of a frame: the request; the kind and, in LENGTH_BITS, the length
HEAD_BYTES = HEAD.size
LENGTH_BITS = 24
LENGTH_MASK = (1 << LENGTH_BITS) - 1
OPTIONAL = 128  # a node ignores kinds from here on that it does not know; other unknown ones end the link
MAX_PAYLOAD_BYTES = 64 * 1024  # as much as one read of the transport gives: longer bodies and pieces are split
MAX_HEADER_BYTES = 32 * 1024  # of an msgpack header: twice what 16 headers of 1 kB take
MAX_FAULT_CHARS = 200  # of what a peer's malformed header made the decoder say: it may quote the peer


class FrameKind(IntEnum):
    """What a frame is."""

    # on the control stream, the first that the dialing node opens
    HELLO = 1
    WELCOME = 2
    REFUSED = 3
    PING = 4
    PONG = 5
    GOSSIP = 6
    VOUCH = 7
    # of the mux, on a channel
    FINISH = 8  # nothing more in this direction
    RESET = 9  # the request is given up, in both directions
    WINDOW = 10  # so much more may be sent (4 bytes)
    # of a request, on a channel
    REQUEST = 16
    BODY = 17
    HEAD = 18
    PIECE = 19
    END = 20
    FAIL = 21
    ALIVE = 22
    # stands for every kind from OPTIONAL on that this node does not know; never given a meaning
    IGNORED = 128


_RAW = frozenset({FrameKind.GOSSIP, FrameKind.BODY, FrameKind.PIECE, FrameKind.IGNORED})
# By number: the kind, and the longest payload that it may have.
_KINDS = {int(kind): (kind, MAX_PAYLOAD_BYTES if kind in _RAW else MAX_HEADER_BYTES) for kind in FrameKind}
_unpack_head = HEAD.unpack_from
# What msgpack of a stranger raises; RecursionError at about a thousand maps within each other.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
T = TypeVar("T")


class FrameStream(Protocol):
    """The frames of one request, both ways. One task sends and one receives at a time."""

    async def send(self, kind: FrameKind, payload: bytes) -> None:
        """Send one frame; waits while the peer's side takes nothing. Raises `StreamReset`, `LinkLost`.

        When cancelled, nothing of it was sent.
        """
        ...

    async def receive(self) -> list["Frame"]:
        """What has come, one frame at least; none when the peer has finished. Raises `StreamReset`, `LinkLost`.

        The peer may send more only when this is called again: what was given out counts until then.
        """
        ...

    # The same without a task: for many requests in one turn of the event loop, and for pieces as they come.

    def send_now(self, *frames: "Frame", is_last: bool = False) -> bool:
        """Send these, and with `is_last` nothing after them; False, and nothing is sent, where that would mean to wait
        or to raise.
        """
        ...

    def receive_now(self) -> list["Frame"] | None:
        """What has come, if anything; None where `receive` would raise, or give nothing for ever."""
        ...

    @property
    def has_room(self) -> bool:
        """Would a short frame go out at once? If none was sent before, half of a window would."""
        ...

    def listen(self, came: Callable[[], None] | None, take: Callable[[bytes], bool] | None = None) -> None:
        """From now on call this whenever something has come, or nothing more will; None: nobody. It must not raise.

        It is called once for all frames that came together. A PIECE before which all was received may be offered to
        `take` instead, which must not raise, and says whether it has taken it.
        """
        ...

    def finish(self) -> None:
        """Nothing more will be sent, which the peer may hear a little later. Never waits. Raises as `send` does."""
        ...

    def abort(self) -> None:
        """Give both directions up at once; the peer sees `StreamReset`. Never waits, never raises; idempotent.

        After both sides have finished it does nothing.
        """
        ...


class OpensRequests(Protocol):
    """Where requests to a peer are opened: the mux of a link with it."""

    async def open(self) -> FrameStream:
        """A new request. The peer hears of it with the first frame. Raises `LinkLost`."""
        ...

    def open_now(self) -> FrameStream | None:
        """The same; None where that would mean to wait or to raise."""
        ...


Frame = tuple[FrameKind, bytes]


def frame(kind: FrameKind, payload: bytes, request: int = 0) -> bytes:
    """One frame; of the control stream, if no request is named. Raises `ValueError` for too long a payload."""
    return HEAD.pack(request, kind << LENGTH_BITS | len(checked(kind, payload))) + payload


def checked(kind: FrameKind, payload: bytes) -> bytes:
    """The payload. Raises `ValueError` if it is longer than its kind may have: the caller splits."""
    if len(payload) > _KINDS[kind][1]:
        raise ValueError(f"a {kind.name} payload of {len(payload)} bytes")
    return payload


def header_payload(kind: FrameKind, header: msgspec.Struct) -> bytes:
    """A header as the payload of a frame. Raises `ValueError` if that is longer than MAX_HEADER_BYTES."""
    return checked(kind, msgspec.msgpack.encode(header))


def header_frame(kind: FrameKind, header: msgspec.Struct) -> bytes:
    """The same as a frame of the control stream."""
    return frame(kind, header_payload(kind, header))


def read_header(payload: bytes, form: type[T]) -> T:
    """The header in this payload. Raises `ProtocolFault`."""
    try:
        return msgspec.msgpack.decode(payload, type=form)
    except _UNREADABLE as exc:
        why = str(exc)[:MAX_FAULT_CHARS]
        raise ProtocolFault(
            f"it sent a malformed {form.__name__}: {why if why.isprintable() else ascii(why)}."
        ) from exc


class FrameReader:
    """Cuts the control stream into frames, however it is chunked. Never holds more than one frame beside its input."""

    __slots__ = ("_buffer", "_wanted_bytes")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._wanted_bytes = HEAD_BYTES  # of the frame that has begun, as far as is known

    def feed(self, data: bytes) -> Iterator[tuple[FrameKind, bytes]]:
        """The frames that are complete with these bytes. Raises `ProtocolFault`; nothing can be read after it.

        Iterate to the end before the next call.
        """
        buffer = self._buffer
        if buffer:
            buffer += data
            if len(buffer) < self._wanted_bytes:
                return
            data = bytes(buffer)
            buffer.clear()
        at, size = 0, len(data)
        self._wanted_bytes = HEAD_BYTES
        while size - at >= HEAD_BYTES:
            kind, end = _control_head(data, at)
            if end > size:
                self._wanted_bytes = end - at
                break
            yield kind, data[at + HEAD_BYTES : end]
            at = end
        if at < size:
            buffer += data[at:]


def read_head(data: bytes, at: int) -> tuple[int, FrameKind, int]:
    """Whose the frame is that begins there, its kind, and the length of its payload. Raises `ProtocolFault`."""
    request, rest = _unpack_head(data, at)
    length = rest & LENGTH_MASK
    kind, limit = _KINDS.get(rest >> LENGTH_BITS) or _unknown(rest >> LENGTH_BITS)
    if length > limit:
        raise ProtocolFault(f"it announced a {kind.name} frame of {length} bytes; the limit is {limit}.")
    return request, kind, length


def _control_head(data: bytes, at: int) -> tuple[FrameKind, int]:
    """The kind of the frame that begins there, and where it ends."""
    request, kind, length = read_head(data, at)
    if request:
        raise ProtocolFault(f"it sent a frame of request {request} on the control stream.")
    return kind, at + HEAD_BYTES + length


def _unknown(number: int) -> tuple[FrameKind, int]:
    """IGNORED and its limit, for a kind that need not be known. Raises `ProtocolFault`."""
    if number < OPTIONAL:
        raise ProtocolFault(f"it sent a frame of unknown kind {number}, which no node of this version understands.")
    return _KINDS[FrameKind.IGNORED]
