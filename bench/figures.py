"""The figures of a run: which there are, what was measured, and what the node is meant to reach."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from bench.plan import CONNECTIONS, PIECES_PER_S, RATES, STREAM_COUNTS


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
    """One line of the table."""

    key: str
    label: str
    unit: str
    target: Target | None = None


def _rows() -> list[Row]:
    rows = [
        Row("startup", "start to first answered request", "s", Target(0.7)),
        Row("rss_idle", "memory (RSS), idle", "MB", Target(60)),
        Row("rss_1000", "memory (RSS), 1000 open streams", "MB", Target(130)),
        Row("requests", f"requests, {CONNECTIONS} connections", "1/s", Target(4000, at_least=True)),
        Row("cpu_request", "CPU per request", "us"),
    ]
    for rate in RATES:
        target = Target(0.6) if rate == 200 else None
        rows += [
            Row(f"latency_{rate}_p50", f"latency p50 at {rate} requests/s", "ms"),
            Row(f"latency_{rate}_p99", f"latency p99 at {rate} requests/s", "ms"),
            Row(f"added_{rate}_p50", f"added p50 at {rate} requests/s", "ms", target),
            Row(f"added_{rate}_p99", f"added p99 at {rate} requests/s", "ms"),
        ]
    for streams in (100, 1000):
        target = Target(50) if streams == 1000 else None
        name = f"{streams} streams x {PIECES_PER_S} pieces/s"
        rows += [
            Row(f"paced_{streams}_rate", f"{name}: pieces arrived", "1/s"),
            Row(f"paced_{streams}_p50", f"{name}: delay p50", "ms"),
            Row(f"paced_{streams}_p99", f"{name}: delay p99", "ms", target),
            Row(f"paced_{streams}_cpu", f"{name}: CPU per piece", "us"),
            Row(f"paced_{streams}_busy", f"{name}: core in use", "%"),
        ]
    for streams in STREAM_COUNTS:
        name = f"{streams} stream{'s' if streams > 1 else ''} unpaced"
        rows.append(Row(f"pieces_{streams}", f"{name}: pieces", "1/s"))
        rows.append(Row(f"pieces_{streams}_cpu", f"{name}: CPU per piece", "us"))
    return rows


ROWS = {row.key: row for row in _rows()}


@dataclass(slots=True)
class Figures:
    """Every value measured, and what went wrong."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # row key -> subject -> one a repeat
    floors: set[tuple[str, str]] = field(default_factory=set)  # the load side was the limit, not the subject
    failures: list[str] = field(default_factory=list)
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
