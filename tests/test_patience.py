import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from masa_node.cli.main import _run_loop
from tests.patience import TookTooLong, bounded
from tests.processes import running

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
