"""On what the figures were taken."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

from bench.machine.interpreter import interpreter
from bench.machine.priority import is_realtime
from bench.subjects import nginx_path


def describe(python: str) -> dict[str, str]:
    """CPU, cores, memory, kernel, and the versions of what was measured."""
    memory_kib = int(_first_match(r"^MemTotal: +(\d+)", Path("/proc/meminfo").read_text()))
    return {
        "cpu": _first_match(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text()) or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory_kib * 1024 / 1e9:.1f} GB",
        "kernel": platform.release(),
        "tcp": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
        "python": str(interpreter(python) or "unknown"),
        "nginx": _output([nginx_path() or "", "-v"]).removeprefix("nginx version: nginx/") or "not installed",
        "sched": "real-time" if is_realtime() else f"nice {os.getpriority(os.PRIO_PROCESS, 0)}",
        "load": f"{os.getloadavg()[0]:.2f} before the run",
    }


def _first_match(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1].strip() if found else ""


def _output(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return (done.stdout or done.stderr).strip()
