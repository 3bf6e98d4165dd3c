"""Which Python runs the node, how it was built, and a better one for it where this machine has one.

A Python that was built without profile-guided optimisation costs a request 9 to 27 % more CPU time.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.machine.environment import NotInstallable, environment

PROJECT = Path(__file__).resolve().parents[2]
REQUIREMENTS = PROJECT / "requirements" / "run.txt"
VERSIONS = range(11, 15)  # Python 3.x that the project supports
_WHERE_SYSTEMS_KEEP_THEIRS = ("/usr/bin", "/usr/local/bin", "/opt/homebrew/bin")

_ASK = """
import json, pathlib, platform, sys, sysconfig
config = sysconfig.get_config_vars()
name = "python%d.%d-minimal" % sys.version_info[:2]
told = {
    "version": platform.python_version(),
    "args": config.get("CONFIG_ARGS") or "",
    "flags": " ".join(str(config.get(key) or "") for key in ("PY_CFLAGS", "PY_CFLAGS_NODIST")),
    "debian": sys.base_prefix == "/usr" and any(pathlib.Path("/var/lib/dpkg/info").glob(name + "*.list")),
}
print(json.dumps(told))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """One Python. `pgo`, `lto` and `level` are what it was built with, as far as it knows."""

    path: str
    version: str
    pgo: bool
    lto: bool
    level: str  # of optimisation: `-O2`; "" if unknown
    is_debug: bool
    is_debians: bool

    @property
    def is_optimised(self) -> bool:
        """Is it a build whose figures may stand for the node?"""
        return self.pgo and not self.is_debug

    def __str__(self) -> str:
        parts = [f"PGO {'on' if self.pgo else 'OFF'}", f"LTO {'on' if self.lto else 'off'}", self.level or "-O unknown"]
        parts += ["a DEBUG build"] if self.is_debug else []
        source = "; by Debian's rules, it does not say so itself" if self.is_debians else ""
        return f"{self.version} ({', '.join(parts)}{source})"


def read_interpreter(path: str, told: dict[str, object]) -> Interpreter:
    """From what a Python says of itself. Debian and Ubuntu build theirs with both and take that out of `sysconfig`."""
    arguments, is_debians = str(told["args"]), bool(told["debian"])
    levels = re.findall(r"-O(?:\d|fast|g|s)\b", str(told["flags"]))
    return Interpreter(
        path=path,
        version=str(told["version"]),
        pgo=is_debians or "--enable-optimizations" in arguments,
        lto=is_debians or re.search(r"--with-lto(?!=no)", arguments) is not None,
        level=levels[-1] if levels else "",  # the last one counts
        is_debug="--with-pydebug" in arguments,
        is_debians=is_debians,
    )


def interpreter(path: str) -> Interpreter | None:
    """The Python at this path; None if it does not run."""
    try:
        done = subprocess.run([path, "-I", "-c", _ASK], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return read_interpreter(path, json.loads(done.stdout)) if done.returncode == 0 else None


def best_of(found: Iterable[Interpreter], now: Interpreter) -> Interpreter:
    """The one to take: this one if it is optimised; else an optimised one of the same version, or of a near one."""

    def distance(other: Interpreter) -> int:
        return abs(_minor(other) - _minor(now))

    return (
        min((other for other in found if other.is_optimised), key=distance, default=now)
        if not now.is_optimised
        else now
    )


def _minor(python: Interpreter) -> int:
    return int(python.version.split(".")[1])


def on_this_machine() -> list[Interpreter]:
    """Every Python that the project supports, where systems keep theirs and in PATH."""
    paths: dict[str, None] = {}
    for name in [f"python3.{minor}" for minor in VERSIONS]:
        for path in (shutil.which(name), *(shutil.which(name, path=folder) for folder in _WHERE_SYSTEMS_KEEP_THEIRS)):
            if path is not None:
                paths[path] = None
    return [found for found in map(interpreter, paths) if found is not None]


def python_for_the_node(cache: Path) -> str:
    """This Python, or one with the node's dependencies in `cache` around an optimised one. Says what it does."""
    now = interpreter(sys.executable)
    if now is None or now.is_optimised:
        return sys.executable
    best = best_of(on_this_machine(), now)
    if not best.is_optimised:
        return sys.executable
    print(f"this Python is not optimised: the node runs on {best.path}", file=sys.stderr, flush=True)
    try:
        return str(environment(best.path, cache / "optimised", REQUIREMENTS) / "python")
    except NotInstallable as error:
        print(f"!  no: {error}", file=sys.stderr, flush=True)
        return sys.executable


def warn_of(python: str) -> None:
    """Say loudly that figures of this Python stand for no other."""
    found = interpreter(python)
    if found is not None and not found.is_optimised:
        print(
            f"!  THIS PYTHON IS NOT OPTIMISED: {found}. A request costs 9 to 27 % more on it.\n"
            "   Install one that is (Debian, Ubuntu: apt install python3 python3-venv), or name it with --python.",
            flush=True,
        )
