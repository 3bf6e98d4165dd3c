"""The command: ``python -m bench --help``."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from bench import build, report
from bench.bed import bed, raise_file_limit
from bench.inside import measure_leaks, measure_races, measure_stakes
from bench.machine import priority
from bench.machine.about import describe
from bench.machine.interpreter import python_for_the_node, warn_of
from bench.machine.quiet import warn_of_noise
from bench.measurements import MEASUREMENTS
from bench.plan import FULL, QUICK
from bench.subjects import NGINX_MISSING, Launch, Launcher, nginx_path

ALL = {**MEASUREMENTS, "races": measure_races, "stakes": measure_stakes, "leaks": measure_leaks}


def main() -> int:
    """Run the benchmark; 0 if every answer was right, 1 if not, 2 if it could not run."""
    arguments = _parse()
    try:
        priority.apply(arguments)
        binaries = build.compile_all(build.CACHE)
    except (build.BuildError, PermissionError) as error:
        print(error, file=sys.stderr)
        return 2
    raise_file_limit()
    python = _python(arguments.python)
    if python is None:
        print("--python names no program", file=sys.stderr)
        return 2
    about = describe(python)
    print("\n".join(f"{name:8}{value}" for name, value in about.items()), flush=True)
    warn_of(python)
    plan = QUICK if arguments.quick else FULL
    began_s = time.monotonic()
    with bed(plan, binaries, python, lambda launcher: _launches(launcher, set(arguments.skip))) as bench:
        bench.patient = arguments.patient
        for name in arguments.only or ALL:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            ALL[name](bench)
    figures = bench.figures
    print(f"\n{report.report(figures)}")
    warn_of(python)
    warn_of_noise(figures.foreign_cpu)
    print(f"took {time.monotonic() - began_s:.0f} s")
    if arguments.json:
        arguments.json.write_text(report.as_json(figures, about, "quick" if arguments.quick else "full"))
    for failure in figures.failures:
        print(f"\nFAILED: {failure}")
    return 1 if figures.failures else 0


def _python(named: str | None) -> str | None:
    """The Python that runs the node; None if the name is not that of a program."""
    if named is None:
        return python_for_the_node(build.CACHE)
    return shutil.which(os.path.abspath(named)) or shutil.which(named)  # noqa: PTH100 - a link into an environment stays


def _launches(launcher: Launcher, skip: set[str]) -> dict[str, Launch]:
    """The columns of the table, but for those left out."""
    launches = {"direct": launcher.direct, "nginx": launcher.nginx, "masa": launcher.masa, "hop": launcher.hop}
    if nginx_path() is None and "nginx" not in skip:
        print(f"!  {NGINX_MISSING}", file=sys.stderr)
        skip = skip | {"nginx"}
    return {name: launches[name] for name in launches if name not in skip}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the node against nginx and nothing.")
    parser.add_argument("--quick", action="store_true", help="short windows, no repeats: under two minutes, rough")
    parser.add_argument("--only", action="append", choices=list(ALL), help="only this; may be given again")
    parser.add_argument("--skip", action="append", default=[], choices=report.SUBJECTS, help="leave a column out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures, every repeat, to this file")
    parser.add_argument("--python", help="the Python that runs the node (default: this one, or an optimised one)")
    parser.add_argument("--patient", action="store_true", help="wait for quiet moments, repeat disturbed runs (slow)")
    priority.add_options(parser)
    arguments = parser.parse_args()
    if arguments.json and not arguments.json.parent.is_dir():  # before minutes of measuring
        parser.error(f"--json: there is no folder {arguments.json.parent}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
