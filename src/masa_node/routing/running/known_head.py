"""The head of an HTTP/1.1 message that comes again, but for the length of its body: compared, not parsed.

Agents and SDKs send the same head with every request of a connection, and LLM servers with every answer.
"""

import re
from typing import Generic, TypeVar

MAX_KNOWN_BYTES = 4 * 1024  # that are learnt: one is kept for each connection; those of the SDKs take up to 1 kB
MAX_LESSONS = 8  # of a connection on which each message says something new, nothing is learnt

_END = b"\r\n\r\n"
_FRAMING = re.compile(rb"\r?\n(?:content-length|transfer-encoding)", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_DATE = re.compile(rb"\r\ndate:[ \t]*([!-~ ]{29})\r\n", re.IGNORECASE)  # RFC 9110, 5.6.7

P = TypeVar("P")


class KnownHead(Generic[P]):
    """What a connection remembers of a message that was whole in one read, if its head came twice in a row.

    `parsed` is what was made of that head, once there is one. With `any_date` the date may be another: nobody may look
    at that of `parsed`.
    """

    __slots__ = ("_any_date", "_lessons", "_like", "_pattern", "parsed")

    parsed: P

    def __init__(self, *, any_date: bool = False) -> None:
        self._any_date = any_date
        self._lessons = 0
        self._like = b""
        self._pattern: re.Pattern[bytes] | None = None

    def body_of(self, data: bytes) -> bytes:
        """The body, if this is one whole message with that head; b"" if not: then nobody has read it yet.

        It is what the parser would make of it, as that keeps nothing from one message to the next.
        """
        match = self._pattern.match(data) if self._pattern is not None else None
        if match is None or len(data) - match.end() != int(match[1]):
            return b""
        return data[match.end() :]

    def learn(self, data: bytes, parsed: P) -> None:
        """The parser found this to be one whole message, behind which another may come on the connection."""
        end = data.find(_END, 0, MAX_KNOWN_BYTES) + len(_END)
        length = _LENGTH.search(data, 0, end)
        if self._lessons >= MAX_LESSONS or length is None or len(data) != end + int(length[1]):
            return
        self._lessons += 1
        if len(data) == end or len(_FRAMING.findall(data, 0, end)) > 1:  # there may be no body, whatever its length
            return
        like = _pattern_of(data[:end], length.span(1), any_date=self._any_date)
        if like == self._like:
            self._pattern, self.parsed = re.compile(like), parsed
        self._like = like


def _pattern_of(head: bytes, length: tuple[int, int], *, any_date: bool) -> bytes:
    """With any length in place of its own, and any date."""
    parts = [(*length, rb"([0-9]{1,10})")]
    if any_date and (date := _DATE.search(head)) is not None:
        parts.append((*date.span(1), rb"[!-~ ]{29}"))
    pattern, at = b"", 0
    for begins, ends, any_such in sorted(parts):
        pattern += re.escape(head[at:begins]) + any_such
        at = ends
    return pattern + re.escape(head[at:])
