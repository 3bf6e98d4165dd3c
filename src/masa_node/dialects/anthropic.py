"""Anthropic's messages: named server-sent events from `message_start` to `message_stop`."""

import msgspec

from masa_node.chat.answer import Usage
from masa_node.chat.ask import DialectName
from masa_node.dialects.dialect import ErrorText, Mark
from masa_node.dialects.fields import ABSENT, TEXT, Tokens, error_inside, is_given, message_in, read
from masa_node.dialects.framing import SSE, event_of, has_comment

# From the vendor's error documentation.
_ERROR_TYPE = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}
_SERVER_FAULT = 500
_MARKS = {"message_stop": Mark.END, "ping": Mark.NOISE, "error": Mark.ERROR, "message_delta": Mark.FINISH}


class _Envelope(msgspec.Struct):
    type: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    content: msgspec.Raw = ABSENT
    stop_reason: msgspec.Raw = ABSENT
    input_tokens: msgspec.Raw = ABSENT
    usage: msgspec.Raw = ABSENT
    message: msgspec.Raw = ABSENT


class _Usage(msgspec.Struct):
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_USAGE_DECODER = msgspec.json.Decoder(_Usage)


def _note_usage(raw: msgspec.Raw, usage: Usage) -> None:
    counts = read(raw, _USAGE_DECODER)
    if counts is None:
        return
    # message_start holds an estimate, message_delta the real figures (REAL-WORLD: Ollama): the later wins.
    usage.input_tokens = counts.input_tokens if counts.input_tokens is not None else usage.input_tokens
    usage.output_tokens = counts.output_tokens if counts.output_tokens is not None else usage.output_tokens


class Anthropic:
    """See the module."""

    name = DialectName.ANTHROPIC
    framing = SSE
    needs_end = True
    needs_finish = False
    end_is_piece = False

    def is_plain(self, frames: bytes) -> bool:
        """See `Dialect`."""
        return not (b"message_" in frames or b"error" in frames or b"ping" in frames or has_comment(frames))

    def mark(self, frame: bytes, usage: Usage) -> Mark:
        """See `Dialect`."""
        event, data = event_of(frame)
        if not data:
            return Mark.NOISE
        if event == b"error":
            return Mark.ERROR
        envelope = read(data, _ENVELOPE)
        kind = read(envelope.type, TEXT) if envelope is not None else None
        if envelope is None or kind is None:
            return Mark.ALIEN
        inner = read(envelope.message, _ENVELOPE)
        for source in (envelope, inner):
            if source is not None and is_given(source.usage):
                _note_usage(source.usage, usage)
        return _MARKS.get(kind, Mark.PIECE)

    def fault_of_whole(self, body: bytes, usage: Usage) -> str | None:
        """See `Dialect`."""
        envelope = read(body, _ENVELOPE)
        if envelope is None:
            return "the body is not a JSON object"
        if is_given(envelope.error):
            return error_inside(envelope.error)
        if not (is_given(envelope.content) or is_given(envelope.input_tokens)):
            return "the body has no `content` (nor `input_tokens`, as a count has)"
        if bytes(envelope.stop_reason) == b"null":
            return "no stop_reason says why it stopped, so the answer was cut"
        _note_usage(envelope.usage, usage)
        return None

    def error_message(self, body: bytes) -> str | None:
        """See `Dialect`."""
        envelope = read(body, _ENVELOPE)
        return message_in(envelope.error) if envelope is not None else None

    def error_body(self, error: ErrorText) -> bytes:
        """See `Dialect`."""
        kind = _ERROR_TYPE.get(error.status) or (
            "api_error" if error.status >= _SERVER_FAULT else "invalid_request_error"
        )
        return msgspec.json.encode(
            {"type": "error", "error": {"type": kind, "message": error.message}, "request_id": error.request_id}
        )

    def error_frame(self, error: ErrorText) -> bytes:
        """See `Dialect`."""
        return b"event: error\ndata: " + self.error_body(error) + b"\n\n"
