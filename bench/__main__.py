"""The command: ``python -m bench --help``."""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import build, report
from bench.inside import measure_leaks, measure_races, measure_stakes
from bench.machine.about import describe
from bench.machine.interpreter import python_for_the_node, warn_of
from bench.machine.quiet import NOISY
from bench.measurements import MEASUREMENTS, Bench
from bench.plan import FULL, QUICK, Plan
from bench.processes import Process
from bench.subjects import NGINX_MISSING, Launcher, Subject, answers_a_chat, free_port, nginx_path, wait_until

ALL = {**MEASUREMENTS, "races": measure_races, "stakes": measure_stakes, "leaks": measure_leaks}
OPEN_FILES = 8192  # 1 000 streams need two in the node, one each in the load and the mock; old ones may linger


def main() -> int:
    """Run the benchmark; 0 if every answer was right, 1 if not, 2 if it could not run."""
    arguments = _parse()
    try:
        binaries = build.compile_all(build.CACHE)
    except build.BuildError as error:
        print(error, file=sys.stderr)
        return 2
    _raise_file_limit()
    os.nice(arguments.nice)
    python = _python(arguments.python)
    if python is None:
        print("--python names no program", file=sys.stderr)
        return 2
    about = describe(python)
    print("\n".join(f"{name:8}{value}" for name, value in about.items()), flush=True)
    warn_of(python)
    plan = QUICK if arguments.quick else FULL
    began_s = time.monotonic()
    with _bench(plan, binaries, python, set(arguments.skip)) as bench:
        bench.patient = arguments.patient
        for name in arguments.only or ALL:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            ALL[name](bench)
    figures = bench.figures
    print(f"\n{report.report(figures)}")
    warn_of(python)
    _warn_of_noise(figures.foreign_cpu)
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


def _warn_of_noise(shares: list[float]) -> None:
    if shares and max(shares) > NOISY:
        average = sum(shares) / len(shares)
        print(f"!  other programs (or the host) used {average:.0%} of the CPU, in the worst run {max(shares):.0%}.")
        print("   Run it again on a quiet machine, with --patient, or as root with --nice -15.")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the node against nginx and nothing.")
    parser.add_argument("--quick", action="store_true", help="short windows, no repeats: under two minutes, rough")
    parser.add_argument("--only", action="append", choices=list(ALL), help="only this; may be given again")
    parser.add_argument("--skip", action="append", default=[], choices=report.SUBJECTS, help="leave a column out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures, every repeat, to this file")
    parser.add_argument("--python", help="the Python that runs the node (default: this one, or an optimised one)")
    parser.add_argument("--patient", action="store_true", help="wait for quiet moments, repeat disturbed runs (slow)")
    parser.add_argument("--nice", type=int, default=0, help="priority of everything in the run; below 0 needs root")
    return parser.parse_args()


def _raise_file_limit() -> None:
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
def _bench(plan: Plan, binaries: build.Binaries, python: str, skip: set[str]) -> Iterator[Bench]:
    """The mock and the subjects, each on its core, ended behind the block."""
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
        launches = {"direct": launcher.direct, "nginx": launcher.nginx, "masa": launcher.masa, "hop": launcher.hop}
        if nginx_path() is None and "nginx" not in skip:
            print(f"!  {NGINX_MISSING}", file=sys.stderr)
            skip = skip | {"nginx"}
        bench = Bench(plan, binaries, {name: launches[name] for name in launches if name not in skip}, python)
        try:
            wait_until(Subject("the mock", port, mock), answers_a_chat)
            yield bench
        finally:
            bench.stop_all()
            mock.stop()


if __name__ == "__main__":
    sys.exit(main())
