"""Asks an OpenAI stream for its token counts, where the caller does not: no other byte of the body is touched. Pure."""

from masa_node.chat.request import Endpoint
from masa_node.dialects.bodies.glance import STREAM_OPTIONS, changed
from masa_node.dialects.bodies.peek import FIELDS_PER_STEP, value_at
from masa_node.dialects.condensing import MAX_PARTS, Steps, spans_of

WITH_STREAM_OPTIONS = frozenset({Endpoint.OPENAI_CHAT, Endpoint.OPENAI_COMPLETIONS})

_NAMES = frozenset({"stream_options"})
_ASKED = b'"include_usage":true'
_FIELD = b'"stream_options":{%s}' % _ASKED
_MAX_OPTIONS_BYTES = 4096  # there are two, of some twenty bytes; a longer one is left as it is


def asking_usage(body: bytes) -> Steps[bytes]:
    """This body, a JSON object that `peek` has read, with `stream_options.include_usage`.

    It comes back as it was where it says anything about that itself, also that it does not want it.
    """
    return changed(body, (STREAM_OPTIONS,), _asking)


def _asking(body: bytes) -> Steps[bytes]:
    spans = (yield from spans_of(body, 2 * MAX_PARTS)) or []
    for number, (begin, end) in enumerate(spans, 1):
        if not number % FIELDS_PER_STEP:
            yield
        start = yield from value_at(body, begin, _NAMES)
        if start < len(body):
            return body[:start] + _with_usage(body[start:end]) + body[end:]
    last = body.rfind(b"}")
    return body if not spans or last < 0 else body[:last] + b"," + _FIELD + body[last:]


def _with_usage(value: bytes) -> bytes:
    text = value.rstrip()
    if text == b"null":
        return b"{%s}" % _ASKED + value[len(text) :]
    if not text.startswith(b"{") or len(text) > _MAX_OPTIONS_BYTES or b"usage" in text.lower() or b"\\u" in text:
        return value
    rest = text[1:].lstrip()
    return b"{" + _ASKED + (b"" if rest == b"}" else b",") + rest + value[len(text) :]
