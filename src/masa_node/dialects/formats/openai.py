"""OpenAI's chat completions, as OpenAI and the many compatible servers speak them (llama.cpp, vLLM, Ollama, ...).

Traps: `[DONE]` without any finish_reason is a cut stream; transformers never sends `[DONE]`;
a first chunk may hold only a role; middle chunks may lack the finish_reason key.
"""

import re
from typing import Annotated, Literal

import msgspec

from masa_node.chat.answer import Usage
from masa_node.chat.request import DialectName
from masa_node.dialects.choices import Choices
from masa_node.dialects.dialect import Dialect, ErrorText, Mark, mark_of_other
from masa_node.dialects.faults import is_bare_error, no_answer
from masa_node.dialects.fields import ABSENT, NULL_TEXT, TOKENS, UNREADABLE, Tokens, is_error, is_given, is_json, read
from masa_node.dialects.framing import NOTHING, SSE, event_of

# Inside a JSON string the quotes would be escaped, so these cannot match a model's words.
USAGE = re.compile(rb'"usage"\s*:\s*\{')
DONE = b"[DONE]"
_LIMIT = "length"
_WHOLE_OBJECTS = frozenset({b'"chat.completion"', b'"text_completion"'})
CUT = "not all of its choices have ended, so the answer was cut"

_ERROR_TYPE = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_SERVER_FAULT = 500


class _Envelope(msgspec.Struct):
    choices: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    usage: msgspec.Raw = ABSENT
    object: msgspec.Raw = ABSENT
    data: msgspec.Raw = ABSENT


class _Usage(msgspec.Struct):
    prompt_tokens: msgspec.Raw = ABSENT
    completion_tokens: msgspec.Raw = ABSENT


class _Ended(msgspec.Struct):
    finish_reason: Annotated[str, msgspec.Meta(min_length=1)]
    index: int = 0


class _Counts(msgspec.Struct):
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None


class _Usual(msgspec.Struct):
    choices: tuple[_Ended]  # a list with a bound would be read to its end first
    usage: _Counts | None = None
    error: None = None


class _Words(msgspec.Struct, forbid_unknown_fields=True):
    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: None = None
    function_call: None = None


class _Part(msgspec.Struct):
    delta: _Words | None = None
    text: str | None = None
    index: Literal[0] = 0
    finish_reason: str | msgspec.UnsetType | None = msgspec.UNSET
    message: None = None
    finishReason: None = None  # noqa: N815 - as in `choices`


class _UsualChunk(msgspec.Struct):
    choices: Annotated[list[_Part], msgspec.Meta(max_length=1)]
    usage: _Counts | None = None
    error: None = None


_LONG_FRAME_BYTES = 16_000  # nearly none is; of many choices all would be read before it is seen that they are many
_NO_WORDS = _Words()
_NOT_AN_OBJECT = _Envelope()
_USUAL_CHUNK = msgspec.json.Decoder(_UsualChunk)
_USUAL = msgspec.json.Decoder(_Usual)
_ENVELOPE = msgspec.json.Decoder(_Envelope)
_USAGE_DECODER = msgspec.json.Decoder(_Usage)


def _is_empty_answer(envelope: _Envelope, body: bytes) -> bool:
    """Without choices, but called an answer: SDKs read it as one that has nothing to say."""
    return bytes(envelope.object) in _WHOLE_OBJECTS and not is_bare_error(body)


def note_usage(raw: msgspec.Raw, usage: Usage) -> None:
    """Write OpenAI's token counts, where given, into `usage`; what these leave out stays."""
    counts = read(raw, _USAGE_DECODER)
    if counts is not None:
        usage.note(read(counts.prompt_tokens, TOKENS), read(counts.completion_tokens, TOKENS))


def is_usual(body: bytes, usage: Usage, choices: Choices) -> bool:
    """Quickly: is this whole answer what nearly all are, one choice that has ended, and nothing odd? Then it is noted.

    False says nothing of it. Whatever is strictly of these types, the lenient reader would take for the same.
    """
    try:
        answer = _USUAL.decode(body)
    except UNREADABLE:
        return False
    if answer.choices[0].index != 0 or answer.choices[0].finish_reason == NULL_TEXT:
        return False
    if answer.usage is not None:
        usage.input_tokens, usage.output_tokens = answer.usage.prompt_tokens, answer.usage.completion_tokens
    choices.any_ended = True  # and is all there is
    choices.any_done = answer.choices[0].finish_reason != _LIMIT
    return True


