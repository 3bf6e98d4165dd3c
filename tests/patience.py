"""A test that waits for ever fails, says where, and leaves its worker to the others.

Whatever it waits for: a line of a program that stays silent, an answer, a thread, an event of its loop. Where even that
cannot be interrupted, pytest's `faulthandler_timeout` ends the whole run later.
"""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

LONGEST_S = 100.0  # with what it stands on; none waits a third of that, and at 120 s the whole run is ended
AGAIN_S = 5.0  # as what is done on the way out may wait, too


class TookTooLong(SystemExit):
    """Of this kind, as event loops take any other exception of a signal's handler for a callback's, and go on."""


@contextlib.contextmanager
def bounded(longest_s: float = LONGEST_S) -> Iterator[None]:
    """Fail, in the main thread, what takes longer."""

    def give_up(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(RuntimeError):  # in no loop
            for task in asyncio.all_tasks():
                task.print_stack()
        raise TookTooLong(f"not at its end after {longest_s:g} s; above is where it waited")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, longest_s, AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
