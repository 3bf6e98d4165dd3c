"""Carries one load run out and looks at the process under test while the measured window is open."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.machine.quiet import ForeignCpu
from bench.plan import Load
from bench.processes import Tree, on_core, share_priority
from bench.subjects import Subject, SubjectError


@dataclass(frozen=True, slots=True)
class Run:
    """What one load run measured. Times in ms; a dict of percentiles has p50, p90, p99, p999, max, mean."""

    answers_per_s: float
    pieces_per_s: float
    latency_ms: dict[str, float]
    first_ms: dict[str, float]
    delay_ms: dict[str, float]
    failed: int
    failures: str  # kinds and the first one's text
    busy: float  # share of its core that the process under test used
    rss_mb: float  # when the window closed
    busy_behind: float  # the same of the process behind it; 0 where there is none
    rss_behind_mb: float
    foreign_cpu: float  # share of all cores that programs outside this benchmark used

    @property
    def cpu_us_per_answer(self) -> float:
        """CPU time of the process under test for one whole answer."""
        return _us_each(self.busy, self.answers_per_s)

    @property
    def cpu_us_per_answer_behind(self) -> float:
        """The same of the process behind."""
        return _us_each(self.busy_behind, self.answers_per_s)

    @property
    def cpu_us_per_piece(self) -> float:
        """CPU time of the process under test for one forwarded piece."""
        return _us_each(self.busy, self.pieces_per_s)

    @property
    def cpu_us_per_piece_behind(self) -> float:
        """The same of the process behind."""
        return _us_each(self.busy_behind, self.pieces_per_s)


def _us_each(busy: float, per_s: float) -> float:
    return busy / max(1.0, per_s) * 1e6


@dataclass(slots=True)
class _Clocks:
    """CPU times at the edges of the window."""

    subject: Tree
    behind: Tree
    foreign: ForeignCpu = field(default_factory=ForeignCpu)
    foreign_cpu: float = 0.0
    elapsed_s: float = 0.0  # a little more than the window when this program did not get its turn at once
    cpu_s: float = 0.0
    cpu_behind_s: float = 0.0
    rss_mb: float = 0.0
    rss_behind_mb: float = 0.0

    def turn(self) -> None:
        """Subtract at the start what is added at the end: call once at each edge."""
        self.elapsed_s = time.monotonic() - self.elapsed_s
        self.cpu_s = self.subject.cpu_s() - self.cpu_s
        self.cpu_behind_s = self.behind.cpu_s() - self.cpu_behind_s
        self.foreign_cpu = self.foreign.share()
        self.foreign.restart()
        self.rss_mb = self.subject.rss_mb()
        self.rss_behind_mb = self.behind.rss_mb()


def run_load(program: Path, subject: Subject, load: Load) -> Run:
    """One load run; raises SubjectError if the load cannot even connect or the subject has ended."""
    argv = [str(program), *subject.load_arguments(), *load.arguments]
    result: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        with on_core(subject.load_core) if subject.load_core is not None else contextlib.nullcontext():
            popen = stack.enter_context(
                subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
            )
        share_priority(popen.pid)
        clocks = _Clocks(subject.tree(), subject.tree_behind())
        try:
            for line in popen.stdout or ():
                event = json.loads(line)
                if event["event"] == "result":
                    result = event
                else:
                    clocks.turn()
        except BaseException:
            popen.kill()  # Ctrl+C does not reach it: it has a session of its own
            raise
    for process in (subject.process, subject.behind):
        if process and not process.is_alive():
            raise SubjectError(f"{subject.name} ended under load:\n{process.last_output()}")
    if not result:
        raise SubjectError(f"the load generator could not measure {subject.name} (see its message above)")
    return _run_of(result, clocks)


def _run_of(result: dict[str, Any], clocks: _Clocks) -> Run:
    window_s = float(result["window_s"])
    kinds = ", ".join(f"{count} {kind}" for kind, count in result["failures"].items())
    return Run(
        answers_per_s=result["answered_in_window"] / window_s,
        pieces_per_s=result["pieces_in_window"] / window_s,
        latency_ms=_in_ms(result["latency_us"]),
        first_ms=_in_ms(result["first_us"]),
        delay_ms=_in_ms(result["delay_us"]),
        failed=result["failed"],
        failures=f"{kinds}; the first one: {result['first_failure']}" if kinds else "",
        busy=clocks.cpu_s / clocks.elapsed_s,
        rss_mb=clocks.rss_mb,
        busy_behind=clocks.cpu_behind_s / clocks.elapsed_s,
        rss_behind_mb=clocks.rss_behind_mb,
        foreign_cpu=clocks.foreign_cpu,
    )


def _in_ms(times_us: dict[str, float]) -> dict[str, float]:
    return {name: value / 1000 for name, value in times_us.items() if name != "count"}
