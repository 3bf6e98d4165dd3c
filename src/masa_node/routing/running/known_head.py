"""The head of an HTTP/1.1 message that comes again, but for the length of its body: compared, not parsed.

Agents and SDKs send the same head with every request of a connection, and LLM servers with every answer.
"""

import re
from operator import itemgetter
from typing import Generic, TypeVar

MAX_KNOWN_BYTES = 4 * 1024  # that are learnt: one is kept for each connection; those of the SDKs take up to 1 kB
MAX_LESSONS = 8  # of a connection on which each message says something new, nothing is learnt

_END = b"\r\n\r\n"
_FRAMING = re.compile(rb"\r?\n(?:content-length|transfer-encoding)", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_DATE = re.compile(rb"\r\ndate:[ \t]*([!-~ ]{29})\r\n", re.IGNORECASE)  # RFC 9110, 5.6.7
_ANY_LENGTH = re.compile(rb"[0-9]{1,10}")
_ANY_DATE = re.compile(rb"[!-~ ]{29}")

P = TypeVar("P")
# What stands there, and what may be another behind it; of the last one nothing. Not one pattern of all of it: that of a
# head of 4 kB takes 64 kB, and 3 ms to make.
_Parts = tuple[tuple[bytes, re.Pattern[bytes] | None], ...]


class KnownHead(Generic[P]):
    """What a connection remembers of a message that was whole in one read, if its head came twice in a row.

    `parsed` is what was made of that head, once there is one. With `any_date` the date may be another: nobody may look
    at that of `parsed`.
    """

    __slots__ = ("_any_date", "_date", "_lessons", "_like", "_parts", "parsed")

    parsed: P

    def __init__(self, *, any_date: bool = False) -> None:
        self._any_date = any_date
        self._lessons = 0
        self._like: _Parts = ()
        self._parts: _Parts = ()
        self._date = b" " * 29  # the last one: most come within a second

    def body_of(self, data: bytes) -> bytes:
        """The body, if this is one whole message with that head; b"" if not: then nobody has read it yet.

        It is what the parser would make of it, as that keeps nothing from one message to the next.
        """
        at, size = 0, -1
        for part, other in self._parts:
            if not data.startswith(part, at):
                return b""
            at += len(part)
            if other is _ANY_DATE and data.startswith(self._date, at):
                at += len(self._date)
            elif other is not None:
                match = other.match(data, at)
                if match is None:
                    return b""
                at = match.end()
                if other is _ANY_LENGTH:
                    size = int(match[0])
                else:
                    self._date = match[0]
        return data[at:] if len(data) - at == size else b""

    def learn(self, data: bytes, parsed: P) -> None:
        """The parser found this to be one whole message, behind which another may come on the connection."""
        end = data.find(_END, 0, MAX_KNOWN_BYTES) + len(_END)
        length = _LENGTH.search(data, 0, end)
        if self._lessons >= MAX_LESSONS or length is None or len(data) != end + int(length[1]):
            return
        self._lessons += 1
        if len(data) == end or len(_FRAMING.findall(data, 0, end)) > 1:  # there may be no body, whatever its length
            return
        like = _parts_of(data[:end], length.span(1), any_date=self._any_date)
        if like == self._like:
            self._parts, self.parsed = like, parsed
        self._like = like


def _parts_of(head: bytes, length: tuple[int, int], *, any_date: bool) -> _Parts:
    """With any length in place of its own, and any date."""
    others = [(*length, _ANY_LENGTH)]
    if any_date and (date := _DATE.search(head)) is not None:
        others.append((*date.span(1), _ANY_DATE))
    at, parts = 0, list[tuple[bytes, re.Pattern[bytes] | None]]()
    for begins, ends, other in sorted(others, key=itemgetter(0)):
        parts.append((head[at:begins], other))
        at = ends
    return (*parts, (head[at:], None))
