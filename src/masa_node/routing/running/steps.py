"""Carries out long readings step by step, so that everything else goes on meanwhile."""

import asyncio
from typing import TypeVar

from masa_node.dialects.condensing import LARGE_BYTES, Steps, condensed
from masa_node.dialects.fields import may_be_odd, strict

MENDED_BY_READERS_BYTES = 16 * 1024  # each time, in less than a millisecond

T = TypeVar("T")
_TOO_MANY = b'"more parts than are looked at"'  # no answer and no request, to every reader


async def in_steps(steps: Steps[T]) -> T:
    """All steps; between two of them the event loop does whatever else is due."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: T = done.value
            return result
        await asyncio.sleep(0)


async def readable(data: bytes, depth: int) -> bytes:
    """What readers may look at in one go instead of this JSON: itself or, of a large one, what is condensed of it.

    Several readers look at it, and each would mend what is odd in it for itself. When there is more than a little of
    that, it is done once, in a turn of its own.
    """
    small: bytes | None = data
    if len(data) > LARGE_BYTES:
        small = await in_steps(condensed(data, depth))
        await asyncio.sleep(0)
    if small is None:
        return _TOO_MANY
    if len(small) > MENDED_BY_READERS_BYTES and may_be_odd(small):
        await asyncio.sleep(0)
        small = await in_steps(strict(small))
        await asyncio.sleep(0)
    return small
