"""Frames on a stream between two nodes: a kind, a length, a payload. Sans-IO and bounded; see docs/protocol.md.

    kind (1 byte) | length of the payload (3 bytes, big-endian) | payload

Headers are msgpack maps, checked against structs; unknown fields are ignored, so that a newer node may add some.
Bodies and pieces of answers are raw bytes.
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import TypeVar

import msgspec

from masa_node.chat.errors import ProtocolFault

HEAD_BYTES = 4
OPTIONAL = 128  # kinds from here on are ignored by who does not know them; other unknown ones end the talk
MAX_PAYLOAD_BYTES = 128 * 1024  # twice MAX_READ_BYTES: a frame of an LLM's stream is far smaller, longer ones are split
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
    # on a stream of its own for each request
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
_KINDS = {int(kind): kind for kind in FrameKind}
# What msgpack of a stranger raises; RecursionError at about a thousand maps within each other.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
T = TypeVar("T")


def frame(kind: FrameKind, payload: bytes) -> bytes:
    """One frame. Raises `ValueError` for a payload longer than its kind may have: the caller splits."""
    if len(payload) > _limit(kind):
        raise ValueError(f"a {kind.name} payload of {len(payload)} bytes")
    return b"%c%b%b" % (kind, len(payload).to_bytes(3, "big"), payload)


def header_frame(kind: FrameKind, header: msgspec.Struct) -> bytes:
    """One frame with a header as its payload. Raises `ValueError` if that is longer than MAX_HEADER_BYTES."""
    return frame(kind, msgspec.msgpack.encode(header))


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
    """Cuts a stream of bytes into frames, however it is chunked. Never holds more than one frame beside its input."""

    __slots__ = ("_held", "_wanted_bytes")

    def __init__(self) -> None:
        self._held = bytearray()
        self._wanted_bytes = HEAD_BYTES  # of the frame that has begun, as far as is known

    def feed(self, data: bytes) -> Iterator[tuple[FrameKind, bytes]]:
        """The frames that are complete with these bytes. Raises `ProtocolFault`; nothing can be read after it.

        Iterate to the end before the next call.
        """
        held = self._held
        if held:
            held += data
            if len(held) < self._wanted_bytes:
                return
            data = bytes(held)
            held.clear()
        at, size = 0, len(data)
        self._wanted_bytes = HEAD_BYTES
        while size - at >= HEAD_BYTES:
            kind, end = _head(data, at)
            if end > size:
                self._wanted_bytes = end - at
                break
            yield kind, data[at + HEAD_BYTES : end]
            at = end
        if at < size:
            held += data[at:]

    @property
    def is_inside_frame(self) -> bool:
        """Would an end of the stream cut a frame?"""
        return bool(self._held)


def _head(data: bytes, at: int) -> tuple[FrameKind, int]:
    """The kind of the frame that begins there, and where it ends."""
    kind = kind_of(data[at])
    length = int.from_bytes(data[at + 1 : at + HEAD_BYTES], "big")
    if length > _limit(kind):
        raise ProtocolFault(f"it announced a {kind.name} frame of {length} bytes; {_limit(kind)} are the limit.")
    return kind, at + HEAD_BYTES + length


def kind_of(number: int) -> FrameKind:
    """The kind with this number; IGNORED for one that need not be known. Raises `ProtocolFault`."""
    kind = _KINDS.get(number)
    if kind is not None:
        return kind
    if number >= OPTIONAL:
        return FrameKind.IGNORED
    raise ProtocolFault(f"it sent a frame of unknown kind {number}, which no node of this version understands.")


def _limit(kind: FrameKind) -> int:
    return MAX_PAYLOAD_BYTES if kind in _RAW else MAX_HEADER_BYTES
