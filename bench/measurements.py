"""What is measured, one function each: runs go in, figures come out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.build import Binaries
from bench.figures import Figures
from bench.machine.quiet import NOISY, TRIES, wait_for_quiet
from bench.plan import FIRST_RATES, HOP_STREAMS, MOST_HOP_STREAMS, RATES, STREAM_COUNTS, Load, Plan
from bench.runner import Run, run_load
from bench.subjects import Launch, Subject, SubjectError, wait_until

FULLY_BUSY = 0.9  # below this share of its core a process was not what limited the throughput
NODES = ("masa", "hop")
FEW_STREAMS = 100
SETTLE_S = 1.0  # after a start, before idle memory is read


@dataclass(slots=True)
class Bench:
    """What all measurements share. ``running`` holds the subjects that have been started and still stand."""

    plan: Plan
    binaries: Binaries
    launches: dict[str, Launch]
    python: str
    patient: bool = False  # wait for a quiet machine, repeat what was disturbed
    few_streams: frozenset[str] = frozenset()  # subjects that are not asked for many streams at once
    figures: Figures = field(default_factory=Figures)
    running: dict[str, Subject] = field(default_factory=dict)

    def start_all(self) -> None:
        """Start every subject that is not running; one that cannot start is reported and dropped."""
        for name in [name for name in self.launches if name not in self.running]:
            try:
                self.running[name] = self._started(name)
            except SubjectError as error:
                self.drop(name, error)

    def _started(self, name: str) -> Subject:
        subject = self.launches[name]()
        try:
            wait_ready(subject)
        except BaseException:
            subject.stop()
            raise
        return subject

    def drop(self, name: str, error: SubjectError) -> None:
        """A subject has failed: the run goes on without it, and is not a success."""
        self.figures.failures.append(str(error))
        self.launches.pop(name, None)
        if subject := self.running.pop(name, None):
            subject.stop()

    def stop_all(self) -> None:
        """End every subject."""
        for subject in self.running.values():
            subject.stop()
        self.running.clear()

    def load(self, subject: Subject, load: Load) -> Run | None:
        """One checked run, or the least disturbed of some; None if the subject broke down, or gave no right answer."""
        runs: list[Run] = []
        while not runs or (self.patient and len(runs) < TRIES and runs[-1].foreign_cpu > NOISY):
            if self.patient:
                wait_for_quiet()
            try:
                run = run_load(self.binaries.load, subject, load)
            except SubjectError as error:
                self.drop(subject.name, error)
                return None
            runs.append(run)
            if run.failed:
                what = f"{subject.name}, {' '.join(load.arguments)}"
                self.figures.failures.append(f"{what}: {run.failed} failed ({run.failures})")
        best = min(runs, key=lambda run: run.foreign_cpu)
        self.figures.foreign_cpu.append(best.foreign_cpu)
        return best if best.answers_per_s or best.pieces_per_s else None

    def runs(self, load: Load) -> Iterator[tuple[str, Run]]:
        """Every subject in turn, again and again, so that a disturbance does not hit one alone."""
        self.start_all()
        for _ in range(self.plan.repeats):
            for subject in list(self.running.values()):
                few = FEW_STREAMS if subject.name in self.few_streams else MOST_HOP_STREAMS
                if (subject.name in self.few_streams or subject.name == "hop") and load.connections > few:
                    continue
                if run := self.load(subject, load):
                    yield subject.name, run


def wait_ready(subject: Subject) -> None:
    """Wait until it serves; raises SubjectError."""
    if subject.name in NODES:
        wait_until(subject, subject.is_ready)
    wait_until(subject, subject.answers_a_chat)


@contextmanager
def fresh(bench: Bench, name: str) -> Iterator[Subject]:
    """A newly started subject beside those that run, ended behind the block."""
    subject = bench.launches[name]()
    try:
        yield subject
    finally:
        subject.stop()


def measure_startup(bench: Bench) -> None:
    """From exec to the first answered chat request; a first start, which may compile bytecode, does not count."""
    for name in [name for name in bench.launches if name not in ("direct", "hop")]:
        try:
            for count in range(bench.plan.starts + 1):
                if bench.patient:
                    wait_for_quiet()
                began_s = time.monotonic()
                with fresh(bench, name) as subject:
                    wait_until(subject, subject.answers_a_chat)
                    if count > 0:
                        bench.figures.add("startup", name, time.monotonic() - began_s)
        except SubjectError as error:
            bench.drop(name, error)


def measure_memory(bench: Bench) -> None:
    """Memory of a fresh process: idle, then with open streams; of a hop, that of both nodes."""
    for name in [name for name in bench.launches if name != "direct"]:
        try:
            with fresh(bench, name) as subject:
                wait_ready(subject)
                time.sleep(SETTLE_S)
                bench.figures.add("rss_idle", name, subject.tree().rss_mb())
                _note_memory(bench, subject)
        except SubjectError as error:
            bench.drop(name, error)


def _note_memory(bench: Bench, subject: Subject) -> None:
    if subject.name in bench.few_streams:
        return
    if subject.name != "hop":
        if run := bench.load(subject, bench.plan.memory(1000)):
            bench.figures.add("rss_1000", subject.name, run.rss_mb)
    elif run := bench.load(subject, bench.plan.memory(HOP_STREAMS)):
        bench.figures.add("rss_hop", subject.name, run.rss_mb)
        bench.figures.add("rss_behind", subject.name, run.rss_behind_mb)


def measure_requests(bench: Bench) -> None:
    """Whole answers, as many as can be had."""
    for name, run in bench.runs(bench.plan.whole_answers()):
        bench.figures.add("requests", name, run.answers_per_s)
        if name != "direct":
            bench.figures.add("cpu_request", name, run.cpu_us_per_answer)
            if name == "hop":
                bench.figures.add("cpu_request_behind", name, run.cpu_us_per_answer_behind)
            _note_floor(bench, "requests", name, run)


def measure_bodies(bench: Bench) -> None:
    """The same with 100 kB in each request."""
    for name, run in bench.runs(bench.plan.large_bodies()):
        bench.figures.add("bodies", name, run.answers_per_s)
        if name != "direct":
            bench.figures.add("cpu_body", name, run.cpu_us_per_answer)
            _note_floor(bench, "bodies", name, run)


def measure_latency(bench: Bench) -> None:
    """Whole answers at fixed rates; what a subject adds is counted against the direct run of the same round."""
    for rate in RATES:
        direct: dict[str, float] = {}
        for name, run in bench.runs(bench.plan.at_rate(rate)):
            if name == "direct":
                direct = run.latency_ms
            for share in ("p50", "p99"):
                if share not in run.latency_ms:
                    continue  # no request was answered at all: reported as failures
                bench.figures.add(f"latency_{rate}_{share}", name, run.latency_ms[share])
                if name != "direct" and share in direct:
                    bench.figures.add(f"added_{rate}_{share}", name, run.latency_ms[share] - direct[share])


def measure_first(bench: Bench) -> None:
    """The time to the first piece of a stream; what a hop adds is counted against one node in the same round."""
    for rate in FIRST_RATES:
        one_node: dict[str, float] = {}
        for name, run in bench.runs(bench.plan.first_pieces(rate)):
            if name == "masa":
                one_node = run.first_ms
            for share in ("p50", "p99"):
                if share not in run.first_ms:
                    continue
                bench.figures.add(f"first_{rate}_{share}", name, run.first_ms[share])
                if name == "hop" and share in one_node:
                    bench.figures.add(f"hop_{rate}_{share}", name, run.first_ms[share] - one_node[share])


def measure_delay(bench: Bench) -> None:
    """The delay of each piece in streams that are paced like a model's."""
    for streams in bench.plan.paced_s:
        for name, run in bench.runs(bench.plan.paced(streams)):
            key = f"paced_{streams}"
            bench.figures.add(f"{key}_rate", name, run.pieces_per_s)
            for share in ("p50", "p99"):
                if share in run.delay_ms:
                    bench.figures.add(f"{key}_{share}", name, run.delay_ms[share])
            if name != "direct":
                bench.figures.add(f"{key}_cpu", name, run.cpu_us_per_piece)
                bench.figures.add(f"{key}_busy", name, run.busy * 100)
            if name == "hop":
                bench.figures.add(f"{key}_cpu_behind", name, run.cpu_us_per_piece_behind)
                bench.figures.add(f"{key}_busy_behind", name, run.busy_behind * 100)


def measure_pieces(bench: Bench) -> None:
    """Pieces of streams that the mock sends as fast as they are taken."""
    for streams in STREAM_COUNTS:
        for name, run in bench.runs(bench.plan.unpaced(streams)):
            bench.figures.add(f"pieces_{streams}", name, run.pieces_per_s)
            if name != "direct":
                bench.figures.add(f"pieces_{streams}_cpu", name, run.cpu_us_per_piece)
                _note_floor(bench, f"pieces_{streams}", name, run)
            if name == "hop":
                bench.figures.add(f"pieces_{streams}_cpu_behind", name, run.cpu_us_per_piece_behind)


def _note_floor(bench: Bench, key: str, name: str, run: Run) -> None:
    if run.busy < FULLY_BUSY:
        bench.figures.floors.add((key, name))


MEASUREMENTS: dict[str, Callable[[Bench], None]] = {
    "startup": measure_startup,
    "memory": measure_memory,
    "requests": measure_requests,
    "bodies": measure_bodies,
    "latency": measure_latency,
    "first": measure_first,
    "delay": measure_delay,
    "pieces": measure_pieces,
}
