"""Reads the protocol of docs/protocol.md with nothing but that page and the standard library: the page is enough.

No line of the product is imported here, and none may be: `test_independent_reader.py` sees to it.
"""

import re
import struct
from collections.abc import Callable, Iterator
from typing import Any

HEAD_BYTES = 8  # request, kind, length
MAX_BYTES, MAX_HEADER_BYTES, OPTIONAL = 64 * 1024, 32 * 1024, 128
ON_CONTROL = {1: "HELLO", 2: "WELCOME", 3: "REFUSED", 4: "PING", 5: "PONG", 6: "GOSSIP", 7: "VOUCH"}
OF_MUX = {8: "FINISH", 9: "RESET", 10: "WINDOW"}
OF_REQUEST = {16: "REQUEST", 17: "BODY", 18: "HEAD", 19: "PIECE", 20: "END", 21: "FAIL", 22: "ALIVE"}
KINDS = ON_CONTROL | OF_MUX | OF_REQUEST
RAW = {"GOSSIP", "BODY", "PIECE", "IGNORED"}
SIGNED = {"VOUCH"}  # a map and 64 bytes behind it


class Breach(Exception):
    """What came keeps not to the page."""


def frames(data: bytes) -> Iterator[tuple[int, str, bytes]]:
    """Section 2: request, kind and payload of each frame. Request 0 is the control stream."""
    while data:
        if len(data) < HEAD_BYTES:
            raise Breach("a head is cut")
        request, rest = struct.unpack(">II", data[:HEAD_BYTES])
        number, length = rest >> 24, rest & 0xFFFFFF
        kind = KINDS.get(number, "IGNORED" if number >= OPTIONAL else "")
        if not kind or length > (MAX_BYTES if kind in RAW else MAX_HEADER_BYTES):
            raise Breach(f"kind {number} of {length} bytes")
        if number < OPTIONAL and (number in ON_CONTROL) != (request == 0):
            raise Breach(f"{kind} on the wrong stream")
        if len(data) < HEAD_BYTES + length:
            raise Breach("a payload is cut")
        yield request, kind, data[HEAD_BYTES : HEAD_BYTES + length]
        data = data[HEAD_BYTES + length :]


def unpack(data: bytes) -> tuple[Any, bytes]:
    """One value of msgpack (https://github.com/msgpack/msgpack/blob/master/spec.md), and what is behind it."""
    first, rest = data[0], data[1:]
    if first < 0x80 or first >= 0xE0:
        return (first if first < 0x80 else first - 256), rest
    if first < 0x90:
        return _map(rest, first & 15)
    if first < 0xA0:
        return _array(rest, first & 15)
    if first < 0xC0:
        return _text(rest, first & 31)
    if first in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[first], rest
    take, form = _SIZED[first]
    size = struct.calcsize(form)
    return take(rest[size:], struct.unpack(form, rest[:size])[0])


def _bytes(rest: bytes, size: int) -> tuple[bytes, bytes]:
    if len(rest) < size:
        raise Breach("a value is cut")
    return rest[:size], rest[size:]


def _text(rest: bytes, size: int) -> tuple[str, bytes]:
    raw, rest = _bytes(rest, size)
    return raw.decode("utf-8"), rest


def _number(rest: bytes, number: float) -> tuple[float, bytes]:
    return number, rest


def _array(rest: bytes, size: int) -> tuple[list[Any], bytes]:
    found = []
    for _ in range(size):
        value, rest = unpack(rest)
        found.append(value)
    return found, rest


def _map(rest: bytes, size: int) -> tuple[dict[Any, Any], bytes]:
    flat, rest = _array(rest, 2 * size)
    return dict(zip(flat[::2], flat[1::2], strict=True)), rest


_SIZED: dict[int, tuple[Callable[[bytes, Any], tuple[Any, bytes]], str]] = {
    **{0xC4 + at: (_bytes, form) for at, form in enumerate((">B", ">H", ">I"))},
    **{0xCA + at: (_number, f">{form}") for at, form in enumerate("fdBHIQbhiq")},
    **{0xD9 + at: (_text, form) for at, form in enumerate((">B", ">H", ">I"))},
    **{0xDC + at: (_array, form) for at, form in enumerate((">H", ">I"))},
    **{0xDE + at: (_map, form) for at, form in enumerate((">H", ">I"))},
}  # fmt: skip


