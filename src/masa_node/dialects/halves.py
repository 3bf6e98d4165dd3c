"""Characters of which a text has but a part: the other one is lost, or comes in the next piece of a stream. Pure.

JavaScript cuts a text between the two escapes of an emoji, and servers that send a token at a time cut it between its
bytes. msgspec reads neither. Here such parts are marked in the JSON, before it is read, and put together in its texts.
"""

import re
from codecs import getincrementaldecoder

_HIGH = rb"[dD][89abAB][0-9a-fA-F]{2}"
_LOW = rb"[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE = re.compile(rb"\\u(?:(%b)(?!\\u%b)|(?<!\\u%b\\u)(%b))" % (_HIGH, _LOW, _HIGH, _LOW))
_MARK_WRITTEN = re.compile(rb"\\u[fF][dD][dD][01]")
# Bytes of a character that is not whole, at the beginning of a text or at its end.
_AT_AN_END = re.compile(
    rb'(?<=")[\x80-\xbf]{1,3}|(?:[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})(?=")'
)
MAX_MARKS = 1_000  # of one frame, which has a text or two; a million of them would take half a second
_NO_ESCAPE = b"\0"  # for an escaped backslash, while escapes are looked for; no JSON holds it

# Two characters that Unicode keeps for uses like this: behind the one are four hexadecimal digits of half a pair of
# escapes, behind the other two of a byte.
_HALF, _BYTE = "\ufdd0", "\ufdd1"
_MARKS = (_HALF.encode(), _BYTE.encode())
_RUN = re.compile(f"(?:{_HALF}[0-9a-fA-F]{{4}})+|(?:{_BYTE}[0-9a-f]{{2}})+")
_HIGH_AT_END = re.compile(f"{_HALF}[dD][89abAB][0-9a-fA-F]{{2}}")
_BYTES_AT_END = re.compile(f"(?:{_BYTE}[0-9a-f]{{2}}){{1,3}}")
_HALF_CHARS, _BYTE_CHARS, _MOST_BYTES = 5, 3, 3


def has_halves(data: bytes) -> bool:
    """Is there a part of a character in this JSON, or in several texts of it? Cheap where there is none."""
    if not data.isascii() and not _is_utf8(data):
        return True
    if b"\\ud" not in data and b"\\uD" not in data:
        return False
    return _LONE.search(data.replace(rb"\\", _NO_ESCAPE)) is not None


def without_halves(data: bytes) -> bytes:
    """This JSON with U+FFFD for each half of a pair of escapes."""
    return _in_escapes(data, rb"\\ufffd")


def marked(data: bytes) -> bytes:
    """The same JSON with a mark for each part of a character that may have its other one in another piece, for the
    first MAX_MARKS of them: `joined` takes its texts. U+FFFD is for bytes that never become a character.

    As it is where it has marks already.
    """
    if any(mark in data for mark in _MARKS) or _MARK_WRITTEN.search(data) is not None:
        return data
    if not _is_utf8(data):
        data = _AT_AN_END.sub(_marked_bytes, data, MAX_MARKS).decode("utf-8", "replace").encode()
    return _in_escapes(data, rb"%b\1\2" % _MARKS[0], MAX_MARKS)


def joined(text: str) -> tuple[str, str]:
    """A marked text in whole characters; and what at its end may begin one, to be put before the next piece."""
    if _HALF not in text and _BYTE not in text:
        return text, ""
    end = len(text) - _begun_at_end(text)
    return _RUN.sub(_characters, text[:end]), text[end:]


def at_last(text: str) -> str:
    """The same where no other piece comes: U+FFFD for what is not complete."""
    return _RUN.sub(_characters, text)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _marked_bytes(part: re.Match[bytes]) -> bytes:
    return b"".join([b"%b%02x" % (_MARKS[1], byte) for byte in part[0]])


def _in_escapes(data: bytes, instead: bytes, most: int = 0) -> bytes:
    if rb"\\" not in data or _NO_ESCAPE in data:
        return _LONE.sub(instead, data, most)
    return _LONE.sub(instead, data.replace(rb"\\", _NO_ESCAPE), most).replace(_NO_ESCAPE, rb"\\")


def _begun_at_end(text: str) -> int:
    """How many characters of it are marks of what may become one."""
    if _HIGH_AT_END.fullmatch(text, max(len(text) - _HALF_CHARS, 0)) is not None:
        return _HALF_CHARS
    for count in range(1, _MOST_BYTES + 1):
        start = len(text) - count * _BYTE_CHARS
        if start < 0 or _BYTES_AT_END.fullmatch(text, start) is None:
            break
        decoder = getincrementaldecoder("utf-8")("replace")
        if not decoder.decode(_bytes_of(text[start:])):
            return count * _BYTE_CHARS
    return 0


def _characters(run: re.Match[str]) -> str:
    if run[0].startswith(_HALF):
        return bytes.fromhex(run[0].replace(_HALF, "")).decode("utf-16-be", "replace")
    return _bytes_of(run[0]).decode("utf-8", "replace")


def _bytes_of(run: str) -> bytes:
    return bytes.fromhex(run.replace(_BYTE, ""))
