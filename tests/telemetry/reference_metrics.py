"""The same metrics counted with Prometheus' own client: what ours are compared with."""

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from masa_node.chat.outcome import CANCELLED, Outcome
from masa_node.chat.request import OWNER
from masa_node.telemetry import metrics as m
from masa_node.telemetry.families import SECONDS, MetricDoc

disable_created_metrics()  # OpenMetrics' `_created` samples are no part of the format that is served

Sample = tuple[str, frozenset[tuple[str, str]]]


def samples_of(text: bytes) -> dict[Sample, float]:
    """Every sample as Prometheus' own parser reads it. No two may have the same name and labels."""
    found: dict[Sample, float] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


class ReferenceMetrics:
    """Counts outcomes as `Metrics` does, with labels on every call."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._models: set[str] = set()
        self._counters = {doc: self._counter(doc) for doc in m.metric_docs() if doc.kind == "counter"}
        self._first_piece = self._histogram(m.FIRST_PIECE)
        self._duration = self._histogram(m.DURATION)

    def _counter(self, doc: MetricDoc) -> Counter:
        return Counter(doc.name, doc.about, doc.labels, registry=self._registry)

    def _histogram(self, doc: MetricDoc) -> Histogram:
        return Histogram(doc.name, doc.about, doc.labels, buckets=SECONDS, registry=self._registry)

    def samples(self) -> dict[Sample, float]:
        """As `samples_of`."""
        return samples_of(generate_latest(self._registry))

    def observe(self, outcome: Outcome) -> None:
        """Count one request."""
        endpoint, model, error = outcome.endpoint.value, self._model(outcome), outcome.error or "none"
        counters = self._counters
        counters[m.REQUESTS].labels(endpoint, model, str(outcome.status), error).inc()
        if outcome.requester is not None:
            counters[m.PEER_REQUESTS].labels(error).inc()
        self._observe_key(outcome, error)
        for attempt in outcome.attempts:
            counters[m.ATTEMPTS].labels(attempt.provider if attempt.is_local else m.PEER, attempt.result).inc()
        if outcome.race is not None:
            counters[m.RACES].labels(outcome.race.value).inc()
            counters[m.HEDGES].inc(outcome.hedges)
            if outcome.served_by is not None:
                counters[m.LOSERS].inc(sum(attempt.result == CANCELLED for attempt in outcome.attempts))
        self._duration.labels(endpoint).observe(outcome.total_s)
        counters[m.BODY_BYTES].labels(endpoint).inc(outcome.body_bytes)
        counters[m.ANSWER_BYTES].labels(endpoint).inc(outcome.answer_bytes)
        first_piece, pieces = self._first_piece.labels(endpoint), counters[m.PIECES].labels(endpoint)
        if outcome.first_piece_s is not None:
            first_piece.observe(outcome.first_piece_s)
            pieces.inc(outcome.pieces)
        for direction, tokens in (("input", outcome.input_tokens), ("output", outcome.output_tokens)):
            if tokens:
                counters[m.TOKENS].labels(direction, model).inc(tokens)

    def _observe_key(self, outcome: Outcome, error: str) -> None:
        if outcome.requester is not None or outcome.key == OWNER:
            return
        self._counters[m.KEY_REQUESTS].labels(outcome.key, error).inc()
        for direction, tokens in (("input", outcome.input_tokens), ("output", outcome.output_tokens)):
            self._counters[m.KEY_TOKENS].labels(direction, outcome.key).inc(tokens or 0)

    def _model(self, outcome: Outcome) -> str:
        if outcome.model_known and len(self._models) < m.MAX_MODEL_LABELS:
            self._models.add(outcome.model)
        return outcome.model if outcome.model in self._models else m.OTHER