Check = Callable[[Any], bool]


def text(most: int, least: int = 0) -> Check:
    """Is it a text of so many characters?"""
    return lambda value: isinstance(value, str) and least <= len(value) <= most


def whole(most: int, least: int = 0) -> Check:
    """Is it an integer from the one to the other?"""
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def raw(most: int) -> Check:
    """Are they bytes, so many at most?"""
    return lambda value: isinstance(value, bytes) and len(value) <= most


def nil_or(good: Check) -> Check:
    """Is it nil, or else this?"""
    return lambda value: value is None or good(value)


def many(most: int, good: Check) -> Check:
    """Is it a list of so many of these?"""
    return lambda value: len(value) <= most and all(map(good, value))


def flag(value: object) -> bool:
    """Is it a boolean?"""
    return isinstance(value, bool)


PAIRS = many(16, lambda pair: text(64, 1)(pair[0]) and text(1024)(pair[1]) and len(pair) == 2)
COUNT, TOKENS, DAY_MS = whole(2**63 - 1), nil_or(whole(2**53)), whole(86_400_000)
VERSIONS = {"min_protocol": whole(65_535, 1), "max_protocol": whole(65_535, 1)}
HELLO = VERSIONS | {
    "version": text(64), "name": text(64), "invite": nil_or(raw(64)), "vouchers": many(4, raw(512)), "has_link": flag,
    "is_spare": flag,
}  # fmt: skip
REFUSED = VERSIONS | {"why": text(512), "others": many(8, raw(3072)), "voucher": nil_or(raw(512))}
VOUCHER = {"member": text(64), "by": text(64), "issued_at_unix_s": COUNT, "expires_at_unix_s": COUNT}
REQUEST = {
    "request_id": lambda value: bool(re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value)), "endpoint": text(64),
    "model": text(256, 1), "wants_stream": flag, "body_bytes": COUNT, "first_piece_within_ms": DAY_MS,
}  # fmt: skip
HEAD = {"status": whole(599, 200), "model": text(256), "dialect": text(64), "is_stream": flag}
FAILURE = {"message": text(500), "location": text(64), "status": nil_or(whole(599, 400)), "headers": PAIRS}
# The keys that must be there, and those that may be; of others nothing is known, and they are ignored.
HEADERS: dict[str, tuple[dict[str, Check], dict[str, Check]]] = {
    "HELLO": ({}, HELLO),
    "WELCOME": ({}, HELLO),
    "REFUSED": ({"code": text(64)}, REFUSED),
    "PING": ({"number": COUNT}, {}),
    "PONG": ({"number": COUNT}, {}),
    "VOUCH": (VOUCHER, {}),
    "REQUEST": (REQUEST, {"headers": PAIRS, "query": text(128), "offer": raw(1024)}),
    "HEAD": (HEAD, {"headers": PAIRS}),
    "END": (
        {"frames": COUNT, "bytes": COUNT},
        {"input_tokens": TOKENS, "output_tokens": TOKENS, "receipt": nil_or(raw(1024))},
    ),
    "FAIL": ({"code": text(64)}, FAILURE),
    "ALIVE": ({}, {}),
}


def header(kind: str, payload: bytes) -> dict[str, Any]:
    """Sections 3 and 5: the header in the payload of a frame of this kind."""
    must, may = HEADERS[kind]
    try:
        found, rest = unpack(payload)
        if len(rest) != (64 if kind in SIGNED else 0) or not isinstance(found, dict) or not must.keys() <= found.keys():
            raise Breach(f"no {kind}")
        checks = must | may
        wrong = [key for key, value in found.items() if key in checks and not checks[key](value)]
    except (LookupError, TypeError, ValueError, struct.error) as exc:
        raise Breach(f"no {kind}: {exc!r}") from exc
    if wrong:
        raise Breach(f"{kind}: {', '.join(wrong)}")
    return found
