"""The way to LLM servers: a pool of kept-alive HTTP/1.1 connections. Nothing else in the node speaks HTTP to anyone.

Promises:
- bytes up and down are untouched; redirects are not followed;
- an answer that comes compressed although none was asked for is unpacked, within bounds;
- foreign exceptions come out as `chat.errors`;
- a request that died on a kept-alive connection before a byte of an answer came is sent again once on a fresh one:
  llama.cpp closes connections that it announced to keep;
- `close()` aborts at once.

The owner's proxies are used (`proxies.py` says where, `tunnel.py` how).
Why not a library: docs/decisions/0004-http-client.md.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from aiohappyeyeballs import start_connection  # pyright: ignore[reportUnknownVariableType] - its bare `tuple`s

from masa_node.chat.errors import (
    BrokenAnswer,
    ConfigurationError,
    ConnectionClosed,
    ConnectionRefused,
    DnsFailed,
    ProviderError,
    ProxyFailed,
    TlsFailed,
    Unreachable,
)
from masa_node.chat.request import Headers
from masa_node.upstreams.http.connection import Connection, tls_context
from masa_node.upstreams.http.inflating import GZIP_MAGIC, Inflater, codings_in, inflater_for
from masa_node.upstreams.http.proxies import NO_PROXIES, Proxies, Proxy
from masa_node.upstreams.http.sockets import handed_over
from masa_node.upstreams.http.tunnel import (
    TUNNEL_TIMEOUT_S,
    is_of_the_proxy,
    no_tunnel_in_time,
    not_reached,
    open_tunnel,
    refusal,
)
from masa_node.version import __version__

# A LAN answers in milliseconds, the far side of the world in half a second; three SYN retransmissions fit.
CONNECT_TIMEOUT_S = 5.0
# RFC 8305: "Connection Attempt Delay", recommended value.
HAPPY_EYEBALLS_DELAY_S = 0.25
# Shorter than the keep-alive of the usual servers (uvicorn 5 s is the exception), so that few are found closed.
KEEP_ALIVE_S = 30.0
# After the terminal frame only a trailer may come; a server that then keeps the connection open is not waited for.
AFTER_END_S = 1.0
MAX_KEPT = 256  # connections to a server, unless more may be in use at once
MAX_CONNECTING = 64  # at a time, to one server: many have a backlog of 128, and beyond it a SYN is lost for a second
JOINED_BYTES = 64 * 1024  # a smaller body is copied behind its head, which costs less than a second buffer
MAX_CACHED_TARGETS = 256  # a few endpoints a server; Cloudflare has one a model

_PORTS = {"http": 80, "https": 443}
_AGENT = f"user-agent: masa-node/{__version__}\r\naccept-encoding: identity\r\n".encode()


class _Target:
    """A URL, taken apart once: where to connect, and the request line for each method.

    A server is reached by the same proxy, or none, as long as its client lives: `server` is key enough for connections.
    """

    __slots__ = ("authority", "host", "host_line", "is_forwarded", "path", "port", "proxy", "server", "tls")

    def __init__(self, url: str, proxies: Proxies = NO_PROXIES) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self.tls = parts.scheme == "https"
        self.port = parts.port or _PORTS[parts.scheme]
        self.server = (parts.scheme, self.host, self.port)
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


class HttpAnswer:
    """A response whose head has come. Read it with `read_piece` until b"", or `close()` it."""

    __slots__ = ("_client", "_connection", "_inflater", "_is_plain", "_target", "headers", "status")

    def __init__(self, client: "HttpClient", target: _Target, connection: Connection) -> None:
        self._client = client
        self._target = target
        self._connection: Connection | None = connection
        self._is_plain = False  # was looked at, and is not compressed
        self._inflater: Inflater | None = None
        self.status = connection.status
        self.headers: Headers = tuple(connection.headers)

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters; "" if there is none."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    def header(self, name: str) -> str | None:
        """The first header of this (lower-case) name."""
        return next((value for known, value in self.headers if known == name), None)

    async def read_piece(self) -> bytes:
        """What has arrived, at least one byte; b"" when the body has ended in good order.

        Raises `BrokenAnswer` when the connection broke or the body is shorter than announced, `EncodedAnswer` where it
        is compressed in a way that cannot be read.
        """
        if self._is_plain:
            return await self._read()
        if self._inflater is None:
            codings = codings_in([value for name, value in self.headers if name == "content-encoding"])
            begin = await self._begin(may_be_packed=bool(codings))
            self._inflater = inflater_for(codings, begin)
            if self._inflater is None:
                self._is_plain = True
                return begin
            self._inflater.feed(begin)
        return await self._inflated(self._inflater)

    async def _begin(self, *, may_be_packed: bool) -> bytes:
        """The first piece, of two bytes at least where two tell a packed body from another."""
        begin = await self._read()
        if len(begin) == 1 and (may_be_packed or begin == GZIP_MAGIC[:1]):
            begin += await self._read()
        return begin

    async def _inflated(self, inflater: Inflater) -> bytes:
        while not (out := inflater.take()):
            piece = await self._read()
            if not piece:
                inflater.finish()
                break
            inflater.feed(piece)
        return out

    async def _read(self) -> bytes:
        connection = self._connection
        if connection is None:
            return b""
        piece = await connection.read_piece()
        if not piece:
            self._connection = None
            self._client.give_back(self._target, connection)
        return piece

    def listen(self, came: Callable[[], None] | None) -> None:
        """See `Connection`."""
        if self._connection is not None:
            self._connection.listen(came)

    def take_now(self) -> bytes | None:
        """See `Connection`. What is compressed is `read_piece`'s matter."""
        return self._connection.take_now() if self._connection is not None and self._is_plain else b""

    async def read_trailer(self) -> bytes:
        """What comes after an answer's terminal frame, if it comes soon; b"" also when the connection breaks."""
        try:
            async with asyncio.timeout(AFTER_END_S):
                return await self.read_piece()
        except (TimeoutError, BrokenAnswer):
            self.close()
            return b""

    def close(self) -> None:
        """Give up the rest: the connection is closed at once unless the body was read to its end. Idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class HttpClient:
    """Connections to LLM servers; an async context manager that closes all of them at its end.

    The number under way is not bounded here: MAX_CONCURRENT bounds it, and sees what waits. Up to `keep` connections to
    each server are kept when they are not used; as many as are used at once, or each crowd would connect again.
    """

    def __init__(self, proxies: Proxies = NO_PROXIES, keep: int = MAX_KEPT) -> None:
        self._proxies = proxies
        self._keep = keep
        self._connecting: dict[tuple[str, str, int], asyncio.Semaphore] = {}
        self._idle: dict[tuple[str, str, int], deque[Connection]] = {}
        self.targets: dict[str, _Target] = {}
        self._tls: ssl.SSLContext | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()

    async def get(self, url: str, headers: Headers) -> HttpAnswer:
        """GET, as `post`."""
        return await self._send_request(b"GET ", url, headers, None)

    async def post(self, url: str, headers: Headers, body: bytes) -> HttpAnswer:
        """POST the body as it is; returns when the head of the response is here.

        `url` is used as given, already percent-encoded. No time limit but for the connect: the caller's task holds
        the deadline, and cancelling it closes the connection. Raises `Unreachable` and its kinds, `ConnectionClosed`,
        `NotAnAnswer` (not HTTP).
        """
        return await self._send_request(b"POST ", url, headers, body)

    def give_back(self, target: _Target, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end, if another exchange may follow."""
        idle = self._idle.setdefault(target.server, deque())
        if not connection.is_reusable() or len(idle) >= self._keep:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since_s = loop.time()
        idle.append(connection)
        if self._sweeper is None:
            self._sweeper = loop.call_later(KEEP_ALIVE_S, self._sweep)

    async def _send_request(self, method: bytes, url: str, headers: Headers, body: bytes | None) -> HttpAnswer:
        target = self.target_of(url)
        request = _request(method, target, headers, body)
        connection = self._idle_connection(target) or await self._next_connection(target, is_fresh=False)
        if connection.was_kept:
            try:
                return await self._exchange(target, connection, request)
            except ConnectionClosed:
                if connection.got_bytes:
                    raise
            connection = await self._next_connection(target, is_fresh=True)
        return await self._exchange(target, connection, request)

    async def _next_connection(self, target: _Target, *, is_fresh: bool) -> Connection:
        """A new one, in turn; unless it has to be `is_fresh`, also one that has come free meanwhile."""
        turn = self._connecting.setdefault(target.server, asyncio.Semaphore(MAX_CONNECTING))
        async with turn:
            idle = None if is_fresh else self._idle_connection(target)
            return idle or await self._connect(target)

    async def _exchange(self, target: _Target, connection: Connection, request: Sequence[bytes]) -> HttpAnswer:
        try:
            connection.send(*request)
            await connection.head()
        except BaseException:
            connection.close()
            raise
        if target.is_forwarded and target.proxy is not None and is_of_the_proxy(connection.status, connection.headers):
            connection.close()
            raise refusal(target.proxy, connection.status, target.authority, is_tunnel=False)
        return HttpAnswer(self, target, connection)

    def target_of(self, url: str) -> _Target:
        """What this URL means for a connection; remembered in `targets`. Raises `ProxyFailed`."""
        target = self.targets.get(url)
        if target is None:
            if len(self.targets) >= MAX_CACHED_TARGETS:
                self.targets.clear()
            try:
                target = self.targets[url] = _Target(url, self._proxies)
            except ConfigurationError as exc:
                raise ProxyFailed(exc.message) from exc
        return target

    def _idle_connection(self, target: _Target) -> Connection | None:
        """The most recently used connection that is still open."""
        idle = self._idle.get(target.server)
        while idle:
            connection = idle.pop()
            if connection.is_reusable():
                connection.renew()
                return connection
        return None

    async def _connect(self, target: _Target) -> Connection:
        if target.proxy is not None:
            return await self._connect_through(target.proxy, target)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await self._taken_over(await _dial(target.host, target.port), target)
        except (OSError, TimeoutError, UnicodeError) as exc:
            raise _translated(exc) from exc

    async def _connect_through(self, proxy: Proxy, target: _Target) -> Connection:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                sock = await _dial(proxy.host, proxy.port)
        except (OSError, TimeoutError, UnicodeError) as exc:
            raise not_reached(proxy, exc) from exc
        try:
            async with asyncio.timeout(TUNNEL_TIMEOUT_S):
                return await self._taken_over(sock, target)
        except TimeoutError as exc:
            raise no_tunnel_in_time(proxy, target.authority) from exc
        except OSError as exc:
            error = _translated(exc)
            raise type(error)(f"through {proxy.named}: {error.message}") from exc

    async def _taken_over(self, sock: socket.socket, target: _Target) -> Connection:
        """The connection over this socket, which is closed should that fail."""
        loop = asyncio.get_running_loop()
        with handed_over(sock):
            if target.proxy is not None and target.tls:
                await open_tunnel(sock, target.proxy, target.authority)
            tls = await self._tls_context() if target.tls else None
            name = target.host if target.tls else None
            connection = Connection(loop)
            try:
                await loop.create_connection(lambda: connection, sock=sock, ssl=tls, server_hostname=name)
            except BaseException:
                connection.connection_lost(None)  # a loop that was stopped in the middle may not tell it
                raise
        return connection

    async def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = await asyncio.to_thread(tls_context)  # reads the trust store: tens of milliseconds
        return self._tls

    def _sweep(self) -> None:
        """Close what was not used for KEEP_ALIVE_S; once in a while, and only while there is anything."""
        loop = asyncio.get_running_loop()
        self._sweeper = None
        for idle in self._idle.values():
            while idle and loop.time() - idle[0].idle_since_s >= KEEP_ALIVE_S:
                idle.popleft().close()
        if any(self._idle.values()):
            self._sweeper = loop.call_later(KEEP_ALIVE_S, self._sweep)


