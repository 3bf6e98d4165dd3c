"""Lenient reading of single fields out of JSON: what has another type than expected is as if it were absent."""

import re
from typing import Annotated, TypeVar

import msgspec

T = TypeVar("T")

# What decoding bytes of a stranger raises; RecursionError at about a thousand brackets within each other.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

# A number of tokens; more than a float holds exactly is a lie, and breaks those who add them up.
MAX_TOKENS = 2**53
Tokens = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")

ABSENT = msgspec.Raw(b"")
NULL = b"null"


def is_given(raw: msgspec.Raw) -> bool:
    """Is the field there, and not null?"""
    return bytes(raw) not in (b"", NULL)


def decode(raw: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T]) -> T:
    """The value. Half an emoji is no reason to refuse the rest: such escapes read as U+FFFD here.

    JavaScript writes them when it cuts a text, and LLM servers take them; msgspec alone does not. Raises `UNREADABLE`.
    """
    try:
        return decoder.decode(raw)
    except msgspec.DecodeError:
        mended = mend(bytes(raw))
        if mended is None:
            raise
        return decoder.decode(mended)


def mend(raw: bytes) -> bytes | None:
    """The same JSON with each half of an emoji as U+FFFD; None if there is no such escape."""
    mended, count = _SURROGATE.subn(rb"\\ufffd", raw)
    return mended if count else None


def read(raw: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T]) -> T | None:
    """The value, or None where the bytes are absent, of another type, or nested without end."""
    try:
        return decode(raw, decoder)
    except UNREADABLE:
        return None


TEXT = msgspec.json.Decoder(str)


class ErrorDetail(msgspec.Struct):
    """`{"message": ...}`: what most dialects put under `error`."""

    message: msgspec.Raw = ABSENT


ERROR_DETAIL = msgspec.json.Decoder(ErrorDetail)


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
