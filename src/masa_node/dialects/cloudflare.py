"""Cloudflare Workers AI's native API: `{result, success, errors, messages}`; streams carry no envelope.

Newer models stream OpenAI chunks on the same path, and their whole answers hold `choices` inside `result`.
"""

import re

import msgspec

from masa_node.chat.answer import Usage
from masa_node.chat.ask import DialectName
from masa_node.dialects.dialect import ErrorText, Mark
from masa_node.dialects.fields import ABSENT, is_given, message_in, read
from masa_node.dialects.framing import SSE, event_of, has_comment
from masa_node.dialects.openai import note_usage

_DONE = b"[DONE]"
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
# From the vendor's error table, nearest to the HTTP status; 3040 is "out of capacity".
_CODE = {400: 5004, 401: 10000, 403: 5018, 404: 5007, 405: 5005, 408: 3007, 413: 3006, 429: 3040, 503: 3040, 504: 3007}
_INTERNAL = 5000


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
_LIST = msgspec.json.Decoder(list[msgspec.Raw])


def _is_part(envelope: _Envelope) -> bool:
    given = (envelope.response, envelope.choices, envelope.usage, envelope.tool_calls)
    return any(bytes(field) != b"" for field in given)


class Cloudflare:
    """See the module."""

    name = DialectName.CLOUDFLARE
    framing = SSE
    needs_end = True
    needs_finish = False
    end_is_piece = False

    def is_plain(self, frames: bytes) -> bool:
        """See `Dialect`."""
        return not (
            _DONE in frames
            or b"error" in frames
            or b'"success"' in frames
            or has_comment(frames)
            or _USAGE.search(frames)
        )

    def mark(self, frame: bytes, usage: Usage) -> Mark:
        """See `Dialect`."""
        event, data = event_of(frame)
        if not data:
            return Mark.NOISE
        if data.strip() == _DONE:
            return Mark.END
        envelope = read(data, _ENVELOPE)
        if event == b"error" or (
            envelope is not None and (is_given(envelope.error) or bytes(envelope.success) == b"false")
        ):
            return Mark.ERROR
        if envelope is None or not _is_part(envelope):
            return Mark.ALIEN
        if is_given(envelope.usage):
            note_usage(envelope.usage, usage)
        return Mark.PIECE

    def fault_of_whole(self, body: bytes, usage: Usage) -> str | None:
        """See `Dialect`."""
        envelope = read(body, _ENVELOPE)
        if envelope is None:
            return "the body is not a JSON object"
        if bytes(envelope.success) != b"true":
            return f"a success status without `success: true`: {self.error_message(body) or 'no message'}"
        result = read(envelope.result, _ENVELOPE)
        if result is not None:
            note_usage(result.usage, usage)
        return None

    def error_message(self, body: bytes) -> str | None:
        """See `Dialect`."""
        envelope = read(body, _ENVELOPE)
        if envelope is None:
            return None
        listed = [message_in(error) for error in read(envelope.errors, _LIST) or []]
        return next((text for text in listed if text), None) or message_in(envelope.error)

    def error_body(self, error: ErrorText) -> bytes:
        """See `Dialect`."""
        listed = [{"code": _CODE.get(error.status, _INTERNAL), "message": error.message}]
        return msgspec.json.encode({"result": None, "success": False, "errors": listed, "messages": []})

    def error_frame(self, error: ErrorText) -> bytes:
        """See `Dialect`."""
        return b"data: " + self.error_body(error) + b"\n\n"
