"""Prometheus metrics, fed by outcomes. Every label has a bounded set of values."""

from collections.abc import Callable
from dataclasses import dataclass

from masa_node.accounts.usage import tokens_of
from masa_node.chat.outcome import CANCELLED, WON, Outcome
from masa_node.chat.request import OWNER, Endpoint, RaceMode
from masa_node.telemetry.families import Counter, Durations, Gauge, Histogram, MetricDoc
from masa_node.telemetry.process import process_lines

# Names of models come from LLM servers' lists (thousands at a hosted one); the rest are counted as "other".
MAX_MODEL_LABELS = 200
MAX_UPSTREAM_LABELS = 64
MAX_KEY_LABELS = 256  # as many keys as may be in force; of revoked ones that come on top all are "other"
OTHER = "other"
NO_ERROR = "none"
PEER = "peer"  # all of them: there may be thousands, and they come and go

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
KEY_REQUESTS = MetricDoc(
    "masa_key_requests_total",
    "counter",
    ("key", "error"),
    "Chat requests by keys with names (masa_requests_total has them too); error is `none` or a code.",
)
KEY_TOKENS = MetricDoc(
    "masa_key_tokens_total", "counter", ("direction", "key"), "Tokens as the LLMs counted them, by keys with names."
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


# Those of REQUESTS, where None is no error; and the server that answered, if no other provider was asked.
_Labels = tuple[Endpoint, str, int, str | None, str | None]


@dataclass(slots=True)
class _Row:
    """What requests with the same labels came to since somebody last looked; and the histograms of their endpoint."""

    first_piece: Durations
    duration: Durations
    requests: int = 0
    pieces: int = 0
    body_bytes: int = 0
    answer_bytes: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class Metrics:
    """All metrics of one node."""

    def __init__(self) -> None:
        docs = metric_docs()
        self._counters = {doc: Counter(doc) for doc in docs if doc.kind == "counter"}
        self._histograms = {doc: Histogram(doc) for doc in docs if doc.kind == "histogram"}
        self._gauges = {doc: Gauge(doc) for doc in docs if doc.kind == "gauge"}
        self._keys: set[str] = set()
        self._models: set[str] = set()
        self._rows: dict[_Labels, _Row] = {}

    def watch(self, gauge: MetricDoc, read: Callable[[], float], *labels: str) -> None:
        """Where a gauge of this file, with these labels, is read at each scrape."""
        self._gauges[gauge].watch(read, *labels)

    def peer_refused(self, code: str) -> None:
        """Count one chat request of a peer that came to no LLM."""
        self._counters[PEER_REFUSALS].add(1, code)

    def observe(self, outcome: Outcome) -> None:
        """Count one request."""
        attempts, winner = outcome.attempts, None
        if len(attempts) == 1 and attempts[0].is_local and attempts[0].result == WON:
            winner = attempts[0].provider
        labels = outcome.endpoint, outcome.model, outcome.status, outcome.error, winner
        row = self._rows.get(labels) or self._row_of(outcome, winner)
        row.requests += 1
        row.body_bytes += outcome.body_bytes
        row.answer_bytes += outcome.answer_bytes
        given, made = tokens_of(outcome)
        row.input_tokens += given or 0
        row.output_tokens += made or 0
        row.duration.observe(outcome.total_s)
        if outcome.first_piece_s is not None:
            row.first_piece.observe(outcome.first_piece_s)
            row.pieces += outcome.pieces
        if winner is None:
            for attempt in attempts:
                self._counters[ATTEMPTS].add(1, attempt.provider if attempt.is_local else PEER, attempt.result)
        if outcome.requester is not None:
            self._counters[PEER_REQUESTS].add(1, outcome.error or NO_ERROR)
        elif outcome.key != OWNER:
            self._count_key(outcome, outcome.error or NO_ERROR)
        if outcome.race is not None:
            self._count_race(outcome, outcome.race)

    def _count_key(self, outcome: Outcome, error: str) -> None:
        key = outcome.key
        if key not in self._keys:
            if len(self._keys) >= MAX_KEY_LABELS:
                key = OTHER
            self._keys.add(key)
        self._counters[KEY_REQUESTS].add(1, key, error)
        given, made = tokens_of(outcome)
        self._counters[KEY_TOKENS].add(given or 0, "input", key)
        self._counters[KEY_TOKENS].add(made or 0, "output", key)

    def _count_race(self, outcome: Outcome, rule: RaceMode) -> None:
        self._counters[RACES].add(1, rule.value)
        self._counters[HEDGES].add(outcome.hedges)
        if outcome.served_by is not None:
            self._counters[LOSERS].add(sum(attempt.result == CANCELLED for attempt in outcome.attempts))

    def render(self) -> bytes:
        """The exposition text."""
        self._add_up()
        families: dict[MetricDoc, Counter | Histogram | Gauge] = {**self._counters, **self._histograms, **self._gauges}
        lines = [*process_lines(), *(line for doc in metric_docs() for line in families[doc].lines())]
        return "".join(lines).encode()

    def _row_of(self, outcome: Outcome, winner: str | None) -> _Row:
        """The model's name may be of a caller's making: a row has that of a label."""
        endpoint = outcome.endpoint.value
        labels = outcome.endpoint, self._model_label(outcome), outcome.status, outcome.error, winner
        row = self._rows.get(labels)
        if row is None:
            row = self._rows[labels] = _Row(
                self._histograms[FIRST_PIECE].of(endpoint), self._histograms[DURATION].of(endpoint)
            )
        return row

    def _add_up(self) -> None:
        """What is in the rows is part of several metrics."""
        rows, self._rows = self._rows, {}
        for (at, model, status, error, winner), row in rows.items():
            endpoint = at.value
            self._counters[REQUESTS].add(row.requests, endpoint, model, str(status), error or NO_ERROR)
            if winner is not None:
                self._counters[ATTEMPTS].add(row.requests, winner, WON)
            self._counters[PIECES].add(row.pieces, endpoint)
            self._counters[BODY_BYTES].add(row.body_bytes, endpoint)
            self._counters[ANSWER_BYTES].add(row.answer_bytes, endpoint)
            for direction, tokens in (("input", row.input_tokens), ("output", row.output_tokens)):
                if tokens:
                    self._counters[TOKENS].add(tokens, direction, model)

    def _model_label(self, outcome: Outcome) -> str:
        if outcome.model in self._models:
            return outcome.model
        if not outcome.model_known or len(self._models) >= MAX_MODEL_LABELS:
            return OTHER
        self._models.add(outcome.model)
        return outcome.model
