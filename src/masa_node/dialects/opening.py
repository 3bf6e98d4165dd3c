"""What a body is, by its first bytes: a stream of frames, or one whole answer. Labels are often wrong, bytes never."""

import re
from enum import Enum

from masa_node.chat.answer import Usage
from masa_node.dialects.dialect import Dialect, Mark
from masa_node.dialects.fields import BOM
from masa_node.dialects.framing import NDJSON

_LONGEST_LINE_BYTES = 64 * 1024  # that is waited for to be complete: a first line of a stream is below 1 kB
_SSE_LINE = re.compile(rb"(?::|(?:data|event|id|retry|error)(?:[: \r\n]|\Z))")
_SSE_FIELDS = (b"data", b"event", b"retry", b"error", b"id")
_WHOLE_STARTS = b"{[<"  # an object, a list (of errors), a page
_LINE = re.compile(rb"[^\r\n]+")
_DONE = re.compile(rb'"done"\s*+:\s*+(?!null)')

STREAM_TYPES = frozenset(
    {"text/event-stream", "application/x-ndjson", "application/ndjson", "application/jsonl", "application/stream+json"}
)
_WHOLE = frozenset({"application/json", "text/html", "application/problem+json"})
_MEDIA = ("audio/", "image/")


class Shape(Enum):
    """How a body has to be read."""

    STREAM = "frames"
    WHOLE = "one answer"


def is_streamed(content_type: str, *, wants_stream: bool) -> bool:
    """Is a body of this media type said to be a stream of frames, or one whole answer? Its bytes have the last word."""
    return content_type in STREAM_TYPES or (
        wants_stream and content_type not in _WHOLE and not content_type.startswith(_MEDIA)
    )


def shape_of(begun: bytes, dialect: Dialect, *, is_over: bool, is_stream: bool) -> Shape | None:
    """What begins with these bytes; None if more have to come. `is_stream` is what is said of it, for cases of doubt.

    `is_over`: nothing more will come.
    """
    said = Shape.STREAM if is_stream else Shape.WHOLE
    if dialect.framing is not NDJSON and begun.startswith((b"{", b"data: ")):  # nearly all
        return Shape.WHOLE if begun.startswith(b"{") else Shape.STREAM
    text = begun.removeprefix(BOM).lstrip()
    if not text or (BOM.startswith(text) and not is_over):
        return said if is_over or len(begun) > _LONGEST_LINE_BYTES else None
    if dialect.framing is NDJSON:
        return _shape_of_lines(text, dialect, said, is_over=is_over)
    if text[0] in _WHOLE_STARTS:
        return Shape.WHOLE
    if _SSE_LINE.match(text):
        return Shape.STREAM
    is_field = not is_over and any(field.startswith(text) for field in _SSE_FIELDS)
    return None if is_field else said


def _shape_of_lines(text: bytes, dialect: Dialect, said: Shape, *, is_over: bool) -> Shape | None:
    """By the first line that says anything; a whole answer of one line need not say that it is done."""
    is_one = False
    for match in _LINE.finditer(text):
        line = match[0]
        if is_one:
            return Shape.STREAM
        if match.end() == len(text) and not is_over:
            return said if len(line) > _LONGEST_LINE_BYTES else None
        mark = dialect.mark(line, Usage())
        if mark is Mark.ALIEN:  # the first line of an object that is spread over several
            return Shape.WHOLE if line[0] in _WHOLE_STARTS else said
        if mark in (Mark.PIECE, Mark.META):
            if said is Shape.STREAM or _DONE.search(line):
                return Shape.STREAM
            is_one = True
        elif mark is not Mark.NOISE:
            return Shape.WHOLE if line.startswith(b"[") else said
    return said if is_over or len(text) > _LONGEST_LINE_BYTES else None
