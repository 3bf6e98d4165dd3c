"""Prometheus metrics, fed by outcomes. Every label has a bounded set of values."""

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from masa_node.chat.ask import Door
from masa_node.chat.outcome import Outcome

# Names of models come from LLM servers' lists (thousands at a hosted one); the rest are counted as "other".
MAX_MODEL_LABELS = 200
MAX_UPSTREAM_LABELS = 64
OTHER = "other"

# From a local small model's few milliseconds to LLM_TIMEOUT and beyond.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


@dataclass(frozen=True, slots=True)
class _DoorMetrics:
    """The metrics of one door, looked up once: labels() costs more than counting."""

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
        registry = self._registry
        self._requests = Counter(
            "masa_requests",
            "Chat requests by door, model, HTTP status and error.",
            ["door", "model", "status", "error"],
            registry=registry,
        )
        self._attempts = Counter(
            "masa_attempts", "Providers asked, by result.", ["provider", "result"], registry=registry
        )
        self._first_piece = Histogram(
            "masa_first_piece_seconds", "Time to the first valid piece.", ["door"], buckets=_SECONDS, registry=registry
        )
        self._duration = Histogram(
            "masa_request_seconds", "Time to the end of the answer.", ["door"], buckets=_SECONDS, registry=registry
        )
        self._pieces = Counter("masa_pieces", "Pieces of answers passed on.", ["door"], registry=registry)
        self._bytes_in = Counter("masa_body_bytes", "Bytes of request bodies.", ["door"], registry=registry)
        self._bytes_out = Counter("masa_answer_bytes", "Bytes of answers.", ["door"], registry=registry)
        self._tokens = Counter(
            "masa_tokens", "Tokens as the LLMs counted them.", ["direction", "model"], registry=registry
        )
        self._running = Gauge("masa_requests_in_flight", "Chat requests under way.", registry=registry)
        self._waiting = Gauge("masa_requests_waiting", "Chat requests that wait for a place.", registry=registry)
        self._up = Gauge(
            "masa_upstream_up", "1 if the last listing reached the LLM server.", ["upstream"], registry=registry
        )
        self._models: set[str] = set()
        self._by_door: dict[Door, _DoorMetrics] = {}
        self._by_ending: dict[tuple[Door, str, int, str | None], Counter] = {}

    def watch_load(self, running: Callable[[], float], waiting: Callable[[], float]) -> None:
        """Where the numbers of running and waiting requests are read at each scrape."""
        self._running.set_function(running)
        self._waiting.set_function(waiting)

    def watch_upstream(self, name: str, is_up: Callable[[], float]) -> None:
        """Where the state of one LLM server is read at each scrape."""
        self._up.labels(name).set_function(is_up)

    def observe(self, outcome: Outcome) -> None:
        """Count one request."""
        model = self._model_label(outcome)
        self._ending(outcome, model).inc()
        for attempt in outcome.attempts:
            self._attempts.labels(attempt.provider, attempt.result).inc()
        door = self._by_door.get(outcome.door) or self._door(outcome.door)
        door.duration.observe(outcome.total_s)
        door.bytes_in.inc(outcome.body_bytes)
        door.bytes_out.inc(outcome.answer_bytes)
        if outcome.first_piece_s is not None:
            door.first_piece.observe(outcome.first_piece_s)
            door.pieces.inc(outcome.pieces)
        if outcome.input_tokens:
            self._tokens.labels("input", model).inc(outcome.input_tokens)
        if outcome.output_tokens:
            self._tokens.labels("output", model).inc(outcome.output_tokens)

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self._registry)

    def _ending(self, outcome: Outcome, model: str) -> Counter:
        """The counter of requests that ended like this one. Bounded as its labels are."""
        key = (outcome.door, model, outcome.status, outcome.error)
        counter = self._by_ending.get(key)
        if counter is None:
            counter = self._requests.labels(outcome.door.value, model, str(outcome.status), outcome.error or "none")
            self._by_ending[key] = counter
        return counter

    def _door(self, door: Door) -> "_DoorMetrics":
        name = door.value
        made = _DoorMetrics(
            first_piece=self._first_piece.labels(name),
            duration=self._duration.labels(name),
            pieces=self._pieces.labels(name),
            bytes_in=self._bytes_in.labels(name),
            bytes_out=self._bytes_out.labels(name),
        )
        self._by_door[door] = made
        return made

    def _model_label(self, outcome: Outcome) -> str:
        model = outcome.model
        if model in self._models:
            return model
        if not outcome.model_known or len(self._models) >= MAX_MODEL_LABELS:
            return OTHER
        self._models.add(model)
        return model
