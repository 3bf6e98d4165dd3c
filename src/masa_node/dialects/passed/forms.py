"""Requests that come as a form with a file in it (multipart/form-data): which model one is for. Pure.

A form is read as strictly as RFC 7578 and 2046 write it. What readers could take in two ways is refused: it might be
for another model than the one that was looked up. Files are not looked into.
"""

import re

import msgspec

from masa_node.chat.errors import BadModel, CallerError
from masa_node.chat.request import FORM_ENDPOINTS, Endpoint, Headers
from masa_node.dialects.bodies.glance import find_fast
from masa_node.dialects.bodies.peek import MAX_MODEL_CHARS, Peeked, check_model

FORM_TYPE = "multipart/form-data"
MAX_FORM_PARTS = 128  # the longest known API has about twenty fields; images may be several
_MAX_HEAD_BYTES = 2_048  # of one part: a file's name, and its type
_MAX_VALUE_BYTES = 4 * MAX_MODEL_CHARS
_PARAMETER = re.compile(r';\s*([A-Za-z0-9*]+)\s*=\s*(?:"([^"\\\r\n]*)"|([A-Za-z0-9\'()+_,./:=?-]+))\s*')
_BOUNDARY = re.compile(r"[A-Za-z0-9'()+_,./:=? -]{0,69}[A-Za-z0-9'()+_,./:=?-]")  # RFC 2046, 5.1.1
_DISPOSITION = re.compile(
    rb'form-data((?:\s*;\s*(?:name|filename|filename\*)=(?:"(?:[^"\\\r\n]|\\[^\r\n])*"|[^\s;"]+))+)\s*', re.IGNORECASE
)
_NAMED = re.compile(rb'(?:\A|[;\s])(name|filename|filename\*)=("(?:[^"\\]|\\.)*"|[^\s;"]+)', re.IGNORECASE)
_PLAIN_ENCODINGS = frozenset({b"7bit", b"8bit", b"binary"})
_CHARSETS = frozenset({b"utf-8", b"utf8", b"us-ascii"})
# In which ASCII reads the same. Apache's HttpClient names the first for each text, whatever is in it.
_LIKE_ASCII = frozenset({b"iso-8859-1", b"iso8859-1", b"latin1", b"iso-8859-15", b"windows-1252", b"cp1252"})
_CHARSET = re.compile(rb'charset[*0-9]*\s*=\s*"?([^";\s]*)', re.IGNORECASE)
_TRUE = frozenset({b"true", b"1", b"on", b"yes", b"t", b"y"})  # what pydantic takes for it
_LINE = b"\r\n"
_BEFORE = re.compile(rb"(?:\r\n){0,8}")  # a preamble of blank lines, as some phones' programs begin a form with
_OF_ALL = b"_charset_"  # the field that names the charset of all others (RFC 7578, 4.6)
_DECIDING = frozenset({b"model", b"stream", _OF_ALL})


class _Part(msgspec.Struct, frozen=True):
    """One field that decides, and where its value stands."""

    name: bytes
    start: int
    end: int


def form_type(headers: Headers, endpoint: Endpoint) -> str:
    """The media type of the body, with its boundary, if it is a form at an endpoint that takes one; else ""."""
    if endpoint not in FORM_ENDPOINTS:
        return ""
    types = [value for name, value in headers if name == "content-type"]
    return types[0] if len(types) == 1 and types[0].partition(";")[0].strip().lower() == FORM_TYPE else ""


def peek_form(body: bytes, media_type: str) -> Peeked:
    """The model's name and whether a stream is asked for. Raises `BadModel`, `CallerError`."""
    parts = _deciding_parts(body, media_type)
    model = _one(body, parts, b"model")
    stream = _one(body, parts, b"stream") or b""
    if (charset := _one(body, parts, _OF_ALL)) is not None:
        _check_charset(charset, (model or b"") + stream)
    if model is None:
        raise BadModel("The form has no field `model`. Add one; GET /api/v1/llm/models lists the ids.")
    try:
        return Peeked(check_model(model.decode()), stream.strip().lower() in _TRUE)
    except UnicodeDecodeError as exc:
        raise BadModel("The model's name in the form is not UTF-8.") from exc


def form_renamed(body: bytes, media_type: str, model: str) -> bytes:
    """This form, which `peek_form` has read, asking for this model: nothing but the name is replaced."""
    pieces: list[bytes | memoryview] = []
    uncopied, kept_to = memoryview(body), 0
    for part in _deciding_parts(body, media_type):
        if part.name == b"model":
            pieces += [uncopied[kept_to : part.start], model.encode()]
            kept_to = part.end
    return b"".join([*pieces, uncopied[kept_to:]])


def _one(body: bytes, parts: list[_Part], name: bytes) -> bytes | None:
    values = {body[part.start : part.end] for part in parts if part.name == name}
    if len(values) > 1:
        raise CallerError(
            f"The form has the field `{name.decode()}` several times, with different values. Send it once."
        )
    return values.pop() if values else None


