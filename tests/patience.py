"""A test that waits for ever fails, says where, and leaves its worker to the others.

Whatever it waits for: a line of a program that stays silent, an answer, a thread, an event of its loop. Where even that
cannot be interrupted, a `Watchdog` ends the whole run later, instead of holding a CI machine for hours.
"""

import asyncio
import contextlib
import faulthandler
import signal
import time
from collections.abc import Iterator
from types import FrameType

LONGEST_S = 100.0  # with what it stands on; none waits a third of that
HANGS_S = 130.0  # when the whole run is ended
ANEW_S = 10.0
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


class Watchdog:
    """Ends the process, and shows every thread's stack, once nothing has been begun for `hangs_s` or some seconds less.

    As pytest's `faulthandler_timeout` does, which starts a thread for each test and waits for its end: milliseconds on
    a busy machine.
    """

    def __init__(self, hangs_s: float = HANGS_S, anew_s: float = ANEW_S) -> None:
        self._hangs_s = hangs_s
        self._anew_s = anew_s
        self._set_at_s = 0.0

    def begin(self, stderr: int) -> None:
        """A test begins. `stderr` is the descriptor to write to."""
        now_s = time.monotonic()
        if now_s > self._set_at_s + self._anew_s:
            self._set_at_s = now_s
            faulthandler.dump_traceback_later(self._hangs_s, file=stderr, exit=True)

    def rest(self) -> None:
        """Until a test begins again."""
        self._set_at_s = 0.0
        faulthandler.cancel_dump_traceback_later()
