"""Frames on a stream between two nodes: a kind, a length, a payload. Sans-IO and bounded; see docs/protocol.md.

    kind (1 byte) | length of the payload (3 bytes, big-endian) | payload

Headers are msgpack maps, checked against the structs here; unknown fields are ignored, so that a newer node may add
some. Bodies and pieces of answers are raw bytes.
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import TypeVar

import msgspec

from masa_node.chat.errors import ProviderError

HEAD_BYTES = 4
MAX_PAYLOAD_BYTES = 128 * 1024  # twice MAX_READ_BYTES: a frame of an LLM's stream is far smaller, longer ones are split
MAX_HEADER_BYTES = 32 * 1024  # of an msgpack header: twice what 16 headers of 1 kB take


class Kind(IntEnum):
    """What a frame is."""

    # on the control stream, the first that the dialing node opens
    HELLO = 1
    WELCOME = 2
    REFUSED = 3
    PING = 4
    PONG = 5
    GOSSIP = 6
    VOUCH = 7
    # on a stream of its own for each ask
    ASK = 16
    BODY = 17
    HEAD = 18
    PIECE = 19
    END = 20
    FAIL = 21
    CREDIT = 22


_RAW = frozenset({Kind.GOSSIP, Kind.BODY, Kind.PIECE})
_KINDS = {int(kind): kind for kind in Kind}
T = TypeVar("T")


class ProtocolFault(ProviderError):
    """The peer does not keep to the wire protocol. It may be of another version, broken, or hostile."""

    code = "protocol_fault"


def frame(kind: Kind, payload: bytes) -> bytes:
    """One frame. Raises `ValueError` for a payload longer than MAX_PAYLOAD_BYTES: the caller splits."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a payload of {len(payload)} bytes")
    return bytes((kind,)) + len(payload).to_bytes(3, "big") + payload


def header_frame(kind: Kind, header: msgspec.Struct) -> bytes:
    """One frame with a header as its payload."""
    return frame(kind, msgspec.msgpack.encode(header))


def read_header(payload: bytes, form: type[T]) -> T:
    """The header in this payload. Raises `ProtocolFault`."""
    try:
        return msgspec.msgpack.decode(payload, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ProtocolFault(f"it sent a malformed {form.__name__}: {exc}.") from exc


class FrameReader:
    """Cuts a stream of bytes into frames, however it is chunked. Never holds more than one frame beside its input."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """The frames that are complete with these bytes. Raises `ProtocolFault`; nothing can be read after it.

        Iterate to the end before the next call.
        """
        if self._held:
            data = self._held + data
        at, size = 0, len(data)
        while size - at >= HEAD_BYTES:
            kind, length = self._head(data, at)
            end = at + HEAD_BYTES + length
            if end > size:
                break
            payload = data[at + HEAD_BYTES : end]
            at = end
            self._held = data[at:] if at < size else b""
            yield kind, payload
        self._held = data[at:]

    @property
    def is_inside_frame(self) -> bool:
        """Would an end of the stream cut a frame?"""
        return bool(self._held)

    @staticmethod
    def _head(data: bytes, at: int) -> tuple[Kind, int]:
        kind = _KINDS.get(data[at])
        if kind is None:
            raise ProtocolFault(f"it sent a frame of unknown kind {data[at]}.")
        length = int.from_bytes(data[at + 1 : at + HEAD_BYTES], "big")
        limit = MAX_PAYLOAD_BYTES if kind in _RAW else MAX_HEADER_BYTES
        if length > limit:
            raise ProtocolFault(f"it announced a {kind.name} frame of {length} bytes; {limit} are the limit.")
        return kind, length
