"""Prometheus metrics, fed by outcomes. Every label has a bounded set of values."""

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from masa_node.chat.outcome import CANCELLED, Outcome
from masa_node.chat.request import Endpoint, RaceMode

# Names of models come from LLM servers' lists (thousands at a hosted one); the rest are counted as "other".
MAX_MODEL_LABELS = 200
MAX_UPSTREAM_LABELS = 64
OTHER = "other"
PEER = "peer"  # all of them: there may be thousands, and they come and go

# From a local small model's few milliseconds to LLM_TIMEOUT and beyond.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


@dataclass(frozen=True, slots=True)
class MetricDoc:
    """One metric as it is exposed: the node is built from these, and docs/metrics.md too."""

    name: str
    kind: str
    labels: tuple[str, ...]
    about: str


REQUESTS = MetricDoc(
    "masa_requests_total",
    "counter",
    ("endpoint", "model", "status", "error"),
    "Chat requests; error is `none` or a code.",
)
ATTEMPTS = MetricDoc(
    "masa_attempts_total", "counter", ("provider", "result"), "Providers asked; all peers are counted as `peer`."
)
RACES = MetricDoc("masa_races_total", "counter", ("rule",), "Chat requests for which peers were asked: `all`, `hedge`.")
HEDGES = MetricDoc(
    "masa_hedges_total",
    "counter",
    (),
    "Peers asked because others were silent: by rule `hedge` one at a time, for a tenth of its races at most; by `all` "
    "the peers asked after silent ones, together.",
)
LOSERS = MetricDoc("masa_losers_cancelled_total", "counter", (), "Peers whose answer was given up for a faster one.")
FIRST_PIECE = MetricDoc("masa_first_piece_seconds", "histogram", ("endpoint",), "Time to the first valid piece.")
DURATION = MetricDoc("masa_request_seconds", "histogram", ("endpoint",), "Time to the end of the answer.")
PIECES = MetricDoc("masa_pieces_total", "counter", ("endpoint",), "Pieces (frames) of answers passed on.")
BODY_BYTES = MetricDoc("masa_body_bytes_total", "counter", ("endpoint",), "Bytes of request bodies.")
ANSWER_BYTES = MetricDoc("masa_answer_bytes_total", "counter", ("endpoint",), "Bytes of answers.")
TOKENS = MetricDoc("masa_tokens_total", "counter", ("direction", "model"), "Tokens as the LLMs counted them.")
PEER_REQUESTS = MetricDoc(
    "masa_peer_requests_total",
    "counter",
    ("error",),
    "Chat requests of peers (masa_requests_total has them too). `caller_gone`: another won, or their caller left.",
)
PEER_REFUSALS = MetricDoc(
    "masa_peer_refusals_total",
    "counter",
    ("error",),
    "Chat requests of peers that came to no LLM: `stake_demanded`, `stake_undecided`, `peer_busy`, `peer_refused`, or "
    "the code of what was wrong with the request.",
)
PEERS_LINKED = MetricDoc(
    "masa_peers_linked", "gauge", ("route",), "Peers with a live link: `direct`, `relay`, or `unknown` yet."
)
PEERS_BY_STAKE = MetricDoc(
    "masa_peers_by_stake",
    "gauge",
    ("verdict",),
    "Linked peers by what is known of their stake: `staked`, `not staked`, `unknown`, `allowed`; none while stakes are "
    "not checked.",
)
IN_FLIGHT = MetricDoc("masa_requests_in_flight", "gauge", (), "Chat requests under way.")
WAITING = MetricDoc("masa_requests_waiting", "gauge", (), "Chat requests that wait for a slot.")
UPSTREAM_UP = MetricDoc("masa_upstream_up", "gauge", ("upstream",), "1 if the last listing reached the LLM server.")


def metric_docs() -> tuple[MetricDoc, ...]:
    """Every metric of this file, in its order."""
    return tuple(value for value in globals().values() if isinstance(value, MetricDoc))


@dataclass(frozen=True, slots=True)
class _EndpointMetrics:
    """The metrics of one endpoint, looked up once: labels() costs more than counting."""

    first_piece: Histogram
    duration: Histogram
    pieces: Counter
    bytes_in: Counter
    bytes_out: Counter


