"""The signals that end a node in good order."""

import signal


def stop_signals() -> tuple[signal.Signals, ...]:
    """SIGHUP too: a terminal that is closed ends what runs in it; under `nohup`, which has it ignored, it does not."""
    hang_up = getattr(signal, "SIGHUP", None)  # not on Windows
    if hang_up is None or signal.getsignal(hang_up) is signal.SIG_IGN:
        return (signal.SIGINT, signal.SIGTERM)
    return (signal.SIGINT, signal.SIGTERM, hang_up)
