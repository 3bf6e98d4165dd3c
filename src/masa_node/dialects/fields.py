"""Lenient reading of single fields out of JSON: what has another type than expected is as if it were absent."""

from typing import TypeVar

import msgspec

T = TypeVar("T")

ABSENT = msgspec.Raw(b"")
NULL = b"null"


def is_given(raw: msgspec.Raw) -> bool:
    """Is the field there, and not null?"""
    return bytes(raw) not in (b"", NULL)


def read(raw: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T]) -> T | None:
    """The value, or None where the bytes are absent or of another type."""
    try:
        return decoder.decode(raw)
    except msgspec.DecodeError:
        return None
    except UnicodeDecodeError:
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
