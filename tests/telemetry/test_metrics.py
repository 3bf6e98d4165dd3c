"""Counts, under labels whose values are bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from masa_node.accounts.usage import MAX_TOKENS
from masa_node.chat.outcome import CALLER_GONE, CANCELLED, Attempt, Outcome
from masa_node.chat.outcome import WON as HAS_WON
from masa_node.chat.request import OWNER, Endpoint, RaceMode, RequestId
from masa_node.telemetry.metrics import (
    IN_FLIGHT,
    MAX_KEY_LABELS,
    MAX_MODEL_LABELS,
    OTHER,
    PEERS_BY_STAKE,
    PEERS_LINKED,
    UPSTREAM_UP,
    WAITING,
    Metrics,
    metric_docs,
)
from tests.fakes.outcomes import REFUSED, WON, outcome
from tests.telemetry.reference_metrics import ReferenceMetrics, samples_of

NAMES = st.sampled_from(["a", "b", 'a"b\\\n', "é 🦙", ""])
SECONDS = st.floats(0, 1e6) | st.sampled_from([0.005, 0.01, 0.1, 0.5, 1.0, 300.0])  # a bound belongs to its bucket
COUNTS = st.integers(0, 2**40)
TOKENS = st.none() | st.integers(0, MAX_TOKENS)
ATTEMPTS = st.builds(
    Attempt, NAMES, st.sampled_from([HAS_WON, CANCELLED, "http_500"]), st.just(0.0), st.just(1.0), st.booleans()
)
OUTCOMES = st.builds(
    Outcome,
    request_id=st.just(RequestId("id")),
    endpoint=st.sampled_from(Endpoint),
    model=NAMES,
    model_known=st.booleans(),
    wants_stream=st.booleans(),
    status=st.sampled_from([200, 400, 499, 502]),
    error=st.none() | st.sampled_from([CALLER_GONE, "stalled"]),
    served_by=st.none() | NAMES,
    attempts=st.lists(ATTEMPTS, max_size=4).map(tuple),
    body_bytes=COUNTS,
    answer_bytes=COUNTS,
    pieces=COUNTS,
    input_tokens=TOKENS,
    output_tokens=TOKENS,
    queued_s=SECONDS,
    first_piece_s=st.none() | SECONDS,
    total_s=SECONDS,
    race=st.none() | st.sampled_from(RaceMode),
    hedges=st.integers(0, 9),
    requester=st.none() | NAMES,
    key=st.sampled_from([OWNER, "alice", "bob"]),
)


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


def test_a_count_of_tokens_that_must_be_a_lie_spoils_no_sum() -> None:
    metrics = Metrics()
    for count in (2**53, 3):
        metrics.observe(outcome(input_tokens=count, output_tokens=count, key="alice"))
    for name, labels in (("masa_tokens_total", {"model": "m"}), ("masa_key_tokens_total", {"key": "alice"})):
        assert [value(metrics, name, direction=each, **labels) for each in ("input", "output")] == [3, 3]


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
    metrics.watch(PEERS_LINKED, lambda: linked[0], "direct")
    assert value(metrics, "masa_peers_linked", route="direct") == 3
    linked[0] = 2
    assert value(metrics, "masa_peers_linked", route="direct") == 2


def test_linked_peers_are_counted_by_what_is_known_of_their_stake() -> None:
    metrics, staked = Metrics(), [1]
    metrics.watch(PEERS_BY_STAKE, lambda: staked[0], "staked")
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
    metrics.watch(IN_FLIGHT, lambda: load[0])
    metrics.watch(WAITING, lambda: load[1])
    metrics.watch(UPSTREAM_UP, lambda: load[0], "llm")
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


@given(st.lists(OUTCOMES, max_size=12))
def test_any_outcomes_are_counted_as_prometheus_own_client_counts_them(outcomes: list[Outcome]) -> None:
    ours, reference = Metrics(), ReferenceMetrics()
    for each in outcomes:
        ours.observe(each)
        reference.observe(each)
    counted = {key: count for key, count in samples_of(ours.render()).items() if key[0].startswith("masa_")}
    assert counted == reference.samples()


def test_more_models_than_are_labels_are_counted_as_prometheus_own_client_counts_them() -> None:
    ours, reference = Metrics(), ReferenceMetrics()
    for n in range(2 * MAX_MODEL_LABELS):
        ours.observe(outcome(model=f"m{n % (MAX_MODEL_LABELS + 50)}"))
        reference.observe(outcome(model=f"m{n % (MAX_MODEL_LABELS + 50)}"))
    assert reference.samples().items() <= samples_of(ours.render()).items()


def test_each_metric_is_exposed_once_with_its_kind_and_what_it_is() -> None:
    lines = Metrics().render().decode().splitlines()
    for doc in metric_docs():
        assert lines.count(f"# HELP {doc.name} {doc.about}") == 1
        assert lines.count(f"# TYPE {doc.name} {doc.kind}") == 1


def test_keys_with_names_are_counted_apart_and_bounded() -> None:
    metrics = Metrics()
    for number in range(MAX_KEY_LABELS + 3):
        metrics.observe(outcome(key=f"key{number}"))
    metrics.observe(outcome(key=OWNER))
    metrics.observe(outcome(key="key0", error="key_limited", input_tokens=None, output_tokens=None))
    assert value(metrics, "masa_key_requests_total", key="key0", error="none") == 1
    assert value(metrics, "masa_key_requests_total", key="key0", error="key_limited") == 1
    assert value(metrics, "masa_key_tokens_total", key="key0", direction="input") == 7
    assert value(metrics, "masa_key_requests_total", key="other", error="none") == 3
    assert value(metrics, "masa_key_requests_total", key=OWNER, error="none") is None
