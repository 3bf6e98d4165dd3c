"""The one fact that leaves a request at its end: `Outcome`, with the `Attempt`s that were made."""

import msgspec

from masa_node.chat.ask import Door, RequestId

MAX_TRAIL = 8  # attempts that are told, in a header and in the log: both are read by people


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One provider that was asked; times are seconds after the ask came.

    `result` is `won`, `cancelled`, `http_<status>` or an error's `code`.
    """

    provider: str
    result: str
    asked_after_s: float
    ended_after_s: float


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """How a request ended. Holds sizes, times and names; never a prompt or an answer.

    `error` is an error's `code`, `caller_gone`, or None for a whole answer. Durations are seconds; `first_piece_s` is
    None when no piece came. `status` is what the caller was told; an answer that broke later keeps its 200 and has an
    `error`.
    """

    request_id: RequestId
    door: Door
    model: str
    model_known: bool
    wants_stream: bool
    status: int
    error: str | None
    served_by: str | None
    attempts: tuple[Attempt, ...]
    body_bytes: int
    answer_bytes: int
    pieces: int
    input_tokens: int | None
    output_tokens: int | None
    queued_s: float
    first_piece_s: float | None
    total_s: float
