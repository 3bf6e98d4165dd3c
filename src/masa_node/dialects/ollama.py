"""Ollama's own API: newline-delimited JSON that ends with `"done": true`.

A blank line crashes ollama-python (REAL-WORLD: clients), so nothing here ever makes one.
"""

import re

import msgspec

from masa_node.chat.answer import Usage
from masa_node.chat.ask import DialectName
from masa_node.dialects.dialect import ErrorText, Mark
from masa_node.dialects.fields import ABSENT, Tokens, error_inside, is_given, message_in, read
from masa_node.dialects.framing import NDJSON

_DONE = re.compile(rb'"done"\s*:\s*true')


class _Envelope(msgspec.Struct):
    error: msgspec.Raw = ABSENT
    done: msgspec.Raw = ABSENT
    message: msgspec.Raw = ABSENT
    response: msgspec.Raw = ABSENT
    prompt_eval_count: msgspec.Raw = ABSENT
    eval_count: msgspec.Raw = ABSENT


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_COUNT: msgspec.json.Decoder[int] = msgspec.json.Decoder(Tokens)


def _note_usage(envelope: _Envelope, usage: Usage) -> None:
    usage.input_tokens = read(envelope.prompt_eval_count, _COUNT)
    usage.output_tokens = read(envelope.eval_count, _COUNT)


def _is_part(envelope: _Envelope) -> bool:
    return is_given(envelope.message) or is_given(envelope.response) or is_given(envelope.done)


class Ollama:
    """See the module."""

    name = DialectName.OLLAMA
    framing = NDJSON
    needs_end = True
    needs_finish = False
    end_is_piece = True

    def is_plain(self, frames: bytes) -> bool:
        """See `Dialect`."""
        return not (b'"error"' in frames or _DONE.search(frames))

    def mark(self, frame: bytes, usage: Usage) -> Mark:
        """See `Dialect`."""
        if not frame.strip():
            return Mark.NOISE
        envelope = read(frame, _ENVELOPE)
        if envelope is None:
            return Mark.ALIEN
        if is_given(envelope.error):
            return Mark.ERROR
        if not _is_part(envelope):
            return Mark.ALIEN
        if bytes(envelope.done) != b"true":
            return Mark.PIECE
        _note_usage(envelope, usage)
        return Mark.END

    def fault_of_whole(self, body: bytes, usage: Usage) -> str | None:
        """See `Dialect`."""
        envelope = read(body, _ENVELOPE)
        if envelope is None:
            return "the body is not a JSON object"
        if is_given(envelope.error):
            return error_inside(envelope.error)
        if bytes(envelope.done) == b"false":
            return "it is not done, so the answer was cut"
        _note_usage(envelope, usage)
        return None

    def error_message(self, body: bytes) -> str | None:
        """See `Dialect`."""
        envelope = read(body, _ENVELOPE)
        return message_in(envelope.error) if envelope is not None else None

    def error_body(self, error: ErrorText) -> bytes:
        """See `Dialect`."""
        return msgspec.json.encode({"error": error.message})

    def error_frame(self, error: ErrorText) -> bytes:
        """See `Dialect`."""
        return self.error_body(error) + b"\n"