def _mark_of_usual(data: bytes, usage: Usage, choices: Choices) -> Mark | None:
    """Quickly: what nearly all frames of a chat are, noted as `mark` does it. None, and no choice is noted, if not.

    Whatever is strictly of these types, the lenient reader would take for the same.
    """
    try:
        chunk = _USUAL_CHUNK.decode(data)
    except UNREADABLE:
        return None
    if chunk.usage is not None:
        usage.note(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
    if not chunk.choices:
        return Mark.META
    part = chunk.choices[0]
    if part.finish_reason:
        if part.finish_reason == NULL_TEXT:
            return None
        choices.ended(0, at_limit=part.finish_reason == _LIMIT)
        return Mark.FINISH
    choices.seen(0, is_told=part.finish_reason is not msgspec.UNSET)
    words = part.delta or _NO_WORDS
    has_part = part.text or words.content or words.reasoning_content or words.reasoning or words.refusal
    return Mark.PIECE if has_part else Mark.META


def is_about_an_end(frames: bytes) -> bool:
    """May any but the first choice be in these frames, or may one have ended?"""
    reasons = frames.count(b'inish_reason"') + frames.count(b'finishReason"')
    if reasons != frames.count(b'finish_reason":null') and reasons != frames.count(b'finish_reason": null'):
        return True
    indexes = frames.count(b'"index"')
    return indexes != frames.count(b'"index":0,') and indexes != frames.count(b'"index": 0,')


def mark_of_choices(raw: msgspec.Raw, choices: Choices | None) -> Mark:
    """What a frame with these choices is; they are noted."""
    has_part, has_reason = (choices or Choices()).note(raw)
    if has_reason:
        return Mark.FINISH
    return Mark.PIECE if has_part else Mark.META


def fault_of_choices(raw: msgspec.Raw, choices: Choices | None) -> str | None:
    """Why a whole answer with these choices is none; with `choices` they are noted, and not judged."""
    noted = choices or Choices()
    noted.note_whole(raw)
    return CUT if choices is None and noted.are_cut_of_whole else None


def mark_of_error(error: msgspec.Raw, data: bytes) -> Mark:
    """What an error is to the SDK: it raises for an `error` that says anything, and for what is no JSON."""
    return Mark.ERROR if is_error(error) or not is_json(data) else Mark.OVERLOOKED


def mark_without_answer(event: bytes, data: bytes, error: msgspec.Raw | None) -> Mark | None:
    """What a frame is that says nothing, is the end, tells of an error, or is no JSON object; None if it is another.

    `error` is that field of the object, ABSENT where it has none, and None where the data is no object.
    """
    if not data or (not event and data in NOTHING):
        return Mark.NOISE
    if data == DONE:
        return Mark.END
    if event == b"error" or (error is not None and is_error(error)):
        return mark_of_error(ABSENT if error is None else error, data)
    return mark_of_other(event, data) if error is None else None


def _mark_of_any(event: bytes, data: bytes, usage: Usage, choices: Choices | None) -> Mark:
    """What the frame of this event is, whatever it is."""
    envelope = read(data, _ENVELOPE) or _NOT_AN_OBJECT
    mark = mark_without_answer(event, data, None if envelope is _NOT_AN_OBJECT else envelope.error)
    if mark is not None:
        return mark
    if is_given(envelope.usage):
        note_usage(envelope.usage, usage)
    if is_given(envelope.choices):
        return mark_of_choices(envelope.choices, choices)
    return mark_of_other(event, data, is_ours=is_given(envelope.object))


class OpenAi(Dialect):
    """See the module."""

    name = DialectName.OPENAI
    needs_end = False
    needs_finish = True

    def plain_frames(self, frames: bytes) -> int:
        """See `Dialect`."""
        if frames.count(DONE) or frames.count(b"error") or is_about_an_end(frames):
            return 0
        count = SSE.count(frames)
        if frames.count(b'"choices"') != count:  # else there may be a comment or a heartbeat
            return 0
        return 0 if frames.count(b'"usage"') and USAGE.search(frames) else count

    def mark(self, frame: bytes, usage: Usage, choices: Choices | None = None) -> Mark:
        """See `Dialect`."""
        event, data = event_of(frame)
        if data == DONE:
            return Mark.END
        if choices is not None and not event and len(data) < _LONG_FRAME_BYTES:
            usual = _mark_of_usual(data, usage, choices)
            if usual is not None:
                return usual
        return _mark_of_any(event, data.strip(), usage, choices)

    def fault_of_whole(self, body: bytes, usage: Usage, choices: Choices | None = None) -> str | None:
        """See `Dialect`."""
        if choices is not None and is_usual(body, usage, choices):
            return None
        envelope = read(body, _ENVELOPE)
        if envelope is None:
            return no_answer(body, "the body is not a JSON object")
        is_answer = is_given(envelope.choices) or bytes(envelope.data).startswith(b"[")
        if is_error(envelope.error) or not (is_answer or _is_empty_answer(envelope, body)):
            return no_answer(body, "the body has no `choices` (nor `data`, as embeddings have)")
        note_usage(envelope.usage, usage)
        return fault_of_choices(envelope.choices, choices)

    def error_body(self, error: ErrorText) -> bytes:
        """See `Dialect`."""
        otherwise = "server_error" if error.status >= _SERVER_FAULT else "invalid_request_error"
        kind = _ERROR_TYPE.get(error.status, otherwise)
        return msgspec.json.encode(
            {"error": {"message": error.message, "type": kind, "param": None, "code": error.code}}
        )
