"""The one lenient reader of other people's JSON: what has another type than expected is as if it were absent.

It takes what Python's and JavaScript's readers take, and so what the vendors' SDKs take: a byte order mark, NaN and
Infinity, halves of emojis.
"""

import json
from typing import Annotated, TypeVar

import msgspec

from masa_node.dialects.condensing import Steps, at_once
from masa_node.dialects.halves import without_halves

T = TypeVar("T")

# What decoding bytes of a stranger raises; RecursionError at about a thousand brackets within each other.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

# A number of tokens; more than a float holds exactly is a lie, and breaks sums.
MAX_TOKENS = 2**53
Tokens = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]

BOM = b"\xef\xbb\xbf"
_NO_NUMBERS = (b"-NaN", b"NaN", b"-Infinity", b"Infinity")
# Signs that no JSON holds, for the two escapes that would be taken for the end of a text.
_BACKSLASH, _QUOTE = b"\0\1", b"\0\2"

ABSENT = msgspec.Raw(b"")
_ANYTHING = msgspec.json.Decoder(msgspec.Raw)
NULL = b"null"
RAW_NULL = msgspec.Raw(NULL)  # compared ten times as fast as its bytes are made
# What servers write where they have nothing to say.
_EMPTY = frozenset({b"", NULL, b'""', b"{}", b"[]", b"false", b"0"})
NULL_TEXT = "null"  # of KoboldCpp and Ai00, with each piece
_NO_REASON = frozenset({b"", NULL, b'""', b"false", b'"null"'})
_LONGEST_EMPTY = 16  # with spaces inside
# What relays write into the fields of an `error` beside a good answer, with quotes or without.
_ALL_IS_WELL = frozenset({b"0", b"200", b"ok", b"success"})
_MOST_WELL_BYTES = 4096  # what says more than that says that something is wrong
MAX_WIDE_BYTES = 1024 * 1024  # of an answer in UTF-16: 3 ms


def is_given(raw: msgspec.Raw) -> bool:
    """Is the field there, and not null?"""
    return raw not in (ABSENT, RAW_NULL)


def is_empty(raw: msgspec.Raw) -> bool:
    """Does the field say nothing: absent, null, "", {}, [], false, 0?"""
    value = bytes(raw)
    if value in _EMPTY:
        return True
    return len(value) <= _LONGEST_EMPTY and value.startswith((b"{", b"[")) and b"".join(value.split()) in _EMPTY


def is_reason(raw: msgspec.Raw) -> bool:
    """Does this say why an answer stopped? Whatever it is, SDKs take it for that, but for what is said before."""
    return bytes(raw) not in _NO_REASON


def decode(raw: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T]) -> T:
    """The value, read as leniently as SDKs do. Raises `UNREADABLE`."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        mended = mend(bytes(raw))
        if mended is None:
            raise
        return decoder.decode(mended)


def is_json(raw: bytes) -> bool:
    """Do SDKs read this at all?"""
    return read(raw, _ANYTHING) is not None


def may_be_odd(raw: bytes) -> bool:
    """Is there anything in these bytes that `mend` may have to change? Cheap."""
    return b"NaN" in raw or b"Infinity" in raw or b"\\u" in raw


def in_utf8(raw: bytes) -> bytes:
    """The same JSON in UTF-8, if it is not large: servers on Windows write UTF-16, and SDKs read it."""
    encoding = json.detect_encoding(raw)
    if encoding.startswith("utf-8") or len(raw) > MAX_WIDE_BYTES:
        return raw
    try:
        return raw.decode(encoding).encode()
    except UnicodeDecodeError:  # to mend each fault takes a hundred times as long
        return raw


def strict(raw: bytes) -> Steps[bytes]:
    """The same as strict JSON, so that nobody has to mend it again; as it is where it is no JSON."""
    try:
        _ANYTHING.decode(raw)
    except UNREADABLE:
        yield
        return (yield from _mended(raw))
    return raw


def mend(raw: bytes) -> bytes | None:
    """The same as strict JSON: no BOM, halves of emojis as U+FFFD, NaN and Infinity as null; None if nothing is to do.

    JavaScript writes half an emoji when it cuts a text, Python the numbers; msgspec takes neither.
    """
    mended = at_once(_mended(raw))
    return mended if mended != raw else None


def _mended(raw: bytes) -> Steps[bytes]:
    mended = raw.removeprefix(BOM)
    if b"\\u" in mended:
        mended = without_halves(mended)
        yield
    if b"NaN" in mended or b"Infinity" in mended:
        mended = yield from _with_null_for_no_number(mended)
    return mended


def _with_null_for_no_number(raw: bytes) -> Steps[bytes]:
    """All texts at once: to look at each of a hundred thousand by itself takes a tenth of a second."""
    if b"\0" in raw:
        return raw
    parts = raw.replace(rb"\\", _BACKSLASH).replace(rb"\"", _QUOTE).split(b'"')
    yield
    between = b'"'.join(parts[::2])
    for number in _NO_NUMBERS:
        between = between.replace(number, NULL)
    parts[::2] = between.split(b'"')
    yield
    return b'"'.join(parts).replace(_QUOTE, rb"\"").replace(_BACKSLASH, rb"\\")


def read(raw: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T]) -> T | None:
    """The value, or None where the bytes are absent, of another type, or nested without end."""
    if raw is ABSENT:  # most fields of most frames are
        return None
    try:
        return decode(raw, decoder)
    except UNREADABLE:
        return None


TEXT = msgspec.json.Decoder(str)
TOKENS: msgspec.json.Decoder[int] = msgspec.json.Decoder(Tokens)
LIST = msgspec.json.Decoder(list[msgspec.Raw])
FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class ErrorDetail(msgspec.Struct):
    """`{"message": ...}`: what most dialects put under `error`."""

    message: msgspec.Raw = ABSENT


ERROR_DETAIL = msgspec.json.Decoder(ErrorDetail)


def is_error(error: msgspec.Raw) -> bool:
    """Does an `error` field tell of an error? Some servers put an empty one beside each good answer."""
    if is_empty(error):
        return False
    fields = read(error, FIELDS) if len(bytes(error)) <= _MOST_WELL_BYTES else None
    return fields is None or not all(map(_is_all_well, fields.values()))


def _is_all_well(raw: msgspec.Raw) -> bool:
    return is_empty(raw) or bytes(raw).strip(b'" ').lower() in _ALL_IS_WELL


def message_in(error: msgspec.Raw) -> str | None:
    """The text of an `error` field that is a string or an object with a message."""
    text = read(error, TEXT)
    if text is not None:
        return text
    detail = read(error, ERROR_DETAIL)
    return read(detail.message, TEXT) if detail is not None else None


def error_inside(error: msgspec.Raw) -> str:
    """Why a body with a success status and this `error` field is no answer, in words for its reader."""
    return f"a success status with an error inside: {message_in(error) or 'no message'}"
