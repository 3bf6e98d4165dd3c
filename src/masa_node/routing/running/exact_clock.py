"""A clock to tell how long things took. The loop's own is for deadlines: uvloop's counts whole milliseconds."""

import asyncio
import time
from collections.abc import Callable

_COARSE = frozenset({"uvloop", "uvloop.loop"})  # modules that loops with such a clock are of


def exact_clock(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """Seconds, to the microsecond: the loop's own `time` where that is exact; under uvloop the system's clock.

    The clocks of asyncio's loops are exact, and those of tests in virtual time are all the time there is. Not to be
    mixed with `loop.time()`: on macOS the two count sleep differently.
    """
    return time.monotonic if type(loop).__module__ in _COARSE else loop.time
