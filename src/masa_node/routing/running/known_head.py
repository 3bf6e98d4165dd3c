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
_ANY_DATE = re.compile(rb"[!-~ ]{29}")
_DATE_BYTES = 29

P = TypeVar("P")


class KnownHead(Generic[P]):
    """What a connection remembers of a message that was whole in one read, if its head came twice in a row.

    `parsed` is what was made of that head, once there is one. With `any_date` the date may be another: nobody may look
    at that of `parsed`.
    """

    __slots__ = ("_any_date", "_begin", "_date_at", "_head", "_lessons", "_like", "_rest", "_size", "parsed")

    parsed: P

    def __init__(self, *, any_date: bool = False) -> None:
        self._any_date = any_date
        self._lessons = 0
        self._like = 0  # a hash: of two heads that are not alike, the second may be learnt as well
        self._head = b""  # as it has to be for a message of so many bytes: the last one's
        self._size = -1
        self._begin = self._rest = 0  # bytes of it before the length, and behind that
        self._date_at: int | None = None  # in it, or, where it is behind the length, before its end

    def body_of(self, data: bytes) -> bytes:
        """The body, if this is one whole message with that head; b"" if not: then nobody has read it yet.

        It is what the parser would make of it, as that keeps nothing from one message to the next.
        """
        if len(data) != self._size and not self._fit(len(data)):
            return b""
        if not data.startswith(self._head) and not data.startswith(self._dated_as(data)):
            return b""
        return data[len(self._head) :]

    def _fit(self, size: int) -> bool:
        """Have the head tell the length of the body in a message of so many bytes. False where none can."""
        head = self._head
        rest_bytes = size - self._begin - self._rest  # of the body, and of the digits of its length
        most_digits = len(str(rest_bytes))
        for body_bytes in (rest_bytes - most_digits, rest_bytes - most_digits + 1):
            made = b"%b%d%b" % (head[: self._begin], body_bytes, head[len(head) - self._rest :])
            if self._rest and body_bytes >= 0 and len(made) + body_bytes == size:
                self._head, self._size = made, size
                return True
        return False

    def _dated_as(self, data: bytes) -> bytes:
        """The head, from now on with the date of this message, where it may have any."""
        head, at = self._head, self._date_at
        if at is not None:
            at += len(head) if at < 0 else 0
            date = data[at : at + _DATE_BYTES]
            if _ANY_DATE.fullmatch(date):
                head = self._head = head[:at] + date + head[at + _DATE_BYTES :]
        return head

    def learn(self, data: bytes, parsed: P) -> None:
        """The parser found this to be one whole message, behind which another may come on the connection."""
        end = data.find(_END, 0, MAX_KNOWN_BYTES) + len(_END)
        length = _LENGTH.search(data, 0, end)
        if self._lessons >= MAX_LESSONS or length is None or len(data) != end + int(length[1]):
            return
        self._lessons += 1
        if len(data) == end or len(_FRAMING.findall(data, 0, end)) > 1:  # there may be no body, whatever its length
            return
        begin, behind = length.span(1)
        date = _DATE.search(data, 0, end) if self._any_date else None
        others = data[:begin] + data[behind:end]
        like = hash(_DATE.sub(b"", others) if date is not None else others)
        if like == self._like:
            self._head, self._size, self.parsed = data[:end], -1, parsed
            self._begin, self._rest, self._date_at = begin, end - behind, None
            if date is not None:
                self._date_at = date.start(1) if date.start(1) < begin else date.start(1) - end
        self._like = like
