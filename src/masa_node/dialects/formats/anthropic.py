"""Anthropic's messages: named server-sent events from `message_start` to `message_stop`."""

import msgspec

from masa_node.chat.answer import Usage
from masa_node.chat.request import DialectName
from masa_node.chat.translation_errors import ThreadNotKept
from masa_node.dialects.choices import Choices
from masa_node.dialects.dialect import Dialect, ErrorText, Mark, mark_of_other
from masa_node.dialects.faults import is_bare_error, no_answer
from masa_node.dialects.fields import ABSENT, FIELDS, TEXT, TOKENS, is_empty, is_error, is_given, is_reason, read
from masa_node.dialects.framing import NOTHING, SSE, event_of, is_heartbeat_name

# From the vendor's error documentation.
_ERROR_TYPE = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}
_SERVER_FAULT = 500
# What holds the words: a block as it begins (all of a call's name, for one), and what is added to it.
_BEGIN = b"event: content_block_"
_WORDS = frozenset({"content_block_start", "content_block_delta"})
_OURS = ("message_", "content_block_")
_NAMES = (b"message_", b"content_block_")


class _Envelope(msgspec.Struct):
    type: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    content: msgspec.Raw = ABSENT
    stop_reason: msgspec.Raw = ABSENT
    input_tokens: msgspec.Raw = ABSENT
    usage: msgspec.Raw = ABSENT
    message: msgspec.Raw = ABSENT
    delta: msgspec.Raw = ABSENT
    content_block: msgspec.Raw = ABSENT


class _Usage(msgspec.Struct):
    input_tokens: msgspec.Raw = ABSENT
    cache_creation_input_tokens: msgspec.Raw = ABSENT
    cache_read_input_tokens: msgspec.Raw = ABSENT
    output_tokens: msgspec.Raw = ABSENT


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_USAGE_DECODER = msgspec.json.Decoder(_Usage)


def _note_usage(raw: msgspec.Raw, usage: Usage) -> None:
    counts = read(raw, _USAGE_DECODER)
    if counts is None:
        return
    # message_start holds an estimate, message_delta the real figures (seen with Ollama): the later wins.
    usage.note(_all_input(counts), read(counts.output_tokens, TOKENS))


def _all_input(counts: _Usage) -> int | None:
    """Anthropic's `input_tokens` are those that no cache had, which of an agent's turn are few; OpenAI's are all."""
    fresh = read(counts.input_tokens, TOKENS)
    if fresh is None:
        return None
    cached = (counts.cache_creation_input_tokens, counts.cache_read_input_tokens)
    return fresh + sum(read(each, TOKENS) or 0 for each in cached)


def _has_words(block: msgspec.Raw) -> bool:
    """Its type is no part of an answer, nor is an empty text."""
    fields = read(block, FIELDS)
    return fields is not None and any(name != "type" and not is_empty(value) for name, value in fields.items())


def _note_stop(envelope: _Envelope, choices: Choices) -> Mark:
    """A `message_delta` says why the message stopped, or only how much was used."""
    delta = read(envelope.delta, _ENVELOPE)
    if delta is None or not is_reason(delta.stop_reason):
        return Mark.META
    choices.ended(0)
    return Mark.FINISH


def _mark_of_kind(kind: str, envelope: _Envelope, choices: Choices, data: bytes) -> Mark:
    if kind == "message_stop":
        if choices.are_open:  # no reason was given, and every SDK takes this for the end
            choices.ended(0)
        return Mark.END
    if kind == "message_delta":
        return _note_stop(envelope, choices)
    if kind in _WORDS:
        block = envelope.delta if kind == "content_block_delta" else envelope.content_block
        return Mark.PIECE if _has_words(block) else Mark.META
    if kind == "error" or (not kind.startswith(_OURS) and is_bare_error(data)):  # vLLM gives one a `type` of its own
        return Mark.OVERLOOKED
    # What SDKs do not know they let through; what another dialect begins with is none of this one.
    return Mark.NOISE if is_heartbeat_name(kind) else Mark.ALIEN if kind.startswith("response.") else Mark.META


def _kind_of(event: bytes) -> str:
    """What an event's name says of data that does not; SDKs go by the name alone."""
    return event.decode() if event.startswith(_NAMES) else ""


class Anthropic(Dialect):
    """See the module."""

    name = DialectName.ANTHROPIC

    def plain_frames(self, frames: bytes) -> int:
        """See `Dialect`."""
        begun = frames.count(_BEGIN) if frames.startswith(_BEGIN) else 0
        is_odd = begun != SSE.count(frames) or frames.count(b"message_") or frames.count(b"error")
        return 0 if is_odd else begun

    def mark(self, frame: bytes, usage: Usage, choices: Choices | None = None) -> Mark:
        """See `Dialect`."""
        event, data = event_of(frame)
        data = data.strip()
        if not data or (not event and data in NOTHING):
            return Mark.NOISE
        if event == b"error":
            return Mark.ERROR
        envelope = read(data, _ENVELOPE)
        kind = (read(envelope.type, TEXT) if envelope is not None else None) or _kind_of(event)
        if envelope is None or not kind:
            return mark_of_other(event, data)
        inner = read(envelope.message, _ENVELOPE)
        for source in (envelope, inner):
            if source is not None and is_given(source.usage):
                _note_usage(source.usage, usage)
        return _mark_of_kind(kind, envelope, choices or Choices(), data)

    def fault_of_whole(self, body: bytes, usage: Usage, choices: Choices | None = None) -> str | None:
        """See `Dialect`."""
        envelope = read(body, _ENVELOPE)
        if envelope is None:
            return no_answer(body, "the body is not a JSON object")
        is_message = is_given(envelope.content) or is_given(envelope.stop_reason)  # that may have nothing to say
        if is_error(envelope.error) or not (is_message or is_given(envelope.input_tokens)):
            return no_answer(body, "the body has no `content` (nor `input_tokens`, as a count has)")
        _note_usage(envelope.usage, usage)
        if choices is not None and is_message:
            choices.seen(0)
            if is_reason(envelope.stop_reason):
                choices.ended(0)
        return None

    def error_body(self, error: ErrorText) -> bytes:
        """See `Dialect`."""
        otherwise = "api_error" if error.status >= _SERVER_FAULT else "invalid_request_error"
        kind = _ERROR_TYPE.get(error.status, otherwise)
        words: dict[str, object] = {"type": kind, "message": error.message}
        if error.code == ThreadNotKept.code:  # its SDKs look for it here, and send the conversation whole
            words["details"] = {"error_code": error.code}
        return msgspec.json.encode({"type": "error", "error": words, "request_id": error.request_id})

    def error_frame(self, error: ErrorText) -> bytes:
        """See `Dialect`."""
        return b"event: error\ndata: " + self.error_body(error) + b"\n\n"
