"""Outcomes, as a request ends."""

import time

import msgspec

from masa_node.chat.outcome import Attempt, Outcome
from masa_node.chat.request import Endpoint, RequestId

WON = Outcome(
    request_id=RequestId("an-id"),
    endpoint=Endpoint.OPENAI_CHAT,
    model="m",
    model_known=True,
    wants_stream=True,
    status=200,
    error=None,
    served_by="llm",
    attempts=(Attempt("first", "unreachable", 0.0, 0.01), Attempt("llm", "won", 0.01, 0.02)),
    body_bytes=100,
    answer_bytes=2_000,
    pieces=12,
    input_tokens=7,
    output_tokens=5,
    queued_s=0.001,
    first_piece_s=0.0256,
    total_s=1.5,
    ended_at_unix_ns=time.time_ns(),
)


def outcome(**changes: object) -> Outcome:
    """One that went well, but for these."""
    return msgspec.structs.replace(WON, **changes)


REFUSED = outcome(
    status=400,
    error="bad_json",
    model="",
    model_known=False,
    served_by=None,
    attempts=(),
    pieces=0,
    input_tokens=None,
    output_tokens=None,
    first_piece_s=None,
)


def by_peer(peer: str, **changes: object) -> Outcome:
    """One that a peer answered."""
    return outcome(served_by=peer, attempts=(Attempt(peer, "won", 0.0, 0.02, is_local=False),), **changes)
