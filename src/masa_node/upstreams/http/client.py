"""The way to LLM servers: a pool of kept-alive HTTP/1.1 connections. Nothing else in the node speaks HTTP to anyone.

Promises:
- bytes up and down are untouched; redirects are not followed;
- an answer that comes compressed although none was asked for is unpacked, within bounds;
- foreign exceptions come out as `chat.errors`;
- a request that died on a kept-alive connection before a byte of an answer came is sent again once on a fresh one:
  llama.cpp closes connections that it announced to keep; so is one that met a 408 for a connection that was idle;
- `close()` aborts at once.

The owner's proxies are used (`proxies.py` says where, `tunnel.py` how).
Why not a library: docs/decisions/0004-http-client.md.
"""

import asyncio
import errno
import socket
import ssl
from collections import defaultdict, deque
from collections.abc import Sequence
from http import HTTPStatus
from typing import Self

from aiohappyeyeballs import start_connection  # pyright: ignore[reportUnknownVariableType] - its bare `tuple`s

from masa_node.chat.errors import (
    ConfigurationError,
    ConnectionClosed,
    ConnectionRefused,
    DnsFailed,
    MemoryFull,
    ProviderError,
    ProxyFailed,
    TlsFailed,
    Unreachable,
)
from masa_node.chat.request import Headers
from masa_node.routing.running.turn_of_reads import TurnOfReads
from masa_node.routing.running.turn_of_writes import TurnOfWrites
from masa_node.upstreams.http.answer import HttpAnswer
from masa_node.upstreams.http.connection import Connection
from masa_node.upstreams.http.proxies import NO_PROXIES, Proxies, Proxy
from masa_node.upstreams.http.sockets import handed_over
from masa_node.upstreams.http.target import Target, with_body
from masa_node.upstreams.http.tunnel import (
    TUNNEL_TIMEOUT_S,
    is_of_the_proxy,
    no_tunnel_in_time,
    not_reached,
    open_tunnel,
    refusal,
)
from masa_node.upstreams.http.urls import is_loopback

# A LAN answers in milliseconds, the far side of the world in half a second; three SYN retransmissions fit.
CONNECT_TIMEOUT_S = 5.0
# RFC 8305: "Connection Attempt Delay", recommended value.
HAPPY_EYEBALLS_DELAY_S = 0.25
# Shorter than the keep-alive of the usual servers (uvicorn 5 s is the exception), so that few are found closed.
KEEP_ALIVE_S = 30.0
MAX_KEPT = 256  # connections to a server, unless more may be in use at once
MAX_CONNECTING = 64  # at a time, to one server: many have a backlog of 128, and beyond it a SYN is lost for a second
# What the kernel reads ahead of a server on this machine. More would come in one read, and is held three times for a
# caller that stalls. A server that is further away would be slowed by it: the kernel knows best there.
NEARBY_READ_BYTES = 64 * 1024
MAX_CACHED_TARGETS = 256  # a few endpoints a server; Cloudflare has one a model