class Metrics:
    """All metrics of one node, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._requests = self._counter(REQUESTS)
        self._attempts = self._counter(ATTEMPTS)
        self._races = self._counter(RACES)
        self._hedges = self._counter(HEDGES)
        self._losers = self._counter(LOSERS)
        self._first_piece = self._histogram(FIRST_PIECE)
        self._duration = self._histogram(DURATION)
        self._pieces = self._counter(PIECES)
        self._bytes_in = self._counter(BODY_BYTES)
        self._bytes_out = self._counter(ANSWER_BYTES)
        self._tokens = self._counter(TOKENS)
        self._running = self._gauge(IN_FLIGHT)
        self._waiting = self._gauge(WAITING)
        self._up = self._gauge(UPSTREAM_UP)
        self._peers_linked = self._gauge(PEERS_LINKED)
        self._peers_by_stake = self._gauge(PEERS_BY_STAKE)
        self._peer_requests = self._counter(PEER_REQUESTS)
        self._peer_refusals = self._counter(PEER_REFUSALS)
        self._models: set[str] = set()
        self._by_endpoint: dict[Endpoint, _EndpointMetrics] = {}
        self._by_ending: dict[tuple[Endpoint, str, int, str | None], Counter] = {}

    def watch_load(self, running: Callable[[], float], waiting: Callable[[], float]) -> None:
        """Where the numbers of running and waiting requests are read at each scrape."""
        self._running.set_function(running)
        self._waiting.set_function(waiting)

    def watch_upstream(self, name: str, is_up: Callable[[], float]) -> None:
        """Where the state of one LLM server is read at each scrape."""
        self._up.labels(name).set_function(is_up)

    def watch_peers(self, route: str, linked: Callable[[], float]) -> None:
        """Where the number of peers that are linked by this route is read at each scrape."""
        self._peers_linked.labels(route).set_function(linked)

    def watch_stakes(self, verdict: str, peers: Callable[[], float]) -> None:
        """Where the number of linked peers with this verdict on their stake is read at each scrape."""
        self._peers_by_stake.labels(verdict).set_function(peers)

    def peer_refused(self, code: str) -> None:
        """Count one chat request of a peer that came to no LLM."""
        self._peer_refusals.labels(code).inc()

    def observe(self, outcome: Outcome) -> None:
        """Count one request."""
        if outcome.requester is not None:
            self._peer_requests.labels(outcome.error or "none").inc()
        model = self._model_label(outcome)
        self._ending(outcome, model).inc()
        for attempt in outcome.attempts:
            self._attempts.labels(attempt.provider if attempt.is_local else PEER, attempt.result).inc()
        if outcome.race is not None:
            self._count_race(outcome, outcome.race)
        endpoint = self._by_endpoint.get(outcome.endpoint) or self._endpoint(outcome.endpoint)
        endpoint.duration.observe(outcome.total_s)
        endpoint.bytes_in.inc(outcome.body_bytes)
        endpoint.bytes_out.inc(outcome.answer_bytes)
        if outcome.first_piece_s is not None:
            endpoint.first_piece.observe(outcome.first_piece_s)
            endpoint.pieces.inc(outcome.pieces)
        if outcome.input_tokens:
            self._tokens.labels("input", model).inc(outcome.input_tokens)
        if outcome.output_tokens:
            self._tokens.labels("output", model).inc(outcome.output_tokens)

    def _count_race(self, outcome: Outcome, rule: RaceMode) -> None:
        self._races.labels(rule.value).inc()
        self._hedges.inc(outcome.hedges)
        if outcome.served_by is not None:
            self._losers.inc(sum(attempt.result == CANCELLED for attempt in outcome.attempts))

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self._registry)

    def _counter(self, doc: MetricDoc) -> Counter:
        return Counter(doc.name, doc.about, doc.labels, registry=self._registry)

    def _gauge(self, doc: MetricDoc) -> Gauge:
        return Gauge(doc.name, doc.about, doc.labels, registry=self._registry)

    def _histogram(self, doc: MetricDoc) -> Histogram:
        return Histogram(doc.name, doc.about, doc.labels, buckets=_SECONDS, registry=self._registry)

    def _ending(self, outcome: Outcome, model: str) -> Counter:
        """The counter of requests that ended like this one. Bounded as its labels are."""
        key = (outcome.endpoint, model, outcome.status, outcome.error)
        counter = self._by_ending.get(key)
        if counter is None:
            counter = self._requests.labels(outcome.endpoint.value, model, str(outcome.status), outcome.error or "none")
            self._by_ending[key] = counter
        return counter

    def _endpoint(self, endpoint: Endpoint) -> "_EndpointMetrics":
        name = endpoint.value
        made = _EndpointMetrics(
            first_piece=self._first_piece.labels(name),
            duration=self._duration.labels(name),
            pieces=self._pieces.labels(name),
            bytes_in=self._bytes_in.labels(name),
            bytes_out=self._bytes_out.labels(name),
        )
        self._by_endpoint[endpoint] = made
        return made

    def _model_label(self, outcome: Outcome) -> str:
        model = outcome.model
        if model in self._models:
            return model
        if not outcome.model_known or len(self._models) >= MAX_MODEL_LABELS:
            return OTHER
        self._models.add(model)
        return model
