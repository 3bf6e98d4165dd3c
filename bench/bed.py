"""What every run stands on: the mock on its core, and the subjects on theirs."""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.build import Binaries
from bench.measurements import Bench
from bench.plan import Plan
from bench.processes import Process
from bench.subjects import Launch, Launcher, Subject, free_port, wait_until

OPEN_FILES = 8192  # 1 000 streams need two in the node, one each in the load and the mock; old ones may linger

Launches = Callable[[Launcher], dict[str, Launch]]


def raise_file_limit() -> None:
    """Children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= OPEN_FILES:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, max(hard, OPEN_FILES)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        print(f"!  ulimit -n is {hard}, {OPEN_FILES} are wanted: expect failed requests", file=sys.stderr)


@contextmanager
def bed(plan: Plan, binaries: Binaries, python: str, launches: Launches) -> Iterator[Bench]:
    """The mock and the subjects, each on its core, ended behind the block."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # whoever ends the run ends what it has started
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("!  only one core: load and process under test disturb each other, ratios mean little", file=sys.stderr)
    load_core, subject_core = cores[0], cores[-1]
    os.sched_setaffinity(0, {load_core})
    with tempfile.TemporaryDirectory(prefix="masa-bench-") as folder:
        port = free_port()
        mock = Process([str(binaries.mock), str(port), *plan.models()], load_core, Path(folder) / "mock.log")
        has_third = len(cores) > 2
        launcher = Launcher(Path(folder), subject_core, cores[1] if has_third else load_core, has_third, port, python)
        bench = Bench(plan, binaries, launches(launcher), python)
        subject = Subject("the mock", port, mock)
        try:
            wait_until(subject, subject.answers_a_chat)
            yield bench
        finally:
            bench.stop_all()
            mock.stop()
