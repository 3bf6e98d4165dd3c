"""Heads of LLM servers' answers: their headers as text, a length that is there twice, and a head that comes again.

One that comes again, but for its date and the length of its body, is compared and not parsed.
"""

import re
from functools import lru_cache

from masa_node.chat.request import Headers

MAX_KNOWN_HEADERS = 512  # pairs of name and value; most of a server's are the same in each answer
MAX_KNOWN_BYTES = 128  # of each
MAX_HEAD_BYTES = 2 * 1024  # that are learnt: one is kept for each connection
MAX_LESSONS = 8  # a server that says something new with each answer is not learnt

_END = b"\r\n\r\n"
HEAD_END = re.compile(rb"\n\r?\n")
_LENGTH_NAME = re.compile(rb"^content-length(?:[ \t]*:[ \t0-9]*,)?", re.IGNORECASE | re.MULTILINE)
_ANY_LENGTH = re.compile(rb"^content-length[ \t]*:(.*)\n", re.IGNORECASE | re.MULTILINE)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")  # a lenient parser lets them into headers, some of which are passed on
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_DATE = re.compile(rb"\r\ndate:[ \t]*([!-~ ]{29})\r\n", re.IGNORECASE)  # RFC 9110, 5.6.7


class KnownHead:
    """What one connection remembers of the last answer that came whole in one read, if its head came twice in a row.

    `headers` are those of that answer, and so are date and length in them, which nobody passes on.
    """

    __slots__ = ("_lessons", "_like", "_pattern", "first_headers", "headers", "status")

    def __init__(self) -> None:
        self._lessons = 0
        self._like = b""
        self._pattern: re.Pattern[bytes] | None = None
        self.status = 0
        self.headers: Headers = ()
        self.first_headers: dict[str, str] = {}

    def body_of(self, data: bytes) -> bytes:
        """The body, if this is one whole answer with that head; b"" if not: then nobody has read it yet.

        It is what the parser would make of it, as that keeps nothing from one answer to the next.
        """
        match = self._pattern.match(data) if self._pattern is not None else None
        if match is None or len(data) - match.end() != int(match[1]):
            return b""
        return data[match.end() :]

    def learn(self, data: bytes, status: int, headers: Headers, first_headers: dict[str, str]) -> None:
        """The parser found this to be one whole answer, behind which another may come on the connection."""
        end = data.find(_END, 0, MAX_HEAD_BYTES) + len(_END)
        length = _LENGTH.search(data, 0, end)
        if self._lessons >= MAX_LESSONS or length is None or len(data) != end + int(length[1]):
            return
        self._lessons += 1
        if has_length_twice(data[:end]):
            return
        like = _pattern_of(data[:end], length.span(1))
        if like != self._like:
            self._like = like
        else:
            self._pattern = re.compile(like)
            self.status, self.headers, self.first_headers = status, headers, first_headers


def _pattern_of(head: bytes, length: tuple[int, int]) -> bytes:
    """With any length, and any date, in place of its own."""
    parts = [(*length, rb"([0-9]{1,10})")]
    if (date := _DATE.search(head)) is not None:
        parts.append((*date.span(1), rb"[!-~ ]{29}"))
    pattern, at = b"", 0
    for begins, ends, any_such in sorted(parts):
        pattern += re.escape(head[at:begins]) + any_such
        at = ends
    return pattern + re.escape(head[at:])


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
    lengths = {each.strip() for value in _ANY_LENGTH.findall(head, 0, until) for each in value.split(b",")}
    first = _ANY_LENGTH.search(head, 0, until)
    if first is None or len(lengths) > 1:
        return head
    line = b"content-length: %b\r\n" % lengths.pop()
    return head[: first.start()] + line + _ANY_LENGTH.sub(b"", head[first.end() : until]) + head[until:]
