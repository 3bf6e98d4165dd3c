"""What OpenAI's other endpoints answer: an object of any shape, a stream of events, a sound, a text.

Nothing in them is looked at but what tells a whole answer from an error or a cut. Streams end with an event that is
called `...completed` or `...done`, or as chat completions do (vLLM's transcriptions).
"""

import re

import msgspec

from masa_node.chat.answer import Usage
from masa_node.chat.request import DialectName
from masa_node.dialects.choices import Choices
from masa_node.dialects.dialect import Mark, mark_of_other
from masa_node.dialects.faults import error_status, is_bare_error, no_answer
from masa_node.dialects.fields import ABSENT, LIST, TEXT, TOKENS, is_error, is_given, read
from masa_node.dialects.formats.openai import OpenAi, mark_of_choices, mark_without_answer
from masa_node.dialects.framing import event_of

_ENDS = (".completed", ".done")
_JSON_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*+[\[{]")
_STAGE_DIRECTION = re.compile(rb"\s*\[[A-Za-z][A-Za-z _-]*\]")  # how transcripts begin: [BLANK_AUDIO], [Music]
_LOOKED_AT_BYTES = 4_096
_FAILED = frozenset({"error", "response.failed"})


class _Envelope(msgspec.Struct):
    type: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    choices: msgspec.Raw = ABSENT
    usage: msgspec.Raw = ABSENT
    input_tokens: msgspec.Raw = ABSENT


class _Usage(msgspec.Struct):
    prompt_tokens: msgspec.Raw = ABSENT
    completion_tokens: msgspec.Raw = ABSENT
    input_tokens: msgspec.Raw = ABSENT
    output_tokens: msgspec.Raw = ABSENT
    total_tokens: msgspec.Raw = ABSENT


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_NOT_AN_OBJECT = _Envelope()
_USAGE = msgspec.json.Decoder(_Usage)


def _note_usage(raw: msgspec.Raw, usage: Usage) -> None:
    """Pictures, sounds and transcripts have the names of responses; a rerank may have a sum alone, all of it read."""
    counts = read(raw, _USAGE)
    if counts is None:
        return
    given = _first(counts.prompt_tokens, counts.input_tokens)
    made = _first(counts.completion_tokens, counts.output_tokens)
    usage.note(read(counts.total_tokens, TOKENS) if given is None and made is None else given, made)


def _first(*raws: msgspec.Raw) -> int | None:
    counts = (read(raw, TOKENS) for raw in raws)
    return next((count for count in counts if count is not None), None)


def is_bytes(body: bytes) -> bool:
    """Is this a sound or a text, by its beginning? Else it should be JSON."""
    if b"\0" in body[:_LOOKED_AT_BYTES]:
        return True
    return not _JSON_START.match(body) or bool(_STAGE_DIRECTION.match(body))


class OpenAiMedia(OpenAi):
    """See the module; errors are as in chat completions. With `takes_bytes` a whole answer may be a sound or a text."""

    needs_finish = False

    def __init__(self, name: DialectName, *, takes_bytes: bool) -> None:
        self.name = name
        self._takes_bytes = takes_bytes

    def plain_frames(self, frames: bytes) -> int:
        """See `Dialect`. Events are few and large."""
        del frames
        return 0

    def mark(self, frame: bytes, usage: Usage, choices: Choices | None = None) -> Mark:
        """See `Dialect`."""
        event, data = event_of(frame)
        data = data.strip()
        envelope = read(data, _ENVELOPE) or _NOT_AN_OBJECT
        mark = mark_without_answer(event, data, None if envelope is _NOT_AN_OBJECT else envelope.error)
        if mark is not None:
            return mark
        _note_usage(envelope.usage, usage)
        if is_given(envelope.choices):
            return mark_of_choices(envelope.choices, choices)
        return _mark_of_event(read(envelope.type, TEXT) or event.decode("utf-8", "replace"), event, data, choices)

    def fault_of_whole(self, body: bytes, usage: Usage, choices: Choices | None = None) -> str | None:
        """See `Dialect`."""
        del choices  # there are none, or all are here
        if self._takes_bytes and is_bytes(body):
            return None if body else no_answer(body, "the body is empty")
        envelope = read(body, _ENVELOPE)
        if envelope is None:
            listed = read(body, LIST)  # as some rerank servers answer
            is_answer = bool(listed) and error_status(body) is None and not is_bare_error(body)
            return None if is_answer else no_answer(body, "the body is not a JSON object")
        if is_error(envelope.error) or is_bare_error(body):
            return no_answer(body, "the body is an error")
        _note_usage(envelope.usage, usage)
        return None


def _mark_of_event(kind: str, event: bytes, data: bytes, choices: Choices | None) -> Mark:
    other = mark_of_other(event, data, is_ours=True)
    if kind in _FAILED or other in (Mark.OVERLOOKED, Mark.NOISE):
        return Mark.ERROR if kind in _FAILED else other
    noted = choices or Choices()
    if kind.endswith(_ENDS):
        noted.ended(0)
        return Mark.FINISH
    noted.seen(0, is_told=True)
    return Mark.PIECE
