"""An event loop whose clock jumps: a test of hours runs in milliseconds, and waits for nothing twice.

A test under it does no real I/O: when nothing is ready the clock goes straight to the next timer. When there is no
timer either, nothing could ever happen again, and the test fails at once instead of hanging.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")

STARTS_AT_S = 1_000.0  # not 0, so that code which takes 0 for "never" would be noticed


class NothingLeftToHappen(AssertionError):
    """Every task waits, and no timer is set: outside of virtual time this test would hang."""


class _JumpingSelector(selectors.SelectSelector):
    """Waits for nothing; what it would have waited is added to `now_s`."""

    now_s = STARTS_AT_S

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise NothingLeftToHappen
        self.now_s += max(0.0, timeout)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Its `time()` stands still while there is something to do."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


def virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a test function of a coroutine function that is to run on a clock of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


def now_s() -> float:
    """Seconds since the test began."""
    return asyncio.get_running_loop().time() - STARTS_AT_S


async def settle(turns: int = 10) -> None:
    """Let every task go on until it waits for something; the clock stands still."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def until(is_so: Callable[[], bool], within_s: float = 3600.0) -> None:
    """Let time pass until it is so."""
    async with asyncio.timeout(within_s):
        while not is_so():  # noqa: ASYNC110 - time is virtual: it costs nothing
            await asyncio.sleep(0.05)
