"""How many functions are called, in Python or in C: what is counted where time would say what else a machine does."""

import asyncio
import cProfile
from collections.abc import Awaitable, Callable
from typing import Self


class CountedCalls:
    """A context manager: `count` of its block, in this thread, once it has ended."""

    def __init__(self) -> None:
        self.count = 0
        self._profile = cProfile.Profile()

    def __enter__(self) -> Self:
        self._profile.enable()
        return self

    def __exit__(self, *_: object) -> None:
        self._profile.disable()
        self.count = sum(entry.callcount for entry in self._profile.getstats())


async def calls_by_turn(reading: Callable[[], Awaitable[object]]) -> list[int]:
    """In each turn of the loop until this has been awaited."""

    async def read() -> None:
        await reading()

    turns: list[int] = []
    task = asyncio.create_task(read())
    while not task.done():
        with CountedCalls() as calls:
            await asyncio.sleep(0)
        turns.append(calls.count)
    await task
    return turns
