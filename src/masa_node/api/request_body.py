"""Reads a request's body, bounded in size and time, and in size together with all others."""

import asyncio
from functools import partial
from typing import Self

from masa_node.api.http1.request import HttpRequest
from masa_node.chat.errors import BodyTooLarge, BodyTooSlow, EncodedBody, Overloaded
from masa_node.routing.answers.byte_budget import ByteBudget, Pieces

# How many bytes of callers' bodies the node holds at once counts from the first byte of each until its answer is over.

FULL_RETRY_AFTER_S = 2  # a body is held as long as its answer takes; most take a few seconds


class HeldBody(Pieces):
    """A context manager: one request's body counts until the end of the block, however that comes.

    While bodies still arrive the largest of them goes when they are too much together, so that a crowd of large ones
    costs nobody a usual request. `add` and `whole` raise `Overloaded` for it.
    """

    __slots__ = ("_most_bytes", "timer")

    def __init__(self, budget: ByteBudget) -> None:
        self._most_bytes = budget.most_bytes
        self.timer: asyncio.Timeout | None = None  # while more is waited for: it ends if the bytes are dropped
        super().__init__(budget)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *why: object) -> None:
        self.release()

    def lost(self) -> Overloaded:
        """See `Pieces`."""
        return Overloaded(
            f"The bodies of all requests under way together exceed {self._most_bytes} bytes "
            f"(MAX_BODIES_TOTAL), and this one was the largest still arriving. Send less, or try again.",
            FULL_RETRY_AFTER_S,
        )

    def drop(self) -> None:
        """See `Pieces`. Whoever waits for more is told."""
        Pieces.drop(self)
        if self.timer is not None and not self.timer.expired():
            self.timer.reschedule(0)


# 10 MB over a 1 Mbit/s line takes 80 s.
BODY_TIMEOUT_S = 120.0


async def read_body(request: HttpRequest, held: HeldBody, max_bytes: int) -> bytes:
    """The whole body. Raises `BodyTooLarge`, `BodyTooSlow`, `EncodedBody`, `Overloaded`, `ClientDisconnected`."""
    _check_head(request, max_bytes)
    if request.is_whole:  # as most are; those do not pay for a timer
        _hold(held, max_bytes, request.take())
        return held.whole()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S) as held.timer:  # its caller may not send another byte to be told at
            await request.read_into(partial(_hold, held, max_bytes))
            return held.whole()
    except TimeoutError as exc:
        held.check()
        raise BodyTooSlow(f"The body did not arrive within {BODY_TIMEOUT_S:g} s.") from exc
    finally:
        held.timer = None


def _hold(held: HeldBody, max_bytes: int, piece: bytes) -> None:
    if held.size + len(piece) > max_bytes:
        raise _too_large(max_bytes)
    held.add(piece)


def _check_head(request: HttpRequest, max_bytes: int) -> None:
    for name, value in request.head.headers:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise EncodedBody(
                "Compressed bodies are not accepted: send it without Content-Encoding. In Codex that is "
                "`enable_request_compression = false` under `[features]` of its config.toml."
            )
    if request.content_length is not None and request.content_length > max_bytes:
        raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {max_bytes} bytes (MAX_BODY; MAX_FORM where it may be a form).")
