"""OpenAI's responses: named server-sent events from `response.created` to one that says how the response ended.

No `[DONE]`. Ollama and llama.cpp speak it too; errors have the shape of OpenAI's other endpoints.
"""

import msgspec

from masa_node.chat.answer import Usage
from masa_node.chat.ask import DialectName
from masa_node.dialects.dialect import ErrorText, Mark
from masa_node.dialects.fields import ABSENT, TEXT, Tokens, error_inside, is_given, message_in, read
from masa_node.dialects.framing import event_of
from masa_node.dialects.openai import OpenAi

_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})


class _Response(msgspec.Struct):
    output: msgspec.Raw = ABSENT
    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    type: msgspec.Raw = ABSENT
    response: msgspec.Raw = ABSENT
    message: msgspec.Raw = ABSENT


class _Usage(msgspec.Struct):
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None


_RESPONSE = msgspec.json.Decoder(_Response)
_USAGE = msgspec.json.Decoder(_Usage)


def _note_usage(response: _Response | None, usage: Usage) -> None:
    counts = read(response.usage, _USAGE) if response is not None else None
    if counts is not None:
        usage.input_tokens = counts.input_tokens
        usage.output_tokens = counts.output_tokens


class OpenAiResponses(OpenAi):
    """See the module."""

    name = DialectName.OPENAI_RESPONSES
    needs_end = True
    needs_finish = False

    def is_plain(self, frames: bytes) -> bool:
        """See `Dialect`. Never sure: the events have too many names, and looking costs 2 us."""
        del frames
        return False

    def mark(self, frame: bytes, usage: Usage) -> Mark:
        """See `Dialect`."""
        event, data = event_of(frame)
        if not data:
            return Mark.NOISE
        fields = read(data, _RESPONSE)
        kind = read(fields.type, TEXT) if fields is not None else None
        if event == b"error" or kind == "error" or (fields is not None and kind is None and is_given(fields.error)):
            return Mark.ERROR
        if fields is None or kind is None:
            return Mark.ALIEN
        if kind in _ENDS:
            _note_usage(read(fields.response, _RESPONSE), usage)
            return Mark.END
        return Mark.PIECE

    def fault_of_whole(self, body: bytes, usage: Usage) -> str | None:
        """See `Dialect`."""
        response = read(body, _RESPONSE)
        if response is None:
            return "the body is not a JSON object"
        if is_given(response.output):
            _note_usage(response, usage)
            return None
        if is_given(response.error):
            return error_inside(response.error)
        return "the body has no `output`"

    def error_message(self, body: bytes) -> str | None:
        """See `Dialect`."""
        fields = read(body, _RESPONSE)
        return message_in(fields.error) or read(fields.message, TEXT) if fields is not None else None

    def error_frame(self, error: ErrorText) -> bytes:
        """See `Dialect`."""
        fields = {"type": "error", "code": error.code, "message": error.message, "param": None, "sequence_number": 0}
        return b"event: error\ndata: " + msgspec.json.encode(fields) + b"\n\n"
