"""From bytes to requests: strict about what one is, with bounds on everything in it that a caller can make grow.

httptools (llhttp, Node.js' parser) parses. What it leaves open, and what is done about it here:
- Heads, trailers and chunk headers may grow for ever: bounds.
- It takes what follows a request that offers an upgrade (Java's HttpClient: `Upgrade: h2c`) for another protocol's. The
  offer is ignored (RFC 9110, 7.8) and the body kept.
- Trailers look like headers, an absolute URL like a path, `gzip, chunked` like `chunked`: refused or ignored.
"""

import re
from collections.abc import Callable, Iterator

import httptools
import msgspec

from masa_node.api.http1.raw_responses import HEAD_TOO_LARGE, MALFORMED, MAX_HEAD_BYTES, MAX_HEADERS
from masa_node.api.http1.request import Head, HeaderPairs, HttpRequest
from masa_node.routing.running.known_head import MAX_KNOWN_BYTES, KnownHead

# A client library sends one chunk a socket write; this many tiny ones are an attack.
FREE_CHUNKS = 2_048
MIN_CHUNK_BYTES = 64
# Chunk headers and trailers may be as long as a head, and an eighth of the body: 7 bytes a chunk of MIN_CHUNK_BYTES.
BODY_BYTES_PER_FRAMING_BYTE = 8

# Of a body that still lacks so much the rest is no parser's: its length is known, and the parser copies what it gives.
UNPARSED_FROM_BYTES = 64 * 1024

_BYTES_AROUND_A_HEADER = len(": \r\n")
_ABSOLUTE = re.compile(rb"(?i:https?)://(?P<authority>[^/?]*)(?P<rest>[/?].*)?")


class Refused(Exception):
    """What came is no request, or goes over a bound. `answer` says so, as a whole response."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.answer = answer


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """A head, but for the length of its body. `keep`: may another one follow, for the caller's sake?"""

    head: Head
    is_http10: bool
    keep: bool
    expects_continue: bool