def _deciding_parts(body: bytes, media_type: str) -> list[_Part]:
    boundary, charsets = _read_type(media_type)
    dashes = b"--" + boundary
    before = _BEFORE.match(body)
    begin = before.end() if before is not None else 0
    if not body.startswith(dashes, begin):
        raise CallerError("The form does not begin with the boundary that its Content-Type names.")
    spans = _spans(body, dashes, begin)
    if _count(body, dashes, len(spans) + 2) != len(spans) + 1:
        raise CallerError("The form's boundary stands where no part begins. Choose one that is not in the data.")
    parts = [part for part in [_part(body, start, end) for start, end in spans] if part is not None]
    for charset in charsets:
        _check_charset(charset, b"".join([body[part.start : part.end] for part in parts]))
    return parts


def _count(body: bytes, sought: bytes, most: int) -> int:
    """How often it is there; `most` times at most."""
    count, at = 0, find_fast(body, sought)
    while at >= 0 and count < most:
        count, at = count + 1, find_fast(body, sought, at + len(sought))
    return count


def _read_type(media_type: str) -> tuple[bytes, list[bytes]]:
    """The boundary, and the charsets that are named beside it; b"" for one that cannot be read."""
    _, semicolon, rest = media_type.rstrip("; \t").partition(";")
    matches = list(_PARAMETER.finditer(semicolon + rest))
    named = [(match[1].lower(), match[2] if match[2] is not None else match[3]) for match in matches]
    found = [value for name, value in named if name == "boundary"]
    is_read = "".join(match[0] for match in matches) == semicolon + rest
    if not is_read or len(found) != 1 or not _BOUNDARY.fullmatch(found[0]):
        raise CallerError("The form's Content-Type names no usable boundary.")
    charsets = [b"" if "*" in name else value.encode() for name, value in named if "*" in name or name == "charset"]
    return found[0].encode(), charsets


def _check_charset(name: bytes, value: bytes) -> None:
    """Could this value be read in two ways, where such a charset is named?"""
    if name.lower() not in _CHARSETS and not (name.lower() in _LIKE_ASCII and value.isascii()):
        raise CallerError("The form names another charset than UTF-8: in that it could be read otherwise.")


def _spans(body: bytes, dashes: bytes, begin: int) -> list[tuple[int, int]]:
    """Where each part begins, behind the line of its boundary, and ends. The first boundary is at `begin`."""
    spans: list[tuple[int, int]] = []
    delimiter = _LINE + dashes
    at = begin + len(dashes)
    while True:
        if body[at : at + 2] == b"--":
            if body[at + 2 :].strip(b" \t\r\n"):
                raise CallerError("The form goes on behind its end.")
            return spans
        if body[at : at + 2] != _LINE:
            raise CallerError("A line with the form's boundary holds something else, too, or does not end with CRLF.")
        if len(spans) == MAX_FORM_PARTS:
            raise CallerError(f"The form has more than {MAX_FORM_PARTS} parts.")
        # The delimiter's CRLF may be the line's own: the part is empty then, without so much as a head.
        end = find_fast(body, delimiter, at)
        if end < 0:
            raise CallerError("The form does not end with its boundary, so it was cut.")
        spans.append((at + 2, max(end, at + 2)))
        at = end + len(delimiter)


def _part(body: bytes, start: int, end: int) -> _Part | None:
    """None for a part that decides nothing. Raises `CallerError` where that is not clear."""
    head_end = body.find(_LINE + _LINE, start, min(end, start + _MAX_HEAD_BYTES))
    if head_end < 0:
        raise CallerError(f"A part of the form has no head of at most {_MAX_HEAD_BYTES} bytes.")
    headers = _headers(body[start:head_end])
    match = _DISPOSITION.fullmatch(headers.get(b"content-disposition", b""))
    named = [(name.lower(), value) for name, value in _NAMED.findall(match[1])] if match is not None else []
    names = [value.strip(b'"') for name, value in named if name == b"name"]
    if len(names) != 1 or b"\\" in names[0]:
        raise CallerError("A part of the form has no name, or none that every reader takes alike.")
    name = names[0]
    if name not in _DECIDING:
        return None
    is_plain = headers.get(b"content-transfer-encoding", b"binary").lower() in _PLAIN_ENCODINGS
    start = head_end + 2 * len(_LINE)
    if len(named) > 1 or not is_plain or end - start > _MAX_VALUE_BYTES:
        raise CallerError(f"The form's field `{name.decode()}` is a file, is encoded, or is too long.")
    for charset in _CHARSET.findall(headers.get(b"content-type", b"")):  # some servers read each part by its own
        _check_charset(charset, body[start:end])
    return _Part(name, start, end)


def _headers(head: bytes) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for line in head.split(_LINE):
        name, colon, value = line.partition(b":")
        key = name.lower()
        if not colon or name != name.strip() or not name or key in headers or b"\n" in line or b"\r" in line:
            raise CallerError("The head of a part of the form is malformed.")
        headers[key] = value.strip()
    return headers
