"""Counts, under labels whose values are bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from masa_node.chat.outcome import Attempt
from masa_node.chat.request import Endpoint, RaceMode
from masa_node.telemetry.metrics import MAX_MODEL_LABELS, OTHER, Metrics
from tests.telemetry.outcomes import REFUSED, WON, outcome


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """The value of one sample; None if there is none."""
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return None


def test_an_outcome_is_counted_everywhere_it_belongs() -> None:
    metrics = Metrics()
    metrics.observe(WON)
    metrics.observe(WON)
    metrics.observe(REFUSED)
    endpoint = Endpoint.OPENAI_CHAT.value
    assert value(metrics, "masa_requests_total", endpoint=endpoint, model="m", status="200", error="none") == 2
    assert value(metrics, "masa_requests_total", endpoint=endpoint, model=OTHER, status="400", error="bad_json") == 1
    assert value(metrics, "masa_attempts_total", provider="first", result="unreachable") == 2
    assert value(metrics, "masa_attempts_total", provider="llm", result="won") == 2
    assert value(metrics, "masa_first_piece_seconds_count", endpoint=endpoint) == 2
    assert value(metrics, "masa_first_piece_seconds_sum", endpoint=endpoint) == pytest.approx(0.0512)
    assert value(metrics, "masa_request_seconds_count", endpoint=endpoint) == 3
    assert value(metrics, "masa_pieces_total", endpoint=endpoint) == 24
    assert value(metrics, "masa_body_bytes_total", endpoint=endpoint) == 300
    assert value(metrics, "masa_answer_bytes_total", endpoint=endpoint) == 6000
    assert value(metrics, "masa_tokens_total", direction="input", model="m") == 14
    assert value(metrics, "masa_tokens_total", direction="output", model="m") == 10


def test_what_peers_ask_is_counted_apart_and_without_their_names() -> None:
    metrics = Metrics()
    for error in (None, None, "caller_gone"):
        metrics.observe(outcome(requester="ab" * 32, error=error))
    metrics.observe(WON)
    assert value(metrics, "masa_peer_requests_total", error="none") == 2
    assert value(metrics, "masa_peer_requests_total", error="caller_gone") == 1
    assert "abab" not in metrics.render().decode()


def test_refusals_of_peers_are_counted_by_their_code() -> None:
    metrics = Metrics()
    for code in ("stake_demanded", "stake_demanded", "peer_busy"):
        metrics.peer_refused(code)
    assert value(metrics, "masa_peer_refusals_total", error="stake_demanded") == 2
    assert value(metrics, "masa_peer_refusals_total", error="peer_busy") == 1


def test_linked_peers_are_counted_when_somebody_looks() -> None:
    metrics, linked = Metrics(), [3]
    metrics.watch_peers("direct", lambda: linked[0])
    assert value(metrics, "masa_peers_linked", route="direct") == 3
    linked[0] = 2
    assert value(metrics, "masa_peers_linked", route="direct") == 2


def test_linked_peers_are_counted_by_what_is_known_of_their_stake() -> None:
    metrics, staked = Metrics(), [1]
    metrics.watch_stakes("staked", lambda: staked[0])
    staked[0] = 2
    assert value(metrics, "masa_peers_by_stake", verdict="staked") == 2


def test_models_that_are_served_are_labels_up_to_a_bound() -> None:
    metrics = Metrics()
    for n in range(3 * MAX_MODEL_LABELS):
        metrics.observe(outcome(model=f"m{n}"))
    text = metrics.render().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    models = {sample.labels["model"] for sample in families["masa_requests"].samples if "model" in sample.labels}
    assert len(models) == MAX_MODEL_LABELS + 1
    assert OTHER in models


@given(st.lists(st.text(max_size=300), max_size=20))
def test_models_that_nobody_serves_are_one_label(models: list[str]) -> None:
    metrics = Metrics()
    for model in models:
        metrics.observe(outcome(model=model, model_known=False))
    (count,) = [value(metrics, "masa_requests_total", endpoint="openai.chat", model=OTHER, status="200", error="none")]
    assert (count or 0) == len(models)


def test_any_name_of_a_model_leaves_the_exposition_readable() -> None:
    metrics = Metrics()
    for model in ('a"b', "a\\b", "a\nb", "é 🦙", "{}", 'x"} 1\nforged_total 1'):
        metrics.observe(outcome(model=model))
        assert value(
            metrics, "masa_requests_total", endpoint="openai.chat", model=model, status="200", error="none"
        ) == pytest.approx(1)
    assert value(metrics, "forged_total") is None


def test_gauges_are_read_when_they_are_asked_for() -> None:
    metrics = Metrics()
    load = [1.0, 2.0]
    metrics.watch_load(lambda: load[0], lambda: load[1])
    metrics.watch_upstream("llm", lambda: load[0])
    load[:] = [3.0, 4.0]
    assert value(metrics, "masa_requests_in_flight") == 3
    assert value(metrics, "masa_requests_waiting") == 4
    assert value(metrics, "masa_upstream_up", upstream="llm") == 3


def test_two_nodes_in_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.observe(outcome(attempts=(Attempt("llm", "won", 0, 1),)))
    assert value(first, "masa_attempts_total", provider="llm", result="won") == 1
    assert value(second, "masa_attempts_total", provider="llm", result="won") is None


def test_peers_are_counted_together_and_races_by_their_rule() -> None:
    metrics = Metrics()
    trail = (
        Attempt("llm", "unreachable", 0, 1),
        *(Attempt(f"peer-{number}", "cancelled", 1, 2, is_local=False) for number in range(50)),
        Attempt("peer-x", "won", 1, 2, is_local=False),
    )
    metrics.observe(outcome(attempts=trail, served_by="peer-x", race=RaceMode.HEDGE, hedges=3))
    metrics.observe(outcome(attempts=trail[:2], served_by=None, error="caller_gone", race=RaceMode.ALL))
    assert value(metrics, "masa_attempts_total", provider="peer", result="won") == 1
    assert value(metrics, "masa_attempts_total", provider="peer", result="cancelled") == 51
    assert value(metrics, "masa_races_total", rule="hedge") == 1
    assert value(metrics, "masa_races_total", rule="all") == 1
    assert value(metrics, "masa_hedges_total") == 3
    assert value(metrics, "masa_losers_cancelled_total") == 50  # whose caller has gone did not lose
    assert "peer-" not in metrics.render().decode()
