"""The signals that end a node in good order, and what ends it before there is any order."""

import contextlib
import signal
from collections.abc import Generator


def stop_signals() -> tuple[signal.Signals, ...]:
    """SIGHUP too: a terminal that is closed ends what runs in it; under `nohup`, which has it ignored, it does not."""
    hang_up = getattr(signal, "SIGHUP", None)  # not on Windows
    if hang_up is None or signal.getsignal(hang_up) is signal.SIG_IGN:
        return (signal.SIGINT, signal.SIGTERM)
    return (signal.SIGINT, signal.SIGTERM, hang_up)


@contextlib.contextmanager
def ended_at_once() -> Generator[None]:
    """Ctrl+C ends the process without an exception, unless it is ignored. For where a command imports what it needs.

    importlib does part of its work in callbacks of weak references. Python drops an exception that is raised in one:
    one Ctrl+C in 300 would have no effect but a line on stderr.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
