"""What the system says of this process, as metrics under the names that every Prometheus client gives them.

Only Linux tells; elsewhere there is `python_info` alone.
"""

import os
import platform
from collections.abc import Iterator
from pathlib import Path

from masa_node.telemetry.families import MetricDoc

_PYTHON = MetricDoc(
    "python_info",
    "gauge",
    ("implementation", "major", "minor", "patchlevel", "version"),
    "Python platform information",
)
_VIRTUAL = MetricDoc("process_virtual_memory_bytes", "gauge", (), "Virtual memory size in bytes.")
_RESIDENT = MetricDoc("process_resident_memory_bytes", "gauge", (), "Resident memory size in bytes.")
_STARTED = MetricDoc(
    "process_start_time_seconds", "gauge", (), "Start time of the process since unix epoch in seconds."
)
_CPU = MetricDoc("process_cpu_seconds_total", "counter", (), "Total user and system CPU time spent in seconds.")
_OPEN = MetricDoc("process_open_fds", "gauge", (), "Number of open file descriptors.")
_MOST_OPEN = MetricDoc("process_max_fds", "gauge", (), "Maximum number of open file descriptors.")


def process_lines(proc: Path = Path("/proc")) -> Iterator[str]:
    """The text of them all; of those that this system does not tell, none."""
    for doc, value in (*_usage(proc), *_files(proc)):
        yield doc.head() + doc.sample((), value)
    version = (platform.python_implementation(), *platform.python_version_tuple(), platform.python_version())
    yield _PYTHON.head() + _PYTHON.sample(version, 1)


def _usage(proc: Path) -> list[tuple[MetricDoc, float]]:
    """Memory, CPU and start, from `stat` (proc(5): fields from the third on, behind the program's name)."""
    try:
        fields = (proc / "self" / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        booted = (proc / "stat").read_text("ascii").partition("\nbtime ")[2].split(maxsplit=1)[0]
    except OSError:
        return []
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    return [
        (_VIRTUAL, int(fields[20])),
        (_RESIDENT, int(fields[21]) * os.sysconf("SC_PAGE_SIZE")),
        (_STARTED, int(fields[19]) / ticks_per_s + int(booted)),
        (_CPU, int(fields[11]) / ticks_per_s + int(fields[12]) / ticks_per_s),
    ]


def _files(proc: Path) -> list[tuple[MetricDoc, float]]:
    try:
        limits = (proc / "self" / "limits").read_text("ascii")
        now_open = len(os.listdir(proc / "self" / "fd"))  # noqa: PTH208 - only their number
    except OSError:
        return []
    most = limits.partition("\nMax open files")[2].split(maxsplit=1)[0]
    return [(_OPEN, now_open), (_MOST_OPEN, float(most))]
