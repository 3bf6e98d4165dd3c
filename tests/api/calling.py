"""The application alone: one request over the real protocol, without a socket."""

import re

from masa_node.api.app import App
from tests.api.http1.fake_line import FakeLine

HEADERS = ((b"host", b"localhost"),)
_CHUNKS = re.compile(rb"([0-9a-f]+)\r\n")


class Called:
    """What the application answered."""

    def __init__(self, raw: bytes) -> None:
        head, _, rest = raw.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        self.status = int(first.split(b" ")[1])
        self.headers = {name: value for name, _, value in (line.partition(b": ") for line in lines)}
        self.body, self.is_complete = (
            _unchunked(rest) if b"transfer-encoding" in self.headers else (rest, _is_all(rest, self.headers))
        )


def _is_all(body: bytes, headers: dict[bytes, bytes]) -> bool:
    return len(body) == int(headers[b"content-length"])


def _unchunked(rest: bytes) -> tuple[bytes, bool]:
    body = b""
    while match := _CHUNKS.match(rest):
        size = int(match[1], 16)
        body += rest[match.end() : match.end() + size]
        rest = rest[match.end() + size + 2 :]
        if not size:
            return body, True
    return body, False


async def call(
    app: App, method: str, path: str, body: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = HEADERS
) -> Called:
    """One request, all of whose body is there. The caller stays, however long the answer takes."""
    lines = b"".join(b"%b: %b\r\n" % pair for pair in (*headers, (b"content-length", b"%d" % len(body))))
    line = FakeLine(app)
    try:
        line.send(b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method.encode(), path.encode(), lines, body))
        await line.settled()
        return Called(line.answered)
    finally:
        line.leave()
