"""What the log says of one request: all facts of its outcome, in the order in which JSON has them."""

import time

import msgspec

from masa_node.chat.outcome import CALLER_GONE, Attempt, Outcome, abridged
from masa_node.chat.request import Endpoint, RaceMode, RequestId

REQUEST = "request"
_US = 1_000_000
TIME_OF_DAY = slice(11, 19)  # of an ISO 8601 time: what a person looks for


class RequestRecord(msgspec.Struct, frozen=True, gc=False):
    """One line. `timestamp` is ISO 8601 in UTC, `attempts` one short text; for the rest see `Outcome`."""

    request_id: RequestId
    endpoint: Endpoint
    model: str
    status: int
    error: str | None
    stream: bool
    served_by: str | None
    attempts: str
    race: RaceMode | None
    hedges: int
    requester: str | None
    key: str
    total_ms: float
    first_piece_ms: float | None
    queued_ms: float
    body_bytes: int
    answer_bytes: int
    pieces: int
    input_tokens: int | None
    output_tokens: int | None
    event: str
    level: str
    timestamp: str


def record_of(outcome: Outcome, level: str, timestamp: str) -> RequestRecord:
    """How this request is logged."""
    attempts = outcome.attempts
    return RequestRecord(
        outcome.request_id,
        outcome.endpoint,
        outcome.model,
        outcome.status,
        outcome.error,
        outcome.wants_stream,
        outcome.served_by,
        f"{attempts[0].provider}={attempts[0].result}" if len(attempts) == 1 else trail(attempts),
        outcome.race,
        outcome.hedges,
        outcome.requester,
        outcome.key,
        int(outcome.total_s * _US + 0.5) / 1000,  # to the microsecond: `round` takes three times as long
        None if outcome.first_piece_s is None else int(outcome.first_piece_s * _US + 0.5) / 1000,
        int(outcome.queued_s * _US + 0.5) / 1000,
        outcome.body_bytes,
        outcome.answer_bytes,
        outcome.pieces,
        outcome.input_tokens,
        outcome.output_tokens,
        REQUEST,
        level,
        timestamp,
    )


def level_of(outcome: Outcome) -> str:
    """The level of a request's line: a peer's that lost its race is nothing to worry about."""
    has_lost_a_race = outcome.requester is not None and outcome.error == CALLER_GONE
    return "info" if outcome.error is None or has_lost_a_race else "warning"


def trail(attempts: tuple[Attempt, ...]) -> str:
    """The attempts in one short text, at most MAX_TRAIL of them."""
    return ", ".join([f"{attempt.provider}={attempt.result}" for attempt in abridged(attempts)])


class UtcText:
    """Times since 1970 as ISO 8601 text in UTC, to the microsecond. The text of a second is made once."""

    def __init__(self) -> None:
        self._second: int | None = None
        self._text = ""

    def __call__(self, at_unix_ns: int) -> str:
        """This one."""
        second, ns = divmod(at_unix_ns, 1_000_000_000)
        if second != self._second:
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return f"{self._text}.{ns // 1000:06d}Z"
