"""Carries out long readings step by step, so that everything else goes on meanwhile."""

import asyncio
from typing import TypeVar

from masa_node.dialects.condensing import LARGE_BYTES, Steps, condensed

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
    """What readers may look at in one go instead of this JSON: itself or, of a large one, what is condensed of it."""
    if len(data) <= LARGE_BYTES:
        return data
    small = await in_steps(condensed(data, depth))
    return _TOO_MANY if small is None else small
