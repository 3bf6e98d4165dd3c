"""The figures of a run: which there are, what was measured, and what the node is meant to reach."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from bench.plan import (
    CONNECTIONS,
    FIRST_RATES,
    HOP_STREAMS,
    MOST_HOP_STREAMS,
    PACED_COUNTS,
    PIECES_PER_S,
    RATES,
    STREAM_COUNTS,
)


@dataclass(frozen=True, slots=True)
class Target:
    """What the node is meant to reach."""

    limit: float
    at_least: bool = False  # else: at most

    def is_met(self, value: float) -> bool:
        """Whether this value reaches it."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `of` is the subject that the target is for."""

    key: str
    label: str
    unit: str
    target: Target | None = None
    of: str = "masa"


def _rows() -> list[Row]:
    return [
        Row("startup", "start to first answered request", "s", Target(0.7)),
        Row("rss_idle", "memory (RSS), idle", "MB", Target(60)),
        Row("rss_1000", "memory (RSS), 1000 open streams", "MB", Target(130)),
        Row("rss_hop", f"memory (RSS), {HOP_STREAMS} open streams", "MB"),
        Row("rss_behind", "  of the serving node", "MB"),
        Row("requests", f"requests, {CONNECTIONS} connections", "1/s", Target(4000, at_least=True)),
        Row("cpu_request", "CPU per request", "us"),
        Row("cpu_request_behind", "  of the serving node", "us"),
        Row("bodies", f"requests of 100 kB, {CONNECTIONS} connections", "1/s"),
        Row("cpu_body", "100 kB: CPU per request", "us"),
        *(row for rate in RATES for row in _latency_rows(rate)),
        *(row for rate in FIRST_RATES for row in _first_rows(rate)),
        *(row for streams in PACED_COUNTS for row in _paced_rows(streams)),
        *(row for streams in STREAM_COUNTS for row in _unpaced_rows(streams)),
    ]


def _latency_rows(rate: int) -> list[Row]:
    return [
        Row(f"latency_{rate}_p50", f"latency p50 at {rate} requests/s", "ms"),
        Row(f"latency_{rate}_p99", f"latency p99 at {rate} requests/s", "ms"),
        Row(f"added_{rate}_p50", f"added p50 at {rate} requests/s", "ms", Target(0.6) if rate == 200 else None),
        Row(f"added_{rate}_p99", f"added p99 at {rate} requests/s", "ms"),
    ]


def _first_rows(rate: int) -> list[Row]:
    return [
        Row(f"first_{rate}_p50", f"first piece p50, {rate} streams/s", "ms"),
        Row(f"first_{rate}_p99", f"first piece p99, {rate} streams/s", "ms"),
        Row(f"hop_{rate}_p50", "  p50 that the hop adds to one node's", "ms", Target(2), of="hop"),
        Row(f"hop_{rate}_p99", "  p99 that the hop adds to one node's", "ms"),
    ]


def _paced_rows(streams: int) -> list[Row]:
    name = f"{streams} stream{'s' if streams > 1 else ''} x {PIECES_PER_S} pieces/s"
    of = "hop" if streams == HOP_STREAMS else "masa"
    delay = Target(75 if streams > MOST_HOP_STREAMS else 50) if streams >= HOP_STREAMS else None
    all_of_them = Target(0.99 * streams * PIECES_PER_S, at_least=True) if streams == HOP_STREAMS else None
    return [
        Row(f"paced_{streams}_rate", f"{name}: pieces arrived", "1/s", all_of_them, of),
        Row(f"paced_{streams}_p50", f"{name}: delay p50", "ms"),
        Row(f"paced_{streams}_p99", f"{name}: delay p99", "ms", delay, of),
        Row(f"paced_{streams}_cpu", f"{name}: CPU per piece", "us"),
        Row(f"paced_{streams}_cpu_behind", "  of the serving node", "us"),
        Row(f"paced_{streams}_busy", f"{name}: core in use", "%"),
        Row(f"paced_{streams}_busy_behind", "  of the serving node", "%"),
    ]


def _unpaced_rows(streams: int) -> list[Row]:
    name = f"{streams} stream{'s' if streams > 1 else ''} unpaced"
    return [
        Row(f"pieces_{streams}", f"{name}: pieces", "1/s"),
        Row(f"pieces_{streams}_cpu", f"{name}: CPU per piece", "us"),
        Row(f"pieces_{streams}_cpu_behind", "  of the serving node", "us"),
    ]


ROWS = {row.key: row for row in _rows()}


@dataclass(frozen=True, slots=True)
class RaceCell:
    """What one rule gave in the simulation: seconds to the first piece, and how many providers each request went to."""

    peers: int
    stalled: int
    rule: str
    p50_s: float
    p99_s: float
    requests: float
    extra: float  # hedges for each request
    failed: int


@dataclass(slots=True)
class Figures:
    """Every value measured, and what went wrong."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # row key -> subject -> one a repeat
    floors: set[tuple[str, str]] = field(default_factory=set)  # the load side was the limit, not the subject
    failures: list[str] = field(default_factory=list)
    races: list[RaceCell] = field(default_factory=list)
    stakes: list[str] = field(default_factory=list)  # lines as they are to be read
    leaks: list[str] = field(default_factory=list)  # what was counted, in words
    foreign_cpu: list[float] = field(default_factory=list)  # share of the machine that others used, one a load run

    def add(self, key: str, subject: str, value: float) -> None:
        """Note one repeat's value of a row in ROWS."""
        self.values.setdefault(ROWS[key].key, {}).setdefault(subject, []).append(value)

    def median(self, key: str, subject: str) -> float | None:
        """The median of the repeats; None if it was not measured."""
        values = self.values.get(key, {}).get(subject)
        return statistics.median(values) if values else None

    def scatters(self, key: str, subject: str) -> bool:
        """Whether the repeats lie further apart than a quarter of their median."""
        values = self.values.get(key, {}).get(subject, [])
        return len(values) > 1 and max(values) - min(values) > 0.25 * abs(statistics.median(values))
