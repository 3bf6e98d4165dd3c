"""Reads a request's body, bounded in size and time, and in size together with all others."""

import asyncio
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Self

from masa_node.api.responses import Receive, Scope
from masa_node.chat.errors import BodyTooLarge, BodyTooSlow, EncodedBody, Overloaded
from masa_node.routing.byte_budget import ByteBudget

# ---- body budget ----

# How many bytes of callers' bodies the node holds at once, from the first byte of each until its answer is over.

HELD_BODY = "masa_node.held_body"  # in the scope of a request: the `HeldBody` that its body goes into
FULL_RETRY_AFTER_S = 2  # a body is held as long as its answer takes; most take a few seconds


class HeldBody:
    """A context manager: one request's body counts until the end of the block, however that comes.

    While bodies still arrive the largest of them goes when they are too much together, so that a crowd of large ones
    costs nobody a usual request.
    """

    __slots__ = ("_budget", "_pieces", "_share", "_tell")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._pieces: list[bytes] = []
        self._tell: Callable[[], object] | None = None

    def __enter__(self) -> Self:
        self._share = self._budget.open(self._drop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._share.release()

    def add(self, piece: bytes) -> None:
        """A piece came. Raises `Overloaded` when there is no room for this body, or is none any more."""
        if self._share.add(len(piece)):
            self._pieces.append(piece)
        self.check()

    @contextmanager
    def telling(self, tell: Callable[[], object]) -> Generator[None, None, None]:
        """Within this block, `tell` is called if the bytes are dropped while more are waited for."""
        self._tell = tell
        try:
            yield
        finally:
            self._tell = None

    def check(self) -> None:
        """Raises `Overloaded` if the bytes were dropped."""
        if self._share.is_taken:
            raise Overloaded(
                f"The bodies of all requests under way together exceed {self._budget.most_bytes} bytes "
                f"(MAX_BODIES_TOTAL), and this one was the largest still arriving. Send less, or try again.",
                FULL_RETRY_AFTER_S,
            )

    def whole(self) -> bytes:
        """The body is complete: it is given once, and stays counted."""
        self._share.keep()
        body = b"".join(self._pieces)
        self._pieces.clear()
        return body

    def _drop(self) -> None:
        self._pieces.clear()
        if self._tell is not None:
            self._tell()


# ---- body ----

# Reads a request's body, bounded in size and time, and in size together with all others where the scope says so.

# 10 MB over a 1 Mbit/s line takes 80 s.
BODY_TIMEOUT_S = 120.0
# The HTTP protocol says so in the scope of most requests; those do not pay for a timer.
BODY_IS_HERE = "masa_node.body_is_here"


class ClientDisconnected(Exception):
    """The caller closed the connection. Not a `MasaError`: there is nobody to answer."""


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The whole body. Raises `BodyTooLarge`, `BodyTooSlow`, `EncodedBody`, `Overloaded`, `ClientDisconnected`."""
    _check_headers(scope["headers"], max_bytes)
    body = scope.get(HELD_BODY)
    if body is None:
        with HeldBody(ByteBudget(sys.maxsize)) as alone:
            return await _read_in_time(scope, receive, max_bytes, alone)
    return await _read_in_time(scope, receive, max_bytes, body)


async def _read_in_time(scope: Scope, receive: Receive, max_bytes: int, body: HeldBody) -> bytes:
    if BODY_IS_HERE in scope:
        return await _read(receive, max_bytes, body)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S) as timer:
            with body.telling(partial(_end, timer)):  # its caller may not send another byte to be told at
                return await _read(receive, max_bytes, body)
    except TimeoutError as exc:
        body.check()
        raise BodyTooSlow(f"The body did not arrive within {BODY_TIMEOUT_S:g} s.") from exc


def _end(timer: asyncio.Timeout) -> None:
    if not timer.expired():
        timer.reschedule(0)


async def _read(receive: Receive, max_bytes: int, body: HeldBody) -> bytes:
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size > max_bytes:
            raise _too_large(max_bytes)
        body.add(piece)
        if not message.get("more_body", False):
            return body.whole()


def _check_headers(headers: Sequence[tuple[bytes, bytes]], max_bytes: int) -> None:
    for name, value in headers:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise EncodedBody("Compressed bodies are not accepted: send it without Content-Encoding.")
        if name == b"content-length" and value.isdigit() and int(value) > max_bytes:
            raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {max_bytes} bytes (MAX_BODY; MAX_FORM where it may be a form).")
