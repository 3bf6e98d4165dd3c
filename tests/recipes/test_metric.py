"""The recipe "a metric": one file, `telemetry/metrics.py`: what it is, and the line that counts it."""

import pytest

from masa_node.chat.outcome import Outcome
from masa_node.telemetry import metrics
from masa_node.telemetry.families import MetricDoc
from masa_node.telemetry.metrics import Metrics, metric_docs
from tests.fakes.outcomes import outcome
from tools import generate_docs

TOY = MetricDoc("masa_toys_total", "counter", ("endpoint",), "Toys asked for.")


class WithToy(Metrics):
    """What a commit that adds a metric would change."""

    def observe(self, outcome: Outcome) -> None:
        super().observe(outcome)
        self._counters[TOY].add(1, outcome.endpoint.value)


@pytest.fixture(autouse=True)
def with_toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "TOYS", TOY, raising=False)


def test_it_is_counted_and_exposed() -> None:
    counted = WithToy()
    counted.observe(outcome())
    assert b'masa_toys_total{endpoint="openai.chat"} 1.0' in counted.render()
    assert b"# HELP masa_toys_total Toys asked for." in counted.render()


def test_its_documentation_is_made() -> None:
    assert TOY in metric_docs()
    assert "| `masa_toys_total` | counter | `endpoint` | Toys asked for. |" in generate_docs.metrics()


def test_each_that_is_documented_is_exposed() -> None:
    exposed = WithToy().render().decode()
    assert [doc.name for doc in metric_docs() if f"# HELP {doc.name} " not in exposed] == []
