"""The journal: the last requests that ended, with their races, in memory. Never a prompt or an answer."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from masa_node.chat.outcome import WON, Attempt, Outcome
from masa_node.chat.request import Endpoint, RaceMode, RequestId

MAX_RACES = 100_000  # of JOURNAL: usual ones take 30 MB
MAX_BYTES = 64 * 1024 * 1024  # of all of them: fewer are kept of those with many attempts
PAGE_BYTES = 256 * 1024  # of what is kept, read in 10 ms: a thousand usual races, or fifty with MAX_ATTEMPTS
MAX_ATTEMPTS = 64  # of one race: as many as may run at once by default, and more than a screen shows
_NS_A_S = 1_000_000_000
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

    `key`: only those of this one. `request_id`: callers may choose it, so there may be several with one.
    """

    limit: int = 100
    before: int | None = None
    model: str | None = None
    failed: bool | None = None
    key: str | None = None
    request_id: str | None = None

    def fits(self, number: int, outcome: Outcome) -> bool:
        """Is it one of these?"""
        return (
            (self.before is None or number < self.before)
            and (self.model is None or outcome.model == self.model)
            and (self.failed is None or (outcome.error is not None) is self.failed)
            and (self.key is None or outcome.key == self.key)
            and (self.request_id is None or outcome.request_id == self.request_id)
        )


Noted = tuple[int, Outcome]  # its number, too


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[bool, int, Outcome]).decode
_BEGINS = {None: b"", False: b"\x93\xc2", True: b"\x93\xc3"}  # four values are kept; the first: has it failed?


class Journal:
    """A ring of `size` outcomes, each of a bounded size, or of as many as take MAX_BYTES; 0 keeps none. They become
    races when somebody looks.

    It keeps each as a few bytes: the objects of one that is a thousand requests old are in no cache of the processor,
    and freeing them took as long as to count a request.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._ring: deque[bytes] = deque()
        self._bytes = 0
        self._count = 0
        self._reading = asyncio.Lock()

    def observe(self, outcome: Outcome) -> Noted:
        """Note how a request ended; gives what was noted."""
        self._count += 1
        is_small = len(outcome.attempts) <= MAX_ATTEMPTS and len(outcome.model) <= _MAX_TEXT_CHARS
        noted = self._count, outcome if is_small else _abridged(outcome)
        packed = _encode((outcome.error is not None, *noted))
        self._ring.append(packed)
        self._bytes += len(packed)
        while len(self._ring) > self._size or self._bytes > MAX_BYTES:
            self._bytes -= len(self._ring.popleft())
        return noted

    def races(self, query: RaceQuery) -> list[Race]:
        """The newest that fit, newest first."""
        return [race_of(*noted) for _, noted in islice(self._found(query), query.limit)]

    async def page(self, query: RaceQuery) -> tuple[list[Race], int | None]:
        """The same, or fewer where those take PAGE_BYTES, and the `before` that leads on; None where nothing follows.

        Between two pages others have their turn, however many are asked for at once.
        """
        async with self._reading:
            await asyncio.sleep(0)
            races: list[Race] = []
            size = 0
            for packed_bytes, noted in self._found(query):
                races.append(race_of(*noted))
                size += packed_bytes
                if len(races) == query.limit or size >= PAGE_BYTES:
                    return races, races[-1].number
            return races, None

    def race(self, request_id: str, key: str | None = None) -> Race | None:
        """The newest with this id, which a caller may have chosen; with `key` only one of that."""
        return next(iter(self.races(RaceQuery(1, key=key, request_id=request_id))), None)

    def _found(self, query: RaceQuery) -> Iterator[tuple[int, Noted]]:
        """Each with its size. Of most that do not fit their bytes tell so, in a tenth of the time to read them."""
        newer = max(self._count + 1 - query.before, 0) if query.before is not None else 0
        begin = _BEGINS[query.failed]
        model, key, own_id = (_text(each) for each in (query.model, query.key, query.request_id))
        for packed in islice(reversed(self._ring), newer, None):
            if packed.startswith(begin) and own_id in packed and model in packed and key in packed:
                _, number, outcome = _decode(packed)
                if query.fits(number, outcome):
                    yield len(packed), (number, outcome)


def _text(text: str | None) -> bytes:
    """As it stands in what is kept; b"", which is in all, where it may be any."""
    return _encode(text) if text is not None else b""


def _abridged(outcome: Outcome) -> Outcome:
    attempts = tuple(_first_and_winner(outcome.attempts))
    return msgspec.structs.replace(outcome, model=outcome.model[:_MAX_TEXT_CHARS], attempts=attempts)


def race_of(number: int, outcome: Outcome) -> Race:
    """What was noted, as it is told."""
    return Race(
        number=number,
        request_id=outcome.request_id,
        came_at_unix_s=round(outcome.ended_at_unix_ns / _NS_A_S - outcome.total_s, 3),
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
