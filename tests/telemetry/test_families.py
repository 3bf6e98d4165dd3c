"""Numbers by their labels, and the text that Prometheus' own client would write of them."""

import prometheus_client as client
from hypothesis import given
from hypothesis import strategies as st

from masa_node.telemetry.families import SECONDS, Counter, Gauge, Histogram, MetricDoc
from tests.telemetry.reference_metrics import samples_of

TEXT = st.text(max_size=20)
ABOUT = "A backslash \\ and\nanother line."
LABELED = ("zebra", "ant")  # not in the order of their names


def lines_of(family: Counter | Histogram | Gauge) -> list[str]:
    """The text, line by line."""
    return "".join(family.lines()).splitlines()


@given(st.lists(st.tuples(TEXT, TEXT, st.integers(0, 2**50)), max_size=8))
def test_a_counter_is_written_as_the_client_writes_it(added: list[tuple[str, str, int]]) -> None:
    registry = client.CollectorRegistry()
    ours = Counter(MetricDoc("some_total", "counter", LABELED, ABOUT))
    theirs = client.Counter("some_total", ABOUT, LABELED, registry=registry)
    for zebra, ant, amount in added:
        ours.add(amount, zebra, ant)
        theirs.labels(zebra, ant).inc(amount)
    text = client.generate_latest(registry)
    assert samples_of("".join(ours.lines()).encode()) == samples_of(text)
    assert lines_of(ours)[:2] == text.decode().split("\n")[:2]


@given(st.lists(st.tuples(TEXT, st.floats(0, 1e9) | st.sampled_from(SECONDS)), max_size=8))
def test_a_histogram_is_written_as_the_client_writes_it(seen: list[tuple[str, float]]) -> None:
    registry = client.CollectorRegistry()
    ours = Histogram(MetricDoc("some_seconds", "histogram", ("ant",), ABOUT))
    theirs = client.Histogram("some_seconds", ABOUT, ("ant",), buckets=SECONDS, registry=registry)
    for ant, seconds in seen:
        ours.of(ant).observe(seconds)
        theirs.labels(ant).observe(seconds)
    assert samples_of("".join(ours.lines()).encode()) == samples_of(client.generate_latest(registry))


def test_names_bounds_and_order_are_the_clients_to_the_letter() -> None:
    registry = client.CollectorRegistry()
    ours = Histogram(MetricDoc("some_seconds", "histogram", LABELED, ABOUT))
    theirs = client.Histogram("some_seconds", ABOUT, LABELED, buckets=SECONDS, registry=registry)
    for seconds in (0.0, 0.005, 0.3, 1000.0):
        ours.of("z", 'a"\\\n').observe(seconds)
        theirs.labels("z", 'a"\\\n').observe(seconds)
    assert "".join(ours.lines()).encode() == client.generate_latest(registry)


def test_a_counter_without_labels_is_there_before_anything_is_counted() -> None:
    counter = Counter(MetricDoc("some_total", "counter", (), "Some."))
    assert lines_of(counter)[2:] == ["some_total 0.0"]
    counter.add(2)
    assert lines_of(counter)[2:] == ["some_total 2.0"]


def test_a_gauge_is_read_when_it_is_written_and_the_last_reader_counts() -> None:
    gauge, now = Gauge(MetricDoc("some", "gauge", ("ant",), "Some.")), [1.5]
    gauge.watch(lambda: -1, "a")
    gauge.watch(lambda: now[0], "a")
    assert lines_of(gauge)[2:] == ['some{ant="a"} 1.5']
    now[0] = 2
    assert lines_of(gauge)[2:] == ['some{ant="a"} 2.0']
