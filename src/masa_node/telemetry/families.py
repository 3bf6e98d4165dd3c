"""Counters, histograms and gauges: plain numbers by their labels, and Prometheus' text of them when somebody asks.

Counting is a dict's or a list's increment. Used from the event loop alone: nothing here is locked.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

Labels = tuple[str, ...]  # the values, in the order of the metric's label names

# From a local small model's few milliseconds to LLM_TIMEOUT and beyond.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_BOUNDS = (*map(repr, SECONDS), "+Inf")


@dataclass(frozen=True, slots=True, eq=False)
class MetricDoc:
    """One metric as it is exposed: the node is built from these, and docs/metrics.md too."""

    name: str
    kind: str
    labels: tuple[str, ...]
    about: str

    def head(self) -> str:
        """What stands before its samples."""
        return f"# HELP {self.name} {_escaped(self.about)}\n# TYPE {self.name} {self.kind}\n"

    def sample(self, labels: Labels, value: float) -> str:
        """The line of one value."""
        return sample(self.name, self.labels, labels, value)


class Counter:
    """How often, or how much in all, for each combination of labels. Without labels it is there from the start."""

    def __init__(self, doc: MetricDoc) -> None:
        self._doc = doc
        self._values: dict[Labels, float] = {} if doc.labels else {(): 0}

    def add(self, amount: float, *labels: str) -> None:
        """Count so much more, at least 0."""
        values = self._values
        values[labels] = values.get(labels, 0) + amount

    def lines(self) -> Iterator[str]:
        """Its text."""
        yield self._doc.head()
        for labels, value in self._values.items():
            yield self._doc.sample(labels, value)


class Durations:
    """How long things with the same labels took: how many up to each bound of SECONDS, and all of it added up."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * len(_BOUNDS)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.sum_s += seconds


class Histogram:
    """Durations, for each combination of labels."""

    def __init__(self, doc: MetricDoc) -> None:
        self._doc = doc
        self._by_labels: dict[Labels, Durations] = {}

    def of(self, *labels: str) -> Durations:
        """Those with these labels; exposed from now on."""
        return self._by_labels.setdefault(labels, Durations())

    def lines(self) -> Iterator[str]:
        """Its text."""
        name, names = self._doc.name, self._doc.labels
        yield self._doc.head()
        for labels, durations in self._by_labels.items():
            up_to = list(accumulate(durations.counts))
            for bound, count in zip(_BOUNDS, up_to, strict=True):
                yield sample(f"{name}_bucket", (*names, "le"), (*labels, bound), count)
            yield sample(f"{name}_count", names, labels, up_to[-1])
            yield sample(f"{name}_sum", names, labels, durations.sum_s)


class Gauge:
    """What is so now, for each combination of labels: looked up when somebody asks."""

    def __init__(self, doc: MetricDoc) -> None:
        self._doc = doc
        self._readers: dict[Labels, Callable[[], float]] = {}

    def watch(self, read: Callable[[], float], *labels: str) -> None:
        """Where the value with these labels is read from now on."""
        self._readers[labels] = read

    def lines(self) -> Iterator[str]:
        """Its text."""
        yield self._doc.head()
        for labels, read in self._readers.items():
            yield self._doc.sample(labels, read())


def sample(name: str, label_names: Sequence[str], labels: Sequence[str], value: float) -> str:
    """One line of the exposition format 0.0.4; labels stand in the order of their names."""
    pairs = sorted(zip(label_names, labels, strict=True))
    text = ",".join(f'{label}="{_quotable(given)}"' for label, given in pairs)
    return f"{name}{{{text}}} {float(value)!r}\n" if text else f"{name} {float(value)!r}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quotable(text: str) -> str:
    return _escaped(text).replace('"', r"\"")
