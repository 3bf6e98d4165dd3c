"""Answers to what is not a request yet, so that no endpoint, dialect or log line can be had for it: whole responses."""

MAX_HEAD_BYTES = 64 * 1024  # nginx: 4 x 8 kB, Apache: 100 x 8 kB
MAX_HEADERS = 128  # Apache: 100
MAX_PIPELINED = 16  # requests that wait for their turn; hardly any client sends even two
NOSNIFF_LINE = b"x-content-type-options: nosniff\r\n"  # no browser takes what an LLM said for a page


def _refusal(status: bytes, code: bytes, message: bytes) -> bytes:
    is_ours = status.startswith(b"503")
    kind = b"api_error" if is_ours else b"invalid_request_error"
    body = b'{"error":{"message":"%b","type":"%b","param":null,"code":"%b"}}' % (message, kind, code)
    lines = NOSNIFF_LINE + (b"retry-after: 1\r\n" if is_ours else b"")
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\n%bconnection: close\r\n" % (status, lines)
    return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)


MALFORMED = _refusal(b"400 Bad Request", b"bad_request", b"The request is not valid HTTP/1.1.")
HEAD_TOO_LARGE = _refusal(
    b"431 Request Header Fields Too Large",
    b"head_too_large",
    b"The head of the request is larger than %d bytes or has more than %d headers." % (MAX_HEAD_BYTES, MAX_HEADERS),
)
HEAD_TOO_SLOW = _refusal(b"408 Request Timeout", b"head_too_slow", b"The head of the request did not arrive in time.")
TOO_MANY_AHEAD = _refusal(
    b"400 Bad Request",
    b"too_many_ahead",
    b"Too many requests were sent on one connection before their answers: %d may wait." % MAX_PIPELINED,
)
STOPPING = _refusal(b"503 Service Unavailable", b"stopping", b"The node is stopping. Try again in a moment.")
FULL = _refusal(
    b"503 Service Unavailable",
    b"too_many_connections",
    b"The node has as many connections as it may, and a request is being answered on each. Try again in a moment.",
)
