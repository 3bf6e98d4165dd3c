"""What is sent to a URL of an LLM server: taken apart once, and the head of a request to it."""

from collections import deque
from collections.abc import Sequence
from urllib.parse import urlsplit

from masa_node.chat.request import Headers
from masa_node.upstreams.http.connection import Connection
from masa_node.upstreams.http.proxies import NO_PROXIES, Proxies
from masa_node.upstreams.http.urls import DEFAULT_PORTS
from masa_node.version import __version__

JOINED_BYTES = 64 * 1024  # a smaller body is copied behind its head, which costs less than a second buffer

_AGENT = f"user-agent: masa-node/{__version__}\r\naccept-encoding: identity\r\n".encode()


class Target:
    """A URL, taken apart once: where to connect, and the request line for each method.

    A server is reached by the same proxy, or none, as long as its client lives: `server` is key enough for connections.
    Those that are kept are `idle`, the one that was used last at the end.
    """

    __slots__ = ("authority", "host", "host_line", "idle", "is_forwarded", "path", "port", "proxy", "server", "tls")

    def __init__(self, url: str, proxies: Proxies = NO_PROXIES) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self.tls = parts.scheme == "https"
        self.port = parts.port or DEFAULT_PORTS[parts.scheme]
        self.server = (parts.scheme, self.host, self.port)
        self.idle: deque[Connection] = deque()
        query = f"?{parts.query}" if parts.query else ""
        self.path = f"{parts.path or '/'}{query}".encode("ascii")
        netloc = parts.netloc.encode("idna" if not parts.netloc.isascii() else "ascii")
        self.host_line = b"host: " + netloc + b"\r\n"
        self.authority = netloc.decode("ascii") if parts.port else f"{netloc.decode('ascii').rstrip(':')}:{self.port}"
        self.proxy = proxies.proxy_for(*self.server)
        self.is_forwarded = self.proxy is not None and not self.tls
        if self.proxy is not None and self.is_forwarded:
            self.path = b"http://" + netloc + self.path
            if self.proxy.authorization:
                self.host_line += f"proxy-authorization: {self.proxy.authorization}\r\n".encode("ascii")

    def head(self, method: bytes, headers: Headers) -> bytes:
        """All of a request's head but for what tells its length. Raises `ValueError` for what would end a line."""
        lines = [f"{name}: {value}\r\n" for name, value in headers]
        head = "".join(lines)
        if head.count("\r") + head.count("\n") != 2 * len(lines) or "\0" in head:
            raise ValueError("a header holds a line break")
        return b"".join((method, self.path, b" HTTP/1.1\r\n", self.host_line, _AGENT, head.encode("latin-1")))


def with_body(head: bytes, body: bytes | None) -> Sequence[bytes]:
    """A whole request in one part, or in two where the body is large."""
    if body is None:
        return (head + b"\r\n",)
    size = len(body)
    length = b"content-length: %d\r\n\r\n" % size
    if size <= JOINED_BYTES:
        return (b"".join((head, length, body)),)
    return head + length, body
