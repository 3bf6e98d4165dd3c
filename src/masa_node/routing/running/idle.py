"""Ends a block of code in which nothing has happened for too long, at almost no cost for each thing that happens."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

# Idle times without anything that counts, while signs of life come. Hosted models think for minutes between two pieces,
# and send comments or pings meanwhile. A frame of megabytes takes a while over a slow line.
LONGEST_WITHOUT_COUNTED = 3


@dataclass(slots=True, eq=False)
class IdleTimer:
    """An async context manager whose body is cancelled when nothing called `touch` for `idle_s` seconds.

    `expired` says that it was. `signs` are counted beside the touches: while their number grows it is not idle.

    `counted` is what all this is for. While its number stands still, signs and touches keep the block alive for
    LONGEST_WITHOUT_COUNTED times as long (and up to one time more), not for ever. Then `had_signs` is true.

    A touch is one clock reading. The timer itself is set again, and the numbers are looked at, only when it runs out;
    it never fires early. A cancel from outside passes through.
    """

    idle_s: float
    signs: Callable[[], int] = int
    counted: Callable[[], int] | None = None
    had_signs: bool = False
    _counted_before: int = -1
    _signs_before: int = field(init=False)
    _last_s: float = field(init=False)
    _counted_s: float = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(init=False)
    _timer: asyncio.TimerHandle = field(init=False)
    _timeout: asyncio.Timeout = field(init=False)

    @property
    def expired(self) -> bool:
        """Did the time run out?"""
        return self._timeout.expired()

    def touch(self) -> None:
        """Something happened: the time starts again."""
        self._last_s = self._loop.time()

    async def __aenter__(self) -> Self:
        self._loop, self._timeout = asyncio.get_running_loop(), asyncio.timeout(None)
        self._signs_before = self.signs()
        self.touch()
        self._counted_s = self._last_s
        self._timer = self._loop.call_later(self.idle_s, self._look)
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
        now_s = self._loop.time()
        due_s = self._last_s + self.idle_s
        signs = self.signs()
        if now_s >= due_s and signs > self._signs_before:
            due_s = now_s + self.idle_s
        self._signs_before = signs
        if now_s < due_s and not self._is_barren(now_s):
            self._timer = self._loop.call_at(due_s, self._look)
        else:
            self.had_signs = now_s < due_s
            self._timeout.reschedule(now_s)

    def _is_barren(self, now_s: float) -> bool:
        """Did nothing that counts come for long?"""
        if self.counted is None:
            return False
        counted = self.counted()
        if counted != self._counted_before:
            self._counted_before = counted
            self._counted_s = now_s
        return now_s - self._counted_s >= LONGEST_WITHOUT_COUNTED * self.idle_s


class Silence:
    """The same for what is looked at now and then: nothing is noted for each thing that happens.

    Never too early; late by the time between two looks.
    """

    __slots__ = ("_counted", "_counted_s", "_idle_s", "_signs", "_signs_s")

    def __init__(self, idle_s: float, now_s: float) -> None:
        self._idle_s = idle_s
        self._signs = self._counted = -1
        self._signs_s = self._counted_s = now_s

    def is_too_long(self, signs: int, counted: int, now_s: float) -> bool:
        """Did these numbers stand still for too long: `signs` for an idle time, or `counted` for several?"""
        if signs != self._signs:
            self._signs, self._signs_s = signs, now_s
        if counted != self._counted:
            self._counted, self._counted_s = counted, now_s
        return not self.had_signs(now_s) or now_s - self._counted_s >= LONGEST_WITHOUT_COUNTED * self._idle_s

    def had_signs(self, now_s: float) -> bool:
        """Were there signs of life within an idle time?"""
        return now_s - self._signs_s < self._idle_s
