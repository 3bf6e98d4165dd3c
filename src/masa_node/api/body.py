"""Reads a request's body, bounded in size and time, and in size together with all others where the scope says so."""

import asyncio
import sys
from collections.abc import Sequence
from functools import partial

from masa_node.api.body_budget import HELD_BODY, HeldBody
from masa_node.api.replies import Receive, Scope
from masa_node.chat.errors import BodyTooLarge, BodyTooSlow, EncodedBody
from masa_node.routing.byte_budget import ByteBudget

# 10 MB over a 1 Mbit/s line takes 80 s.
BODY_TIMEOUT_S = 120.0
# The HTTP protocol says so in the scope of most requests; those do not pay for a timer.
BODY_IS_HERE = "masa_node.body_is_here"


class CallerGone(Exception):
    """The caller closed the connection. Not an error of ours: nobody is there to be told."""


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The whole body. Raises `BodyTooLarge`, `BodyTooSlow`, `EncodedBody`, `Overloaded`, `CallerGone`."""
    _check_headers(scope["headers"], max_bytes)
    held = scope.get(HELD_BODY)
    if held is None:
        with HeldBody(ByteBudget(sys.maxsize)) as alone:
            return await _read_in_time(scope, receive, max_bytes, alone)
    return await _read_in_time(scope, receive, max_bytes, held)


async def _read_in_time(scope: Scope, receive: Receive, max_bytes: int, held: HeldBody) -> bytes:
    if BODY_IS_HERE in scope:
        return await _read(receive, max_bytes, held)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S) as timer:
            with held.telling(partial(_end, timer)):  # its caller may not send another byte to be told at
                return await _read(receive, max_bytes, held)
    except TimeoutError as exc:
        held.check()
        raise BodyTooSlow(f"The body did not arrive within {BODY_TIMEOUT_S:g} s.") from exc


def _end(timer: asyncio.Timeout) -> None:
    if not timer.expired():
        timer.reschedule(0)


async def _read(receive: Receive, max_bytes: int, held: HeldBody) -> bytes:
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerGone
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size > max_bytes:
            raise _too_large(max_bytes)
        held.add(piece)
        if not message.get("more_body", False):
            return held.whole()


def _check_headers(headers: Sequence[tuple[bytes, bytes]], max_bytes: int) -> None:
    for name, value in headers:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise EncodedBody("Compressed bodies are not taken: send it without Content-Encoding.")
        if name == b"content-length" and value.isdigit() and int(value) > max_bytes:
            raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {max_bytes} bytes (MAX_BODY).")
