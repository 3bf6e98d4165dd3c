"""The journal: the last requests that ended, with their races, in memory. Never a prompt or an answer."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

import msgspec

from masa_node.chat.outcome import WON, Attempt, Outcome
from masa_node.chat.request import Endpoint, RaceMode, RequestId

MAX_RACES = 100_000  # of JOURNAL: usual ones take 20 MB, those with every attempt that is kept 1 GB
MAX_ATTEMPTS = 64  # of one race: as many as may run at once by default, and more than a screen shows
_MAX_TEXT_CHARS = 256  # of a model's name; ids are shorter


class RaceAttempt(msgspec.Struct, frozen=True, gc=False):
    """One provider that was asked; times are milliseconds after the request came.

    `result` is `won` (`ended_ms` is then when its first valid piece was there), `cancelled`, `http_<status>` or a code.
    """

    provider: str
    local: bool
    result: str
    asked_ms: float
    ended_ms: float


class Race(msgspec.Struct, frozen=True, gc=False):
    """One request as it went. `number` counts requests, from the start of the node: what is older has a lower one.

    `key` is the name of the key that asked, "" for a peer, which `peer` then names. `race` is the rule by which peers
    were asked, null if none was. `deadline_ms` is how long everybody could be silent (LLM_TIMEOUT). `attempts` are the
    first MAX_ATTEMPTS to be asked, and the winner in any case. Tokens are null where the LLM did not say.
    """

    number: int
    request_id: RequestId
    came_at_unix_s: float
    endpoint: Endpoint
    model: str
    key: str
    peer: str | None
    stream: bool
    status: int
    error: str | None
    served_by: str | None
    race: RaceMode | None
    hedges: int
    deadline_ms: float | None
    attempts: tuple[RaceAttempt, ...]
    queued_ms: float
    first_piece_ms: float | None
    total_ms: float
    pieces: int
    body_bytes: int
    answer_bytes: int
    input_tokens: int | None
    output_tokens: int | None


class RaceQuery(msgspec.Struct, frozen=True):
    """`before`: only those with a lower number. `failed`: only those that ended with an error, or only the others.

    `key`: only those of this one.
    """

    limit: int = 100
    before: int | None = None
    model: str | None = None
    failed: bool | None = None
    key: str | None = None

    def fits(self, number: int, outcome: Outcome) -> bool:
        """Is it one of these?"""
        return (
            (self.before is None or number < self.before)
            and (self.model is None or outcome.model == self.model)
            and (self.failed is None or (outcome.error is not None) is self.failed)
            and (self.key is None or outcome.key == self.key)
        )


Noted = tuple[int, float, Outcome]  # its number, and when it ended


class _Kept(Outcome, frozen=True, gc=False, array_like=True):
    """An outcome without the names of its fields."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, float, _Kept]).decode


class Journal:
    """A ring of `size` outcomes, each of a bounded size; 0 keeps none. They become races when somebody looks.

    It keeps each as a few bytes: the objects of one that is a thousand requests old are in no cache of the processor,
    and freeing them took as long as to count a request.
    """

    def __init__(self, size: int, now_unix_s: Callable[[], float] = time.time) -> None:
        self._now_unix_s = now_unix_s
        self._ring: deque[bytes] = deque(maxlen=size)
        self._count = 0

    def observe(self, outcome: Outcome) -> Noted:
        """Note how a request ended; gives what was noted."""
        self._count += 1
        is_small = len(outcome.attempts) <= MAX_ATTEMPTS and len(outcome.model) <= _MAX_TEXT_CHARS
        small = outcome if is_small else _abridged(outcome)
        noted = self._count, self._now_unix_s(), small
        self._ring.append(_encode((self._count, noted[1], msgspec.structs.astuple(small))))
        return noted

    def races(self, query: RaceQuery) -> list[Race]:
        """The newest that fit, newest first."""
        found = (noted for noted in map(_decode, reversed(self._ring)) if query.fits(noted[0], noted[2]))
        return [race_of(*noted) for noted in islice(found, query.limit)]

    def race(self, request_id: str, key: str | None = None) -> Race | None:
        """The newest with this id, which a caller may have chosen; with `key` only one of that."""
        for noted in map(_decode, reversed(self._ring)):
            if noted[2].request_id == request_id and key in (None, noted[2].key):
                return race_of(*noted)
        return None


def _abridged(outcome: Outcome) -> Outcome:
    attempts = tuple(_first_and_winner(outcome.attempts))
    return msgspec.structs.replace(outcome, model=outcome.model[:_MAX_TEXT_CHARS], attempts=attempts)


def race_of(number: int, ended_at_unix_s: float, outcome: Outcome) -> Race:
    """What was noted, as it is told."""
    return Race(
        number=number,
        request_id=outcome.request_id,
        came_at_unix_s=round(ended_at_unix_s - outcome.total_s, 3),
        endpoint=outcome.endpoint,
        model=outcome.model,
        key=outcome.key,
        peer=outcome.requester,
        stream=outcome.wants_stream,
        status=outcome.status,
        error=outcome.error,
        served_by=outcome.served_by,
        race=outcome.race,
        hedges=outcome.hedges,
        deadline_ms=_ms(outcome.deadline_s) if outcome.deadline_s is not None else None,
        attempts=tuple(_attempt_of(each) for each in _in_order(outcome.attempts)),
        queued_ms=_ms(outcome.queued_s),
        first_piece_ms=_ms(outcome.first_piece_s) if outcome.first_piece_s is not None else None,
        total_ms=_ms(outcome.total_s),
        pieces=outcome.pieces,
        body_bytes=outcome.body_bytes,
        answer_bytes=outcome.answer_bytes,
        input_tokens=outcome.input_tokens,
        output_tokens=outcome.output_tokens,
    )


def _in_order(attempts: Sequence[Attempt]) -> list[Attempt]:
    return sorted(attempts, key=lambda each: each.asked_after_s)


def _first_and_winner(attempts: Sequence[Attempt]) -> list[Attempt]:
    ordered = _in_order(attempts)
    first, rest = ordered[:MAX_ATTEMPTS], ordered[MAX_ATTEMPTS:]
    winner = [each for each in rest if each.result == WON]
    return [*first[: MAX_ATTEMPTS - len(winner)], *winner]


def _attempt_of(attempt: Attempt) -> RaceAttempt:
    return RaceAttempt(
        attempt.provider, attempt.is_local, attempt.result, _ms(attempt.asked_after_s), _ms(attempt.ended_after_s)
    )


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 2)
