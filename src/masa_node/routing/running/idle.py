"""Ends a block of code in which nothing has happened for too long, at almost no cost for each thing that happens."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType
from typing import Self

# Idle times without anything that counts, while signs of life come. Hosted models think for minutes between two pieces,
# and send comments or pings meanwhile. A frame of megabytes takes a while over a slow line.
LONGEST_WITHOUT_COUNTED = 3
LOOKS = 8  # at the numbers, in an idle time


class Silence:
    """Is it too long? For what is looked at now and then: nothing is noted for each thing that happens.

    Never too early; late by the time between two looks. `signs_s` is when there was a sign of life.
    """

    __slots__ = ("_counted", "_counted_s", "_idle_s", "_signs", "signs_s")

    def __init__(self, idle_s: float, now_s: float, signs: int = -1) -> None:
        self._idle_s = idle_s
        self._signs: int = signs
        self._counted: int = -1
        self.signs_s = self._counted_s = now_s

    @property
    def due_s(self) -> float:
        """When there has been no sign of life for an idle time."""
        return self.signs_s + self._idle_s

    def is_too_long(self, signs: int, counted: int, now_s: float) -> bool:
        """Did these numbers stand still for too long: `signs` for an idle time, or `counted` for several?"""
        if signs != self._signs:
            self._signs, self.signs_s = signs, now_s
        if counted != self._counted:
            self._counted, self._counted_s = counted, now_s
        return not self.had_signs(now_s) or now_s - self._counted_s >= LONGEST_WITHOUT_COUNTED * self._idle_s

    def had_signs(self, now_s: float) -> bool:
        """Were there signs of life within an idle time?"""
        return now_s < self.due_s


@dataclass(slots=True, eq=False)
class IdleTimer:
    """An async context manager whose body is cancelled when nothing called `touch` for `idle_s` seconds.

    `expired` says that it was. `signs` are counted beside the touches: while their number grows it is not idle.

    `counted` is what all this is for, if not all is. While its number stands still, signs and touches keep the block
    alive for LONGEST_WITHOUT_COUNTED times as long, not for ever. Then `had_signs` is true.

    A touch is one clock reading. The numbers are looked at eight times in `idle_s`: it ends an eighth too late where
    signs were the last that came, and never too early. A cancel from outside passes through.
    """

    idle_s: float
    signs: Callable[[], int] = int
    counted: Callable[[], int] = field(default_factory=lambda: count().__next__)
    had_signs: bool = False
    _silence: Silence = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(init=False)
    _timer: asyncio.TimerHandle = field(init=False)
    _timeout: asyncio.Timeout = field(init=False)

    @property
    def expired(self) -> bool:
        """Did the time run out?"""
        return self._timeout.expired()

    def touch(self) -> None:
        """Something happened: the time starts again."""
        self._silence.signs_s = self._loop.time()

    async def __aenter__(self) -> Self:
        self._loop, self._timeout = asyncio.get_running_loop(), asyncio.timeout(None)
        self._silence = Silence(self.idle_s, self._loop.time(), self.signs())
        self._timer = self._loop.call_later(self.idle_s / LOOKS, self._look)
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
        now_s, silence = self._loop.time(), self._silence
        if silence.is_too_long(self.signs(), self.counted(), now_s):
            self.had_signs = silence.had_signs(now_s)
            self._timeout.reschedule(now_s)
        else:
            self._timer = self._loop.call_at(min(silence.due_s, now_s + self.idle_s / LOOKS), self._look)