async def _dial(host: str, port: int) -> socket.socket:
    """A connected socket, over whichever address of the host answers first."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await start_connection(found, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY_S)


def _request(method: bytes, target: _Target, headers: Headers, body: bytes | None) -> Sequence[bytes]:
    """In one part, or in two where the body is large."""
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    head = "".join(lines)
    if head.count("\r") + head.count("\n") != 2 * len(lines) or "\0" in head:
        raise ValueError("a header holds a line break")
    parts = [method, target.path, b" HTTP/1.1\r\n", target.host_line, _AGENT, head.encode("latin-1")]
    if body is None:
        return (b"".join([*parts, b"\r\n"]),)
    parts.append(b"content-length: %d\r\n\r\n" % len(body))
    if len(body) <= JOINED_BYTES:
        return (b"".join([*parts, body]),)
    return b"".join(parts), body


def _translated(exc: Exception) -> ProviderError:
    error: ProviderError
    match exc:
        case socket.gaierror() | UnicodeError():
            error = DnsFailed(f"its host name does not resolve ({exc}). Correct the URL.")
        case ssl.SSLCertVerificationError():
            error = TlsFailed(
                f"its certificate is not trusted ({exc.verify_message}). Correct the URL, or name a file with the "
                "certificates that you trust in SSL_CERT_FILE."
            )
        case ssl.SSLError():
            why = getattr(exc, "reason", None) or exc
            error = TlsFailed(f"no secure connection could be made ({why}). Is https right for this address?")
        case ConnectionRefusedError():
            error = ConnectionRefused(
                "connection refused: nothing listens there. Start the LLM server, or correct the URL."
            )
        case ConnectionResetError():
            error = TlsFailed("the connection was closed while it was being secured. Is https right for this address?")
        case TimeoutError():
            error = Unreachable(
                f"no connection within {CONNECT_TIMEOUT_S:g} s. Is the address right? Is there a firewall?"
            )
        case OSError():
            error = Unreachable(f"no connection ({exc.strerror or exc}). Is the address right?")
        case _:
            error = Unreachable(f"no connection ({type(exc).__name__}).")
    return error
