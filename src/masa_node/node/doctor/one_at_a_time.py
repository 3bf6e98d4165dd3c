"""Makes something that is dear to make once for all that asked before it was begun."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Made = TypeVar("Made")


class OneAtATime(Generic[Made]):
    """Calls `make` for one caller at a time. `get` never gives what was begun before it was called.

    Cancelled, or when `make` raises, the next caller that waits makes it.
    """

    def __init__(self, make: Callable[[], Awaitable[Made]]) -> None:
        self._make = make
        self._lock = asyncio.Lock()
        self._begun = 0  # how many were begun
        self._last: Made | None = None
        self._last_number = 0

    async def get(self) -> Made:
        """One that was begun after this call."""
        before = self._begun
        async with self._lock:
            if self._last is None or self._last_number <= before:
                self._begun += 1
                number = self._begun
                self._last = await self._make()
                self._last_number = number
            return self._last
