"""Bodies of requests as they arrive."""

from masa_node.api.http1.request import Head, HeaderPairs, HttpRequest


def coming(*pieces: bytes, ends: bool = True, headers: HeaderPairs = (), length: int | None = None) -> HttpRequest:
    """A request whose body comes in these pieces, one each time that more is waited for.

    Without an end the caller leaves after them.
    """
    left = [*pieces]

    def more() -> None:
        if left:
            request.feed(left.pop(0))
        elif ends:
            request.complete()
        else:
            request.lose()

    request = HttpRequest(Head("POST", b"/", headers), length, more)
    return request
