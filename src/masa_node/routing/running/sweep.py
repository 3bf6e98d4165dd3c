"""One timer for many deadlines: looks at all that wait, ten times a second, while any does."""

import asyncio
from typing import Protocol

EVERY_S = 0.1  # so late a deadline may be noticed; those of requests are seconds


class Waiting(Protocol):
    """Something with a deadline of its own."""

    def look(self, now_s: float) -> None:
        """Is it time? `now_s` is on the loop's clock. Must not raise: it would not be looked at again."""
        ...


class Sweep:
    """`add` what waits and `discard` it when it waits no more. Nothing is looked at early, or later than EVERY_S."""

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

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for waiting in list(self._waiting):
            try:
                waiting.look(now_s)
            except Exception as exc:  # noqa: BLE001 - the loop logs it, and the others have their deadlines
                self.discard(waiting)
                loop.call_exception_handler({"message": "bug at a deadline", "exception": exc})
        self._timer = loop.call_later(EVERY_S, self._look) if self._waiting else None
