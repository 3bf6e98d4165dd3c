"""Bodies of requests as they arrive."""

from masa_node.api.http1.request import Head, HeaderPairs, HttpRequest


def coming(*pieces: bytes, ends: bool = True, headers: HeaderPairs = (), length: int | None = None) -> HttpRequest:
    """A request whose body comes in these pieces, once it is waited for.

    Without an end the caller leaves after them.
    """

    def more() -> None:
        for piece in pieces:
            request.feed(piece)
        if ends:
            request.complete()
        else:
            request.lose()

    request = HttpRequest(Head("POST", b"/", headers), length, more)
    return request
