"""Compiles the mock LLM server and the load generator."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent / ".bench"  # what is made here and can be made again
SOURCES = {
    "mock": ("mock.c", "http.c", "answers.c", "timers.c"),
    "load": ("load.c", "check.c", "samples.c", "http.c", "answers.c"),
}


class BuildError(Exception):
    """There is no working C compiler. On Debian or Ubuntu: apt install gcc libc6-dev"""


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where the compiled programs are."""

    mock: Path
    load: Path


def compile_all(cache: Path) -> Binaries:
    """Compile what is older than its sources into ``cache``; raises BuildError."""
    cache.mkdir(exist_ok=True)
    (cache / ".gitignore").write_text("*\n")
    return Binaries(_compile("mock", cache), _compile("load", cache))


def _compile(name: str, cache: Path) -> Path:
    target = cache / name
    newest = max(path.stat().st_mtime for path in HERE.glob("*.[ch]"))
    if target.exists() and target.stat().st_mtime > newest:
        return target
    compiler = os.environ.get("CC") or shutil.which("cc")
    if compiler is None:
        raise BuildError(BuildError.__doc__)
    sources = [str(HERE / source) for source in SOURCES[name]]
    command = [compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-o", str(target), *sources]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if outcome.returncode != 0:
        raise BuildError(f"{BuildError.__doc__}\n{outcome.stderr}")
    return target
