"""HTTP/1.1 responses as bytes, made by hand."""

import http
from collections.abc import Iterable

JSON = "application/json"
SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
LAST_CHUNK = b"0\r\n\r\n"


def head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """A status line, headers and the blank line."""
    try:
        reason = http.HTTPStatus(status).phrase
    except ValueError:
        reason = "Made Up"
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def whole(
    body: bytes, *, status: int = 200, content_type: str = JSON, headers: Iterable[tuple[str, str]] = ()
) -> bytes:
    """A response with a Content-Length."""
    return head(status, [("Content-Type", content_type), *headers, ("Content-Length", str(len(body)))]) + body


def stream_head(content_type: str, *, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """The head of a chunked response."""
    return head(status, [("Content-Type", content_type), *headers, ("Transfer-Encoding", "chunked")])


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def unchunked(raw: bytes) -> tuple[list[bytes], bytes]:
    """What is in the whole chunks at its beginning, and what is left: b"", or the last chunk, or less than one."""
    found: list[bytes] = []
    while (line_end := raw.find(b"\r\n")) > 0 and (size := int(raw[:line_end], 16)):
        start, end = line_end + 2, line_end + 2 + size
        if raw[end : end + 2] != b"\r\n":
            break
        found.append(raw[start:end])
        raw = raw[end + 2 :]
    return found, raw


def chunked(pieces: Iterable[bytes]) -> bytes:
    """A whole chunked body, the last chunk included."""
    return b"".join(map(chunk, pieces)) + LAST_CHUNK
