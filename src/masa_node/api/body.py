"""Reads a request's body, bounded in size and time."""

import asyncio
from collections.abc import Sequence

from masa_node.api.replies import Receive, Scope
from masa_node.chat.errors import BodyTooLarge, BodyTooSlow, EncodedBody

# 10 MB over a 1 Mbit/s line takes 80 s.
BODY_TIMEOUT_S = 120.0
# The HTTP protocol says so in the scope of most requests; those do not pay for a timer.
BODY_IS_HERE = "masa_node.body_is_here"


class CallerGone(Exception):
    """The caller closed the connection. Not an error of ours: nobody is there to be told."""


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The whole body. Raises `BodyTooLarge`, `BodyTooSlow`, `EncodedBody`, `CallerGone`."""
    _check_headers(scope["headers"], max_bytes)
    if BODY_IS_HERE in scope:
        return await _read(receive, max_bytes)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _read(receive, max_bytes)
    except TimeoutError as exc:
        raise BodyTooSlow(f"The body did not arrive within {BODY_TIMEOUT_S:g} s.") from exc


async def _read(receive: Receive, max_bytes: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerGone
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size > max_bytes:
            raise _too_large(max_bytes)
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)


def _check_headers(headers: Sequence[tuple[bytes, bytes]], max_bytes: int) -> None:
    for name, value in headers:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise EncodedBody("Compressed bodies are not taken: send it without Content-Encoding.")
        if name == b"content-length" and value.isdigit() and int(value) > max_bytes:
            raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {max_bytes} bytes (MAX_BODY).")
