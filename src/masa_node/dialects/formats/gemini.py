"""Google's Gemini API, as its SDKs and Gemini CLI speak it: server-sent events without a terminal frame.

Callers alone speak it here. What they get is translated, so of a server's answer this tells only whether it is one.
"""

import msgspec

from masa_node.chat.answer import Usage
from masa_node.chat.request import DialectName
from masa_node.dialects.choices import Choices
from masa_node.dialects.dialect import Dialect, ErrorText, Mark, mark_of_other
from masa_node.dialects.faults import no_answer
from masa_node.dialects.fields import ABSENT, TOKENS, is_error, is_given, read
from masa_node.dialects.framing import event_of

# Google's names for statuses (google.rpc.Code), by which its clients tell what to do.
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_BAD_REQUEST, _INTERNAL = 400, 500


class _Counts(msgspec.Struct, rename="camel"):
    prompt_token_count: msgspec.Raw = ABSENT
    candidates_token_count: msgspec.Raw = ABSENT


class _Candidate(msgspec.Struct, rename="camel"):
    finish_reason: msgspec.Raw = ABSENT


class _Envelope(msgspec.Struct, rename="camel"):
    error: msgspec.Raw = ABSENT
    candidates: list[_Candidate] | None = None
    prompt_feedback: msgspec.Raw = ABSENT
    usage_metadata: _Counts | None = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)


def status_name(status: int) -> str:
    """Google's name for an error of this status."""
    known = _STATUS.get(status)
    if known is not None:
        return known
    return "INVALID_ARGUMENT" if _BAD_REQUEST <= status < _INTERNAL else "INTERNAL"


def error_of(status: int, message: str) -> dict[str, object]:
    """The whole body of an error."""
    return {"error": {"code": status, "message": message, "status": status_name(status)}}


class Gemini(Dialect):
    """See the module."""

    name = DialectName.GEMINI
    needs_end = False
    needs_finish = True

    def plain_frames(self, frames: bytes) -> int:
        """See `Dialect`."""
        del frames
        return 0

    def mark(self, frame: bytes, usage: Usage, choices: Choices | None = None) -> Mark:
        """See `Dialect`."""
        del choices
        event, data = event_of(frame)
        data = data.strip()
        if not data:
            return Mark.NOISE
        envelope = read(data, _ENVELOPE)
        if envelope is not None and is_error(envelope.error):
            return Mark.ERROR
        if envelope is None or not envelope.candidates:
            is_ours = envelope is not None and (envelope.candidates is not None or envelope.usage_metadata is not None)
            return mark_of_other(event, data, is_ours=is_ours)
        _note_usage(envelope, usage)
        return Mark.FINISH if any(is_given(each.finish_reason) for each in envelope.candidates) else Mark.PIECE

    def fault_of_whole(self, body: bytes, usage: Usage, choices: Choices | None = None) -> str | None:
        """See `Dialect`. A prompt that was refused has no candidates, but says why."""
        del choices
        envelope = read(body, _ENVELOPE)
        if envelope is None:
            return no_answer(body, "the body is not a JSON object")
        if is_error(envelope.error) or not (envelope.candidates or is_given(envelope.prompt_feedback)):
            return no_answer(body, "the body has no `candidates`")
        _note_usage(envelope, usage)
        return None

    def error_body(self, error: ErrorText) -> bytes:
        """See `Dialect`."""
        return msgspec.json.encode(error_of(error.status, error.message))


def _note_usage(envelope: _Envelope, usage: Usage) -> None:
    counts = envelope.usage_metadata
    if counts is not None:
        usage.input_tokens = read(counts.prompt_token_count, TOKENS)
        usage.output_tokens = read(counts.candidates_token_count, TOKENS)
