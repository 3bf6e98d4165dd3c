"""Ends a block of code in which nothing has happened for too long, at almost no cost for each thing that happens."""

import asyncio
from types import TracebackType
from typing import Self


class IdleTimer:
    """An async context manager whose body is cancelled when nothing called `touch` for `idle_s` seconds.

    `expired` tells that it was.

    A touch is one clock reading; the timer itself is set again only when it runs out (so it may fire late by nothing,
    early never). A cancel from outside passes through.
    """

    __slots__ = ("_idle_s", "_last_s", "_loop", "_timeout", "_timer")

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()
        self._timeout = asyncio.timeout(None)

    @property
    def expired(self) -> bool:
        """Did the time run out?"""
        return self._timeout.expired()

    def touch(self) -> None:
        """Something happened: the time starts anew."""
        self._last_s = self._loop.time()

    async def __aenter__(self) -> Self:
        self.touch()
        self._timer = self._loop.call_later(self._idle_s, self._look)
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._timer.cancel()
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            return True
        return False

    def _look(self) -> None:
        due_s = self._last_s + self._idle_s
        if self._loop.time() < due_s:
            self._timer = self._loop.call_at(due_s, self._look)
        else:
            self._timeout.reschedule(self._loop.time())
