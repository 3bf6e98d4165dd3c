"""OpenAI's chat completions, as OpenAI and the many compatible servers speak them (llama.cpp, vLLM, Ollama, ...).

Traps (REAL-WORLD: servers): `[DONE]` without any finish_reason is a cut stream; transformers never sends `[DONE]`;
a first chunk may hold only a role; middle chunks may lack the finish_reason key.
"""

import re

import msgspec

from masa_node.chat.answer import Usage
from masa_node.chat.ask import DialectName
from masa_node.dialects.dialect import ErrorText, Mark
from masa_node.dialects.fields import ABSENT, TEXT, Tokens, error_inside, is_given, message_in, read
from masa_node.dialects.framing import SSE, event_of

# Inside a JSON string the quotes would be escaped, so these cannot match a model's words.
# An empty reason is none: some servers have one in every chunk.
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"[^"]')
_UNFINISHED = re.compile(rb'"finish_reason"\s*:\s*null')
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_DONE = b"[DONE]"

_ERROR_TYPE = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
}
_TOO_MANY = 429
_SERVER_FAULT = 500


class _Envelope(msgspec.Struct):
    choices: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    usage: msgspec.Raw = ABSENT
    object: msgspec.Raw = ABSENT
    data: msgspec.Raw = ABSENT
    message: msgspec.Raw = ABSENT


class _Usage(msgspec.Struct):
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_USAGE_DECODER = msgspec.json.Decoder(_Usage)


def note_usage(raw: msgspec.Raw, usage: Usage) -> None:
    """Write OpenAI's token counts, where given, into `usage`."""
    counts = read(raw, _USAGE_DECODER)
    if counts is not None:
        usage.input_tokens = counts.prompt_tokens
        usage.output_tokens = counts.completion_tokens


class OpenAi:
    """See the module."""

    name = DialectName.OPENAI
    framing = SSE
    needs_end = False
    needs_finish = True
    end_is_piece = False

    def is_plain(self, frames: bytes) -> bool:
        """See `Dialect`."""
        if _DONE in frames or b"error" in frames or b"\n:" in frames or frames.startswith(b":"):
            return False
        if frames.count(b'finish_reason"') != frames.count(b'finish_reason":null') and _FINISH.search(frames):
            return False
        return b'"usage"' not in frames or not _USAGE.search(frames)

    def mark(self, frame: bytes, usage: Usage) -> Mark:
        """See `Dialect`."""
        event, data = event_of(frame)
        if not data:
            return Mark.NOISE
        if data.strip() == _DONE:
            return Mark.END
        envelope = read(data, _ENVELOPE)
        if event == b"error" or (envelope is not None and is_given(envelope.error)):
            return Mark.ERROR
        if envelope is None or not (is_given(envelope.choices) or is_given(envelope.object)):
            return Mark.ALIEN
        if is_given(envelope.usage):
            note_usage(envelope.usage, usage)
        return Mark.FINISH if _FINISH.search(data) else Mark.PIECE

    def fault_of_whole(self, body: bytes, usage: Usage) -> str | None:
        """See `Dialect`."""
        envelope = read(body, _ENVELOPE)
        if envelope is None:
            return "the body is not a JSON object"
        if is_given(envelope.error):
            return error_inside(envelope.error)
        if not (is_given(envelope.choices) or is_given(envelope.data)):
            return "the body has no `choices` (nor `data`, as embeddings have)"
        if _UNFINISHED.search(body) and not _FINISH.search(body):
            return "no finish_reason says why it stopped, so the answer was cut"
        note_usage(envelope.usage, usage)
        return None

    def error_message(self, body: bytes) -> str | None:
        """See `Dialect`. Older vLLM and llama.cpp's `error:` lines give the message without an `error` around it."""
        envelope = read(body, _ENVELOPE)
        return message_in(envelope.error) or read(envelope.message, TEXT) if envelope is not None else None

    def error_body(self, error: ErrorText) -> bytes:
        """See `Dialect`."""
        if error.status >= _SERVER_FAULT:
            kind = "server_error"
        elif error.status == _TOO_MANY:
            kind = "rate_limit_error"
        else:
            kind = _ERROR_TYPE.get(error.status, "invalid_request_error")
        return msgspec.json.encode(
            {"error": {"message": error.message, "type": kind, "param": None, "code": error.code}}
        )

    def error_frame(self, error: ErrorText) -> bytes:
        """See `Dialect`."""
        return b"data: " + self.error_body(error) + b"\n\n"
