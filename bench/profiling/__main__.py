"""The command: ``python -m bench.profiling --help``."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import build
from bench.machine.interpreter import interpreter, python_for_the_node, warn_of
from bench.measurements import wait_ready
from bench.plan import CONNECTIONS, FULL, WHOLE, Load
from bench.processes import Process
from bench.profiling.stages import Stack, by_function, by_stage
from bench.runner import Run, run_load
from bench.subjects import Launcher, Subject, SubjectError, free_port, wait_until

SAMPLER = Path(__file__).with_name("sampler.py")
WARM_UP_S = 0.5
WRITTEN_WITHIN_S = 20.0
FUNCTIONS = 20  # shown
STREAMS = 1000

LOADS: dict[str, Callable[[float], Load]] = {
    "requests": lambda seconds: Load(WHOLE, CONNECTIONS, seconds),
    "streams": lambda seconds: FULL.paced(STREAMS, seconds),
}


@dataclass(frozen=True, slots=True)
class Profile:
    """What was seen under one load."""

    user_s: float
    system_s: float
    stacks: list[Stack]
    run: Run
    load: str

    def table(self) -> str:
        """The stages, with what each costs, and the functions seen most often."""
        stages = by_stage(self.stacks)
        seen = sum(stages.values())
        if not seen:
            return "No sample: the node used no CPU."
        what, each_us = self._unit()
        in_kernel = self.system_s / (self.user_s + self.system_s)
        lines = [
            f"{self.load}: {each_us:.0f} us of CPU {what}, {in_kernel:.0%} of it in the kernel; {seen} samples",
            "",
            f"{'stage':42}   share   us {what}",
        ]
        lines += [_row(stage, count / seen, each_us) for stage, count in stages.items()]
        lines += [_row("all", 1.0, each_us), "", "the functions seen most often"]
        lines += [f"{count / seen:7.1%}  {name}" for name, count in by_function(self.stacks).most_common(FUNCTIONS)]
        return "\n".join(lines)

    def _unit(self) -> tuple[str, float]:
        if self.load == "requests":
            return "a request", self.run.cpu_us_per_answer
        return "a piece", self.run.cpu_us_per_piece


def _row(stage: str, share: float, each_us: float) -> str:
    return f"{stage:42} {share:7.1%} {share * each_us:12.1f}"


def profile(python: str, load: str, seconds: float) -> Profile:
    """A node of its own under this load; raises SubjectError."""
    binaries = build.compile_all(build.CACHE)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    wanted = LOADS[load](seconds)
    with tempfile.TemporaryDirectory(prefix="masa-profile-") as folder:
        work, port = Path(folder), free_port()
        out = work / "stacks.json"
        mock = Process([str(binaries.mock), str(port), WHOLE, wanted.model], cores[0], work / "mock.log")
        try:
            behind = Subject("the mock", port, mock)
            wait_until(behind, behind.answers_a_chat)
            sampled = (str(SAMPLER), str(out))
            launcher = Launcher(
                work, cores[-1], cores[0], has_third_core=False, mock_port=port, python=python, node=sampled
            )
            return _profile(binaries, launcher.masa(), wanted, load, out)
        finally:
            mock.stop()
            os.sched_setaffinity(0, set(cores))


def _profile(binaries: build.Binaries, subject: Subject, wanted: Load, load: str, out: Path) -> Profile:
    process = subject.process
    assert process is not None  # noqa: S101 - for the types: a node has one
    try:
        wait_ready(subject)
        run_load(binaries.load, subject, Load(WHOLE, CONNECTIONS, WARM_UP_S))
        os.kill(process.pid, signal.SIGUSR1)
        run = run_load(binaries.load, subject, wanted)
        os.kill(process.pid, signal.SIGUSR2)
        seen = _written(out, subject)
    finally:
        subject.stop()
    stacks = [Stack(stack["count"], stack["at_entry"], stack["frames"]) for stack in seen["stacks"]]
    return Profile(seen["user_s"], seen["system_s"], stacks, run, load)


def _written(out: Path, subject: Subject) -> dict[str, Any]:
    until_s = time.monotonic() + WRITTEN_WITHIN_S
    while not out.is_file():
        if time.monotonic() > until_s or (subject.process and not subject.process.is_alive()):
            raise SubjectError(
                f"the sampler wrote nothing:\n{subject.process.last_output() if subject.process else ''}"
            )
        time.sleep(0.01)
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def main() -> int:
    """Print the table; 0 if every answer was right, 1 if not, 2 if it could not run."""
    parser = argparse.ArgumentParser(prog="python -m bench.profiling", description=__doc__)
    parser.add_argument("--load", choices=list(LOADS), default="requests", help="what the node has to do")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long")
    parser.add_argument("--python", help="the Python that runs the node (default: this one, or an optimised one)")
    arguments = parser.parse_args()
    python = arguments.python or python_for_the_node(build.CACHE)
    print(f"python  {interpreter(python) or 'unknown'}", flush=True)
    warn_of(python)
    try:
        seen = profile(python, arguments.load, arguments.seconds)
    except (build.BuildError, SubjectError) as error:
        print(error, file=sys.stderr)
        return 2
    print(seen.table())
    if seen.run.failed:
        print(f"\nFAILED: {seen.run.failed} ({seen.run.failures})")
    return 1 if seen.run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
