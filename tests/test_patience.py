import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from masa_node.cli.main import _run_loop
from tests import patience
from tests.patience import TookTooLong, bounded
from tests.processes import running

ROOT = Path(__file__).parents[1]
SILENT = [sys.executable, "-c", "import time; time.sleep(3600)"]


def a_line_of_a_silent_program() -> None:
    with running(SILENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()


def the_end_of_a_program() -> None:
    with running(SILENT) as process:
        process.wait()


def a_thread() -> None:
    threading.Event().wait()


def an_event_of_its_loop() -> None:
    asyncio.run(wait_for_nothing())


def an_event_of_the_loop_of_nodes() -> None:
    _run_loop(wait_for_nothing())


async def wait_for_nothing() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.Event().wait())


@pytest.mark.parametrize(
    "wait",
    [
        a_line_of_a_silent_program,
        the_end_of_a_program,
        a_thread,
        an_event_of_its_loop,
        an_event_of_the_loop_of_nodes,
    ],
)
def test_what_waits_for_ever_fails(wait: Callable[[], None]) -> None:
    with pytest.raises(TookTooLong, match=r"not at its end after 0\.05 s"), bounded(0.05):
        wait()


HANGS = """
import sys, threading
from tests.patience import Watchdog
Watchdog(hangs_s=0.1).begin(sys.stderr.fileno())
threading.Event().wait()
"""


def test_a_run_that_hangs_is_ended_and_shows_where() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert b"in wait" in done.stderr


def test_for_that_no_test_may_begin_for_two_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    ends_at_s: list[float] = []  # of what was begun; none while it rests
    now_s = 5_000.0
    monkeypatch.setattr(patience.time, "monotonic", lambda: now_s)
    monkeypatch.setattr(patience.faulthandler, "dump_traceback_later", lambda s, **_: ends_at_s.append(now_s + s))
    monkeypatch.setattr(patience.faulthandler, "cancel_dump_traceback_later", ends_at_s.clear)
    watchdog = patience.Watchdog()
    for _ in range(100):
        watchdog.begin(2)
        assert 120.0 <= ends_at_s[-1] - now_s <= patience.HANGS_S
        now_s += 3.0
    assert len(ends_at_s) < 30
    watchdog.rest()
    assert ends_at_s == []
    watchdog.begin(2)
    assert ends_at_s == [now_s + patience.HANGS_S]
