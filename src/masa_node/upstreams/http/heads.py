"""Heads of LLM servers' answers: their headers as text, and a length that is there twice."""

import re
from functools import lru_cache

MAX_KNOWN_HEADERS = 512  # pairs of name and value; most of a server's are the same in each answer
MAX_KNOWN_BYTES = 128  # of each

HEAD_END = re.compile(rb"\n\r?\n")
_LENGTH_NAME = re.compile(rb"^content-length(?:[ \t]*:[ \t0-9]*,)?", re.IGNORECASE | re.MULTILINE)
_LENGTH = re.compile(rb"^content-length[ \t]*:(.*)\n", re.IGNORECASE | re.MULTILINE)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")  # a lenient parser lets them into headers, some of which are passed on


def as_text(name: bytes, value: bytes) -> tuple[str, str]:
    """A header, its name in lower case."""
    is_long = len(value) > MAX_KNOWN_BYTES or len(name) > MAX_KNOWN_BYTES
    return (_as_text.__wrapped__ if is_long else _as_text)(name, value)


@lru_cache(MAX_KNOWN_HEADERS)
def _as_text(name: bytes, value: bytes) -> tuple[str, str]:
    text = value.decode("latin-1")
    return name.decode("latin-1").lower(), text if text.isprintable() else _CONTROLS.sub(" ", text)


def has_length_twice(head: bytes) -> bool:
    """Which no parser takes, and some servers send."""
    names = _LENGTH_NAME.findall(head)
    return len(names) > 1 or any(name.endswith(b",") for name in names)


def with_one_length(head: bytes) -> bytes:
    """The same with its first length alone, if all of them are equal. The body behind it stays as it is."""
    end = HEAD_END.search(head)
    until = end.end() if end is not None else len(head)
    lengths = {each.strip() for value in _LENGTH.findall(head, 0, until) for each in value.split(b",")}
    first = _LENGTH.search(head, 0, until)
    if first is None or len(lengths) > 1:
        return head
    line = b"content-length: %b\r\n" % lengths.pop()
    return head[: first.start()] + line + _LENGTH.sub(b"", head[first.end() : until]) + head[until:]
