"""Child processes, each pinned to one core, and what /proc says about them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
STOP_S = 5.0  # between SIGTERM and SIGKILL


class Process:
    """A program under our care, its output in a file; ``stop`` ends it and everything it started."""

    def __init__(self, argv: list[str], core: int, log: Path, env: dict[str, str] | None = None) -> None:
        self.log = log
        with log.open("wb") as output, on_core(core):
            self._popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=log.parent,
                start_new_session=True,
            )
        self.pid = self._popen.pid
        share_priority(self.pid)

    def is_alive(self) -> bool:
        """Whether the program still runs."""
        return self._popen.poll() is None

    def last_output(self, lines: int = 15) -> str:
        """The end of what it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End it: politely, then not."""
        if self.is_alive():
            self._popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # the session is ours alone: start_new_session
        self._popen.wait()


def share_priority(pid: int) -> None:
    """Give the session led by this process our own nice value: with autogroups the kernel looks at nothing else."""
    if nice := os.getpriority(os.PRIO_PROCESS, 0):
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/autogroup").write_text(str(nice))


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started in the block runs on this core and stays there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Tree:
    """A process and its descendants, as they were when this was made; none at all for no process."""

    def __init__(self, pid: int | None) -> None:
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (fields := _stat_fields(int(entry.name))):
                children.setdefault(int(fields[1]), []).append(int(entry.name))
        self.pids = [] if pid is None else [pid]
        for parent in self.pids:
            self.pids.extend(children.get(parent, []))

    def cpu_s(self) -> float:
        """CPU time used so far, that of ended and waited-for children included."""
        ticks = 0
        for pid in self.pids:
            if fields := _stat_fields(pid):
                ticks += sum(int(field) for field in fields[11:15])  # utime stime cutime cstime
        return ticks / TICKS_PER_S

    def rss_mb(self) -> float:
        """Resident memory of all of them, in MB (10^6 bytes); shared pages count in each."""
        pages = 0
        for pid in self.pids:
            if fields := _stat_fields(pid):
                pages += int(fields[21])
        return pages * PAGE_BYTES / 1e6


def machine_cpu_s() -> float:
    """CPU time that all of the machine was not idle, time taken by the hypervisor included."""
    fields = Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


def _stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat behind the program's name; None if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
