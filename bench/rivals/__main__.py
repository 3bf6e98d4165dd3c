"""The command: ``python -m bench.rivals --help``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from bench import build
from bench.bed import bed, raise_file_limit
from bench.figures import Figures
from bench.machine import priority
from bench.machine.about import describe
from bench.machine.environment import NotInstallable
from bench.machine.interpreter import python_for_the_node, warn_of
from bench.machine.quiet import warn_of_noise
from bench.measurements import measure_bodies, measure_delay, measure_memory, measure_requests
from bench.plan import FULL, QUICK, Plan
from bench.rivals.gateways import GATEWAYS, Gateway, install, launches
from bench.rivals.table import Entry, around_table, table, write
from masa_node.version import __version__

BATTERY = {
    "requests": measure_requests,
    "bodies": measure_bodies,
    "streams": measure_delay,
    "memory": measure_memory,
}
STREAMS = 1000


def main() -> int:
    """Measure, and write the table; 0 if every answer was right, 1 if not, 2 if it could not run."""
    arguments = _parse()
    try:
        if arguments.page is not None:
            around_table(arguments.page)  # before minutes of measuring
        priority.apply(arguments)
        binaries = build.compile_all(build.CACHE)
    except (build.BuildError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    python = arguments.python or python_for_the_node(build.CACHE)
    about = describe(python)
    print("\n".join(f"{name:8}{value}" for name, value in about.items()), flush=True)
    warn_of(python)
    found, entries = _installed(arguments.skip, python)
    raise_file_limit()
    plan = _plan(QUICK if arguments.quick else FULL)
    with bed(plan, binaries, python, lambda launcher: launches(found, launcher, plan)) as bench:
        bench.patient = arguments.patient
        bench.few_streams = frozenset(gateway.name for gateway in found if gateway.has_few_streams)
        for name in arguments.only or BATTERY:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            BATTERY[name](bench)
    run = "A short run without repeats" if arguments.quick else "Medians of one run"
    run += ", before all other programs" if priority.is_realtime() else ""
    _publish(bench.figures, entries, about | {"run": run}, arguments.page)
    return 1 if bench.figures.failures else 0


def _publish(figures: Figures, entries: list[Entry], about: dict[str, str], page: Path | None) -> None:
    text = table(figures, entries, about)
    print(f"\n{text}\n")
    warn_of_noise(figures.foreign_cpu)
    if page is not None:
        write(text, page)
        print(f"written to {page}")
    for failure in figures.failures:
        print(f"\nFAILED: {failure}")


def _installed(skip: list[str], python: str) -> tuple[dict[Gateway, Path], list[Entry]]:
    """The rivals that can be had here, and a row for each that was wanted."""
    found: dict[Gateway, Path] = {}
    entries: list[Entry] = []
    for gateway in GATEWAYS:
        if gateway.name in skip:
            continue
        try:
            program = found[gateway] = install(gateway, python, build.CACHE / "rivals")
            version, why_not = gateway.version(program), ""
        except NotInstallable as error:
            print(f"!  {gateway.name}: {error}", file=sys.stderr)
            version, why_not = "", str(error)
        entries.append(
            Entry(
                gateway.name,
                version,
                gateway.written_in,
                gateway.is_rewriting,
                gateway.has_few_streams,
                why_not,
            )
        )
    return found, [*entries, Entry("masa", __version__, "Python")]


def _plan(of: Plan) -> Plan:
    return replace(of, paced_s={STREAMS: of.paced_s[STREAMS]})


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.rivals", description="Measure the node beside its rivals.")
    parser.add_argument("--quick", action="store_true", help="short windows, no repeats: rough")
    parser.add_argument("--only", action="append", choices=list(BATTERY), help="only this; may be given again")
    names = [gateway.name for gateway in GATEWAYS]
    parser.add_argument("--skip", action="append", default=[], choices=names, help="leave one out")
    parser.add_argument("--page", type=Path, help="the page whose table is written, such as docs/benchmarks.md")
    parser.add_argument("--python", help="the Python that runs the node (default: this one, or an optimised one)")
    parser.add_argument("--patient", action="store_true", help="wait for quiet moments, repeat disturbed runs (slow)")
    priority.add_options(parser)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
