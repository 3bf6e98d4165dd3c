"""One timer for many deadlines: looks at all that wait, ten times a second, while any does."""

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Protocol

EVERY_S = 0.1  # so late a deadline may be noticed; those of requests are seconds
AT_ONCE = 64  # looks, some 0.1 ms; then pieces of streams have their turn


class Waiting(Protocol):
    """Something with a deadline of its own."""

    def look(self, now_s: float) -> None:
        """Is it time? `now_s` is on the loop's clock. Must not raise: it would not be looked at again."""
        ...


class Sweep:
    """`add` what waits and `discard` it when it waits no more. Nothing is looked at early, or later than EVERY_S and a
    turn of the loop for each AT_ONCE that wait.
    """

    def __init__(self) -> None:
        self._waiting: dict[Waiting, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, waiting: Waiting) -> None:
        """Look at it from now on."""
        self._waiting[waiting] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._look)

    def discard(self, waiting: Waiting) -> None:
        """No more. Idempotent."""
        self._waiting.pop(waiting, None)

    def _look(self, due: Iterator[Waiting] | None = None) -> None:
        loop = asyncio.get_running_loop()
        due, now_s = due or iter(list(self._waiting)), loop.time()
        some = list(islice(due, AT_ONCE))
        for waiting in some:
            try:
                if waiting in self._waiting:
                    waiting.look(now_s)
            except Exception as exc:  # noqa: BLE001 - the loop logs it, and the others have their deadlines
                self.discard(waiting)
                loop.call_exception_handler({"message": "bug at a deadline", "exception": exc})
        if len(some) == AT_ONCE:
            loop.call_soon(self._look, due)
        else:
            self._timer = loop.call_later(EVERY_S, self._look) if self._waiting else None
