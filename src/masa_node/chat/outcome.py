"""The one fact that leaves a request at its end: `Outcome`, with the `Attempt`s that were made."""

from collections.abc import Sequence

import msgspec

from masa_node.chat.request import OWNER, Endpoint, RaceMode, RequestId

MAX_TRAIL = 8  # attempts that are told, in a header and in the log: both are read by people

# What an attempt's result or an outcome's error is, beside codes of errors.
WON = "won"
CANCELLED = "cancelled"
CALLER_GONE = "caller_gone"
STATUS_CALLER_GONE = 499  # nginx's: nobody was there any more to be told


class Attempt(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One provider that was asked; times are seconds after the request came; `is_local`: it is an own LLM server.

    `result` is `won`, `cancelled` (another won, or the caller has gone), `http_<status>` or an error's `code`.
    """

    provider: str
    result: str
    asked_after_s: float
    ended_after_s: float
    is_local: bool = True


class Outcome(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """How a request ended. Holds sizes, times and names; never a prompt or an answer.

    `error` is an error's `code`, `caller_gone`, or None for a whole answer. Durations are seconds; `first_piece_s` is
    None when no piece came. `status` is what the caller was told; an answer that broke later keeps its 200 and has an
    `error`. `race` is the rule by which peers were asked, None if none was; `hedges` how many of them were asked
    although another still ran. `requester` is the peer whose request it was, None for one of this node's own callers,
    whose key has the name `key` ("" for a peer's). `deadline_s` is how long everybody could be silent; signs of life
    move it. None where nobody could be asked. It is kept as bytes, and so without the names of its fields.
    """

    request_id: RequestId
    endpoint: Endpoint
    model: str
    model_known: bool
    wants_stream: bool
    status: int
    error: str | None
    served_by: str | None = None
    attempts: tuple[Attempt, ...] = ()
    body_bytes: int = 0
    answer_bytes: int = 0
    pieces: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    queued_s: float = 0.0
    first_piece_s: float | None = None
    total_s: float = 0.0
    race: RaceMode | None = None
    hedges: int = 0
    requester: str | None = None
    key: str = OWNER
    deadline_s: float | None = None
    ended_at_unix_ns: int = 0


def abridged(attempts: Sequence[Attempt]) -> Sequence[Attempt]:
    """The attempts that are reported: the first MAX_TRAIL, and the winner in any case."""
    if len(attempts) <= MAX_TRAIL:
        return attempts
    trail = attempts[:MAX_TRAIL]
    winner = [attempt for attempt in attempts[MAX_TRAIL:] if attempt.result == WON]
    return [*trail[:-1], *winner] if winner else trail
