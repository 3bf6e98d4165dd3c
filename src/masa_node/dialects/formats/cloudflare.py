"""Cloudflare Workers AI's native API: `{result, success, errors, messages}`; streams carry no envelope.

Newer models stream OpenAI chunks on the same path, and their whole answers hold `choices` inside `result`.
"""

import msgspec

from masa_node.chat.answer import Usage
from masa_node.chat.request import DialectName
from masa_node.dialects.choices import Choices
from masa_node.dialects.dialect import Dialect, ErrorText, Mark, mark_of_other
from masa_node.dialects.faults import error_text, no_answer
from masa_node.dialects.fields import ABSENT, is_empty, is_error, is_given, read
from masa_node.dialects.formats.openai import (
    DONE,
    USAGE,
    fault_of_choices,
    is_about_an_end,
    mark_of_choices,
    note_usage,
)
from masa_node.dialects.framing import NOTHING, SSE, event_of

# From the vendor's error table, nearest to the HTTP status; 3040 is "out of capacity".
_CODE = {400: 5004, 401: 10000, 403: 5018, 404: 5007, 405: 5005, 408: 3007, 413: 3006, 429: 3040, 503: 3040, 504: 3007}
_INTERNAL = 5000
# What results of other tasks than text generation have: embeddings, transcripts, translations, pictures.
_RESULTS = ("data", "shape", "text", "translated_text", "description", "image", "audio", "output")
_RESULT = msgspec.json.Decoder(msgspec.defstruct("_Result", [(name, msgspec.Raw, ABSENT) for name in _RESULTS]))


class _Envelope(msgspec.Struct):
    result: msgspec.Raw = ABSENT
    success: msgspec.Raw = ABSENT
    errors: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    response: msgspec.Raw = ABSENT
    choices: msgspec.Raw = ABSENT
    usage: msgspec.Raw = ABSENT
    tool_calls: msgspec.Raw = ABSENT


_ENVELOPE = msgspec.json.Decoder(_Envelope)


def _is_ours(envelope: _Envelope) -> bool:
    given = (envelope.response, envelope.choices, envelope.usage, envelope.tool_calls)
    return any(bytes(field) != b"" for field in given)


def _is_bare_answer(body: bytes, envelope: _Envelope) -> bool:
    if _is_ours(envelope):
        return True
    result = read(body, _RESULT)
    return result is not None and any(bytes(value) for value in msgspec.structs.astuple(result))


def _has_words(envelope: _Envelope) -> bool:
    """A piece that is a number comes as one, 0 too."""
    return bytes(envelope.response) in (b"0", b"false") or not (
        is_empty(envelope.response) and is_empty(envelope.tool_calls)
    )


def _is_error(envelope: _Envelope) -> bool:
    return is_error(envelope.error) or is_error(envelope.errors) or bytes(envelope.success).strip(b'"') == b"false"


class Cloudflare(Dialect):
    """See the module."""

    name = DialectName.CLOUDFLARE

    def plain_frames(self, frames: bytes) -> int:
        """See `Dialect`."""
        count = SSE.count(frames)
        is_odd = (
            frames.count(DONE)
            or frames.count(b"error")
            or frames.count(b'"success"')
            or frames.count(b'"response":') + frames.count(b'"choices"') != count
            or is_about_an_end(frames)
            or USAGE.search(frames)
        )
        return 0 if is_odd else count

    def mark(self, frame: bytes, usage: Usage, choices: Choices | None = None) -> Mark:
        """See `Dialect`."""
        event, data = event_of(frame)
        data = data.strip()
        if not data or (not event and data in NOTHING):
            return Mark.NOISE
        if data == DONE:
            return Mark.END
        envelope = read(data, _ENVELOPE)
        if event == b"error" or (envelope is not None and _is_error(envelope)):
            return Mark.ERROR
        if envelope is None or not _is_ours(envelope):
            return mark_of_other(event, data)
        if is_given(envelope.usage):
            note_usage(envelope.usage, usage)
        if is_given(envelope.choices):
            return mark_of_choices(envelope.choices, choices)
        return Mark.PIECE if _has_words(envelope) else Mark.META

    def fault_of_whole(self, body: bytes, usage: Usage, choices: Choices | None = None) -> str | None:
        """See `Dialect`. Without an envelope, as some gateways give it, the result is the answer itself."""
        envelope = read(body, _ENVELOPE)
        if envelope is None:
            return no_answer(body, "the body is not a JSON object")
        is_bare = not is_given(envelope.success) and not is_given(envelope.result) and _is_bare_answer(body, envelope)
        if _is_error(envelope) or not (is_bare or is_given(envelope.result) or bytes(envelope.success) == b"true"):
            return no_answer(body, f"a success status without `success: true`: {error_text(body) or 'no message'}")
        result = envelope if is_bare else read(envelope.result, _ENVELOPE)
        if result is None:
            return None
        note_usage(result.usage, usage)
        return fault_of_choices(result.choices, choices)

    def error_body(self, error: ErrorText) -> bytes:
        """See `Dialect`."""
        listed = [{"code": _CODE.get(error.status, _INTERNAL), "message": error.message}]
        return msgspec.json.encode({"result": None, "success": False, "errors": listed, "messages": []})
