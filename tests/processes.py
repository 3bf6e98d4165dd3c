"""Programs that a test starts, and that do not outlive it."""

import contextlib
import subprocess
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:  # noqa: ANN401 - Popen's own
    """
    As `subprocess.Popen`, whose end waits for the program: a test that fails must not wait for ever.

    Whatever happens, the program is gone at the end.
    """
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()