class HttpClient:
    """Connections to LLM servers; an async context manager that closes all of them at its end.

    The number under way is not bounded here: MAX_CONCURRENT bounds it, and sees what waits. Up to `keep` connections to
    each server are kept when they are not used; as many as are used at once, or each crowd would connect again.
    """

    def __init__(self, proxies: Proxies = NO_PROXIES, keep: int = MAX_KEPT) -> None:
        self._proxies = proxies
        self._keep = keep
        self._reads, self._writes = TurnOfReads(), TurnOfWrites()
        self._connecting: dict[tuple[str, str, int], asyncio.Semaphore] = {}
        self._idle: defaultdict[tuple[str, str, int], deque[Connection]] = defaultdict(deque)
        self.targets: dict[str, Target] = {}
        self._tls: ssl.SSLContext | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *why: object) -> None:
        self._keep = 0  # what comes back later would be closed by nobody
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

    def give_back(self, target: Target, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end, if another exchange may follow."""
        idle = target.idle
        if not connection.is_reusable() or len(idle) >= self._keep:
            connection.close()
            return
        idle.append(connection)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(KEEP_ALIVE_S, self._sweep)

    def post_now(self, target: Target, head: bytes, body: bytes) -> Connection | None:
        """POST the body over a connection that is kept; None, and nothing is sent, where there is none."""
        connection = self._idle_connection(target)
        if connection is not None:
            connection.send(*with_body(head, body))
        return connection

    def head_of(self, target: Target, connection: Connection) -> HttpAnswer | None:
        """The answer to what was sent, if its head is here. Raises `ProxyFailed` where a proxy gave it."""
        if not connection.head_done:
            return None
        if target.is_forwarded and target.proxy is not None and is_of_the_proxy(connection.status, connection.headers):
            connection.close()
            raise refusal(target.proxy, connection.status, target.authority, is_tunnel=False)
        return HttpAnswer(connection, target, self.give_back)

    async def _send_request(self, method: bytes, url: str, headers: Headers, body: bytes | None) -> HttpAnswer:
        target = self.target_of(url)
        request = with_body(target.head(method, headers), body)
        connection = self._idle_connection(target) or await self._next_connection(target, is_fresh=False)
        connection.send(*request)
        return await self.answer_on(connection, target, request)

    async def answer_on(self, connection: Connection, target: Target, request: Sequence[bytes]) -> HttpAnswer:
        """The answer to this request, which was sent, once its head is here. See `post`."""
        try:
            try:
                await connection.head()
                is_stale = _waited_in_vain(connection)
            except ConnectionClosed:
                if not connection.was_kept or connection.got_bytes:
                    raise
                is_stale = True
            if is_stale:
                connection.close()
                connection = await self._next_connection(target, is_fresh=True)
                connection.send(*request)
                await connection.head()
            answer = self.head_of(target, connection)
        except BaseException:
            connection.close()
            raise
        assert answer is not None  # noqa: S101 - it was waited for
        return answer

    async def _next_connection(self, target: Target, *, is_fresh: bool) -> Connection:
        """A new one, in turn; unless it has to be `is_fresh`, also one that has come free meanwhile."""
        turn = self._connecting.setdefault(target.server, asyncio.Semaphore(MAX_CONNECTING))
        async with turn:
            idle = None if is_fresh else self._idle_connection(target)
            return idle or await self._connect(target)

    def target_of(self, url: str) -> Target:
        """What this URL means for a connection; remembered in `targets`. Raises `ProxyFailed`."""
        target = self.targets.get(url)
        if target is None:
            if len(self.targets) >= MAX_CACHED_TARGETS:
                self.targets.clear()
            try:
                target = self.targets[url] = Target(url, self._proxies)
                target.idle = self._idle[target.server]
            except ConfigurationError as exc:
                raise ProxyFailed(exc.message) from exc
        return target

    def _idle_connection(self, target: Target) -> Connection | None:
        """The most recently used connection that is still open."""
        idle = target.idle
        while idle:
            connection = idle.pop()
            if connection.renew():
                return connection
        return None

    async def _connect(self, target: Target) -> Connection:
        if target.proxy is not None:
            return await self._connect_through(target.proxy, target)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await self._taken_over(await _dial(target.host, target.port), target)
        except (OSError, TimeoutError, UnicodeError) as exc:
            raise _translated(exc) from exc

    async def _connect_through(self, proxy: Proxy, target: Target) -> Connection:
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

    async def _taken_over(self, sock: socket.socket, target: Target) -> Connection:
        """The connection over this socket, which is closed should that fail."""
        loop = asyncio.get_running_loop()
        with handed_over(sock):
            if is_loopback(sock.getpeername()[0]):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NEARBY_READ_BYTES)
            if target.proxy is not None and target.tls:
                await open_tunnel(sock, target.proxy, target.authority)
            if target.tls and self._tls is None:
                self._tls = await asyncio.to_thread(_tls_context)  # reads the trust store: tens of milliseconds
            tls, name = (self._tls, target.host) if target.tls else (None, None)
            connection = Connection(loop, self._writes, self._reads)
            try:
                await loop.create_connection(lambda: connection, sock=sock, ssl=tls, server_hostname=name)
            except BaseException:
                connection.connection_lost(None)  # a loop that was stopped in the middle may not tell it
                raise
        return connection

    def _sweep(self) -> None:
        """Close what was not used for KEEP_ALIVE_S; once in a while, and only while there is anything."""
        loop = asyncio.get_running_loop()
        self._sweeper = None
        for idle in self._idle.values():
            while idle and loop.time() - idle[0].idle_since_s >= KEEP_ALIVE_S:
                idle.popleft().close()
        if any(self._idle.values()):
            self._sweeper = loop.call_later(KEEP_ALIVE_S, self._sweep)


def _waited_in_vain(connection: Connection) -> bool:
    """Does the server say that no request came on a kept connection, when one was on its way (RFC 9110, 15.5.9)?

    An LLM's own 408, that its work took too long, does not end the connection.
    """
    is_timed_out = connection.status == HTTPStatus.REQUEST_TIMEOUT and connection.was_kept
    return is_timed_out and connection.first_headers.get("connection", "").lower() == "close"


async def _dial(host: str, port: int) -> socket.socket:
    """A connected socket, over whichever address of the host answers first. Raises `MemoryFull` for want of any."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return await start_connection(found, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY_S)
    except OSError as exc:
        if exc.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        raise MemoryFull(
            f"this node may open no more connections ({exc.strerror}). Ask again in a moment. Its owner can let "
            "it: `ulimit -n`, or LimitNOFILE of a service."
        ) from exc


def _translated(exc: OSError | UnicodeError) -> ProviderError:
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
        case _:
            error = Unreachable(f"no connection ({exc.strerror or exc}). Is the address right?")
    return error


def _tls_context() -> ssl.SSLContext:
    """Verifies certificates and names by the system's trust store (SSL_CERT_FILE is honoured by OpenSSL)."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
