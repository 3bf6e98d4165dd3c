"""Asks an OpenAI stream for its token counts, where the caller does not: no other byte of the body is touched. Pure."""

import re

from masa_node.chat.request import Endpoint
from masa_node.dialects.bodies.glance import STREAM_OPTIONS, changed
from masa_node.dialects.condensing import MAX_PARTS, Steps, end_of_text, spans_of
from masa_node.dialects.fields import TEXT, read

WITH_STREAM_OPTIONS = frozenset({Endpoint.OPENAI_CHAT, Endpoint.OPENAI_COMPLETIONS})

_NAME = "stream_options"
_ASKED = b'"include_usage":true'
_FIELD = b'"%s":{%s}' % (_NAME.encode(), _ASKED)
_LONGEST_KEY_BYTES = 6 * len(_NAME) + 2  # each letter written as an escape
_MAX_OPTIONS_BYTES = 4096  # there are two, of some twenty bytes; a longer one is left as it is
_FIELDS_PER_STEP = 1_000
_SPACES = re.compile(rb"[ \t\n\r]{0,4096}+")
_COLON = re.compile(rb"[ \t\n\r]{0,4096}+:[ \t\n\r]{0,4096}+")


def asking_usage(body: bytes) -> Steps[bytes]:
    """This body, a JSON object that `peek` has read, with `stream_options.include_usage`.

    It comes back as it was where it says anything about that itself, also that it does not want it.
    """
    return changed(body, (STREAM_OPTIONS,), _asking)


def _asking(body: bytes) -> Steps[bytes]:
    spans = (yield from spans_of(body, 2 * MAX_PARTS)) or []
    for number, (begin, end) in enumerate(spans, 1):
        if not number % _FIELDS_PER_STEP:
            yield
        value_at = yield from _value_of_options(body, begin, end)
        if value_at is not None:
            return body[:value_at] + _with_usage(body[value_at:end]) + body[end:]
    last = body.rfind(b"}")
    return body if not spans or last < 0 else body[:last] + b"," + _FIELD + body[last:]


def _value_of_options(body: bytes, begin: int, end: int) -> Steps[int | None]:
    """Where the value of this field begins, if it is the one; however its name is written."""
    key_at = _end(_SPACES, body, begin)
    key_end = yield from end_of_text(body, key_at)
    is_long = key_end - key_at > _LONGEST_KEY_BYTES
    if is_long or (read(body[key_at:key_end], TEXT) or "").casefold() != _NAME:
        return None
    colon = _COLON.match(body, key_end, end)
    return colon.end() if colon is not None else end


def _with_usage(value: bytes) -> bytes:
    text = value.rstrip()
    if text == b"null":
        return b"{%s}" % _ASKED + value[len(text) :]
    if not text.startswith(b"{") or len(text) > _MAX_OPTIONS_BYTES or b"usage" in text.lower() or b"\\u" in text:
        return value
    rest = text[1:].lstrip()
    return b"{" + _ASKED + (b"" if rest == b"}" else b",") + rest + value[len(text) :]


def _end(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    match = pattern.match(data, at)
    return match.end() if match is not None else at