class RequestReader:
    """The requests of one connection. Each is given to `take` when its head is complete, with the length of its body if
    that is known, and the body itself if it came with a head that is known; else the body goes to what that returns.
    `take` raises `ValueError` for one too many, and says what that is `refused_with`. After `Refused` nothing more may
    be fed. Heads that are equal but for the length of the body are one `Head`.

    `messages` counts those that have begun; `receiving` is the one whose body is on its way.
    """

    def __init__(self, take: Callable[[Incoming, int | None, bytes | None], HttpRequest]) -> None:
        self._take = take
        self._parser = self._new_parser()
        self.refused_with = MALFORMED
        self.messages = 0
        self.in_head = False
        self.receiving: HttpRequest | None = None
        self._last_head: Head | None = None
        self._known: KnownHead[Incoming] = KnownHead()
        self._unparsed_bytes = 0  # that still come of a large body
        self._is_last = False  # is nothing taken any more, as the parser takes nothing behind `Connection: close`?
        self._begin()

    def _begin(self) -> None:
        self._url = self._coding = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._content_length: int | None = None
        self._expects_continue = False
        self._head_bytes = self._framing_bytes = self._body_bytes = self._chunks = self._trailers = 0

    @property
    def is_within(self) -> bool:
        """Has a request begun to come that is not complete yet?"""
        return self.in_head or self.receiving is not None

    def feed(self, data: bytes) -> None:
        """Bytes came. Raises `Refused`."""
        if self._is_last:
            return
        was_within = self.in_head or self.receiving is not None
        messages, body_bytes = self.messages, self._body_bytes
        try:
            if not was_within and (body := self._known.body_of(data)):
                self.messages += 1
                self._take(self._known.parsed, len(body), body)
                return
            self._feed(self._after_body(data) if self._unparsed_bytes else data)
        except (httptools.HttpParserError, ValueError):
            raise Refused(self.refused_with) from None
        is_first = not was_within and self.messages == messages + 1
        if self.receiving is not None and self._content_length is not None and not self._unparsed_bytes:
            lacks_bytes = self._content_length - self._body_bytes
            self._unparsed_bytes = lacks_bytes if lacks_bytes >= UNPARSED_FROM_BYTES else 0
        if self.messages == messages and self.is_within:
            self._count_framing(len(data) - (self._body_bytes - body_bytes))
        elif is_first and self.in_head:
            self._count_framing(len(data))
        elif is_first and self.receiving is None and self._incoming.keep:
            self._known.learn(data, self._incoming)

    def close(self) -> None:
        """Nothing more comes. The parser, which refers back to this object, is let go."""
        self.receiving = None
        del self._parser, self._take

    # ---- what the parser calls; raising makes it fail, and the request be refused ----

    def on_message_begin(self) -> None:
        """A request begins."""
        self.messages += 1
        self.in_head = True
        self._begin()

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        self._head_bytes += len(url)
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of the head, or a trailer, which is never taken for one."""
        if not self.in_head:
            self._trailers += 1
            if self._trailers > MAX_HEADERS:
                raise ValueError("too many trailers")
            return
        name = name.lower()
        self._head_bytes += len(name) + len(value) + _BYTES_AROUND_A_HEADER
        if name == b"content-length":
            self._content_length = int(value)  # the parser has seen to it that it is one number, and there once
            return
        if name == b"transfer-encoding":
            self._coding += b"," + value.lower()
        elif name == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True
        self._headers.append((name, value))
        if self._head_bytes > MAX_HEAD_BYTES or len(self._headers) > MAX_HEADERS:
            self.refused_with = HEAD_TOO_LARGE
            raise ValueError("too large a head")

    def on_headers_complete(self) -> None:
        """The head is complete."""
        parser = self._parser
        method = parser.get_method()
        if method == b"CONNECT":  # what follows it is no HTTP to the parser, and it cannot be read without its offer
            raise ValueError("no proxy")
        if parser.should_upgrade():  # it is read again, without the offer
            return
        version = parser.get_http_version()
        if version not in ("1.1", "1.0") or self._head_bytes > MAX_HEAD_BYTES:
            raise ValueError("not HTTP/1, or all of it is target")
        is_http10 = version == "1.0"
        if self._coding and (self._coding != b",chunked" or is_http10):
            raise ValueError("no coding but chunked, and that only in HTTP/1.1")
        if is_http10 and not any(name == b"host" for name, _ in self._headers):
            self._headers.append((b"host", b"localhost"))  # no browser asks so, but HAProxy's probes (RFC 1945)
        head = self._head(method.decode("ascii"), path_and_query(self._url, method, self._headers))
        expects = self._expects_continue and not is_http10  # RFC 9110, 10.1.1
        # Whether the body still comes after an answer instead of `100 Continue` cannot be known: never go on then.
        keep = not is_http10 and not expects and parser.should_keep_alive()
        self._incoming = Incoming(head, is_http10, keep, expects)
        if not keep:
            self._known = KnownHead()  # the parser may take nothing that follows
        self.receiving = self._take(self._incoming, self._content_length, None)
        self.in_head = False

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._chunks += 1
        self._body_bytes += len(body)
        if self._chunks > FREE_CHUNKS and self._body_bytes < self._chunks * MIN_CHUNK_BYTES:
            raise ValueError("too many tiny chunks")
        if self.receiving is not None:
            self.receiving.feed(body)

    def on_message_complete(self) -> None:
        """The request is complete, unless it has to be parsed again."""
        request, self.receiving = self.receiving, None
        if request is not None:
            request.complete()

    # ---- inside ----

    def _head(self, method: str, target: bytes) -> Head:
        """The last one, if it is the same: then all that was made of it is still at hand."""
        last = self._last_head
        if last is None or (last.method, last.target, last.headers) != (method, target, self._headers):
            last = Head(method, target, self._headers)
            self._last_head = last if self._head_bytes <= MAX_KNOWN_BYTES else None
        return last

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # What follows a request that says `Connection: close` is no error: its answer would be lost.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = b"".join(self._head_without_upgrade()) + data[offer.args[0] :]
                self._parser = self._new_parser()
            else:
                return

    def _after_body(self, data: bytes) -> bytes:
        """More of the large body whose length is known; returns what comes after it, which another parser reads."""
        part = data[: self._unparsed_bytes]
        self._unparsed_bytes -= len(part)
        self.on_body(part)
        if self._unparsed_bytes:
            return b""
        self._parser, self._is_last = self._new_parser(), not self._incoming.keep
        self.on_message_complete()
        return b"" if self._is_last else data[len(part) :]

    def _head_without_upgrade(self) -> Iterator[bytes]:
        """The head that was just parsed, so that the body after it is parsed as one."""
        parser = self._parser
        yield b"%b %b HTTP/%b\r\n" % (parser.get_method(), self._url, parser.get_http_version().encode())
        if self._content_length is not None:
            yield b"content-length: %d\r\n" % self._content_length
        for name, value in self._headers:
            if name != b"upgrade":
                yield b"%b: %b\r\n" % (name, value)
        yield b"\r\n"

    def _count_framing(self, size: int) -> None:
        """So many bytes came that are not content. In the read in which a body begins they are not known."""
        self._framing_bytes += size
        if self._framing_bytes > MAX_HEAD_BYTES + self._body_bytes // BODY_BYTES_PER_FRAMING_BYTE:
            raise Refused(HEAD_TOO_LARGE if self.in_head else MALFORMED)


def path_and_query(target: bytes, method: bytes, headers: HeaderPairs) -> bytes:
    """Path and query, as they came. An absolute URL is taken only if its host is the one of the Host header.

    Raises ValueError for anything else.
    """
    if b"#" in target:
        raise ValueError("a fragment in the target")
    if target[:1] == b"/" or (target == b"*" and method == b"OPTIONS"):
        return target
    match = _ABSOLUTE.fullmatch(target)
    hosts = [value.lower() for name, value in headers if name == b"host"]
    if match is None or hosts != [match["authority"].lower()]:
        raise ValueError("neither a path nor a URL of this host")
    rest: bytes = match["rest"] or b"/"
    return rest if rest.startswith(b"/") else b"/" + rest
