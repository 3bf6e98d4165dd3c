"""Ollama's own API: newline-delimited JSON that ends with `"done": true`.

A blank line crashes ollama-python, so nothing here ever makes one.
"""

import re

import msgspec

from masa_node.chat.answer import Usage
from masa_node.chat.request import DialectName
from masa_node.dialects.choices import Choices
from masa_node.dialects.dialect import Dialect, ErrorText, Mark, mark_of_other
from masa_node.dialects.faults import no_answer
from masa_node.dialects.fields import ABSENT, BOM, FIELDS, TOKENS, is_empty, is_error, is_given, read
from masa_node.dialects.framing import NDJSON

_DONE = re.compile(rb'"done"\s*:\s*(?!false|null)')
_IS_DONE = frozenset({b"true", b"1", b"1.0", b"yes", b"on", b"y", b"t"})  # as ollama-python reads it, in quotes or not


class _Envelope(msgspec.Struct):
    error: msgspec.Raw = ABSENT
    done: msgspec.Raw = ABSENT
    message: msgspec.Raw = ABSENT
    response: msgspec.Raw = ABSENT
    thinking: msgspec.Raw = ABSENT
    prompt_eval_count: msgspec.Raw = ABSENT
    eval_count: msgspec.Raw = ABSENT


_ENVELOPE = msgspec.json.Decoder(_Envelope)


class _Whole(_Envelope):
    """One of these is in every answer that is not streamed: of a chat, a text, embeddings, the facts of a model."""

    embeddings: msgspec.Raw = ABSENT
    embedding: msgspec.Raw = ABSENT
    model_info: msgspec.Raw = ABSENT
    details: msgspec.Raw = ABSENT
    modelfile: msgspec.Raw = ABSENT


_WHOLE = msgspec.json.Decoder(_Whole)


def _note_usage(envelope: _Envelope, usage: Usage) -> None:
    usage.input_tokens = read(envelope.prompt_eval_count, TOKENS)
    usage.output_tokens = read(envelope.eval_count, TOKENS)


def _has_words(envelope: _Envelope) -> bool:
    """The speaker's role is no part of what it says."""
    if not is_empty(envelope.response) or not is_empty(envelope.thinking):
        return True
    message = read(envelope.message, FIELDS)
    return message is not None and any(name != "role" and not is_empty(value) for name, value in message.items())


def _is_ours(envelope: _Envelope) -> bool:
    return bytes(envelope.message).startswith(b"{") or is_given(envelope.response) or is_given(envelope.done)


def _is_answer(whole: _Whole) -> bool:
    of_others = (whole.embeddings, whole.embedding, whole.model_info, whole.details, whole.modelfile)
    return _is_ours(whole) or any(bytes(field) for field in (whole.response, whole.done, *of_others))


class Ollama(Dialect):
    """See the module."""

    name = DialectName.OLLAMA
    framing = NDJSON
    end_is_piece = True

    def plain_frames(self, frames: bytes) -> int:
        """See `Dialect`."""
        count = frames.count(b"\n")
        if frames.count(b'"error"') or frames.count(b'"done"') != count:
            return 0
        return count if frames.count(b'"done":false') == count or not _DONE.search(frames) else 0

    def mark(self, frame: bytes, usage: Usage, choices: Choices | None = None) -> Mark:
        """See `Dialect`."""
        del choices  # there is always one
        line = frame.removeprefix(BOM).strip()
        if not line:
            return Mark.NOISE
        envelope = read(line, _ENVELOPE)
        if envelope is not None and is_error(envelope.error):
            return Mark.ERROR
        if envelope is None or not _is_ours(envelope):
            return mark_of_other(b"", line)
        if bytes(envelope.done).strip(b'"').lower() not in _IS_DONE:
            return Mark.PIECE if _has_words(envelope) else Mark.META
        _note_usage(envelope, usage)
        return Mark.END

    def fault_of_whole(self, body: bytes, usage: Usage, choices: Choices | None = None) -> str | None:
        """See `Dialect`."""
        del choices
        envelope = read(body, _WHOLE)
        if envelope is None:
            return no_answer(body, "the body is not a JSON object")
        if is_error(envelope.error) or not _is_answer(envelope):
            return no_answer(body, "the body has no `message` or `response` (nor `embeddings`)")
        if bytes(envelope.done) == b"false":
            return "it is not done, so the answer was cut"
        _note_usage(envelope, usage)
        return None

    def error_body(self, error: ErrorText) -> bytes:
        """See `Dialect`."""
        return msgspec.json.encode({"error": error.message})

    def error_frame(self, error: ErrorText) -> bytes:
        """See `Dialect`."""
        return self.error_body(error) + b"\n"
