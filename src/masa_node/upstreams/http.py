"""The way to LLM servers: the only file that touches the HTTP client (aiohttp), so that it can be replaced.

Promises of any replacement: bytes up and down are untouched; redirects are not followed; nothing is decompressed;
foreign exceptions come out as `chat.errors`; a request that died on a kept-alive connection before a byte of an
answer came is sent again, once, on a fresh one (llama.cpp closes connections it announced to keep: REAL-WORLD);
`close()` aborts at once.
"""

import socket
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from contextvars import ContextVar
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from masa_node import __version__
from masa_node.chat.ask import Headers
from masa_node.chat.errors import (
    BrokenAnswer,
    ConnectionClosed,
    ConnectionRefused,
    DnsFailed,
    NotAnAnswer,
    ProviderError,
    TlsFailed,
    Unreachable,
)

# A LAN answers in milliseconds, the far side of the world in half a second; three SYN retransmissions fit.
CONNECT_TIMEOUT_S = 5.0
KEEP_ALIVE_S = 30.0
# What an LLM's answer headers may take; the largest seen (OpenAI with rate limits) is 4 kB.
MAX_HEADER_BYTES = 32 * 1024

_USER_AGENT = f"masa-node/{__version__}"
# aiohttp would add these; what the caller did not send, the LLM does not get.
_NOT_ADDED = ("Content-Type", "Accept-Encoding", "User-Agent")
_GONE = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


class _Freshness:
    """Was a new connection opened for this request? Set by the connector's socket factory."""

    __slots__ = ("is_fresh",)

    def __init__(self) -> None:
        self.is_fresh = False


_freshness: ContextVar[_Freshness | None] = ContextVar("freshness", default=None)


def _open_socket(address: tuple[socket.AddressFamily, socket.SocketKind, int, str, object]) -> socket.socket:
    mark = _freshness.get()
    if mark is not None:
        mark.is_fresh = True
    return socket.socket(address[0], address[1], address[2])


class HttpAnswer:
    """A response whose head has come. Read it with `read_piece` until b"", or `close()` it."""

    __slots__ = ("_response", "content_type", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def headers(self) -> Mapping[str, str]:
        """The response's headers; look-up ignores case."""
        return self._response.headers

    async def read_piece(self) -> bytes:
        """What has arrived, at least one byte; b"" when the body has ended in good order.

        Raises `BrokenAnswer` when the connection broke or the body is shorter than announced.
        """
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as exc:
            raise BrokenAnswer(f"the connection broke in the middle of the answer ({_words(exc)})") from exc

    def close(self) -> None:
        """Give up the rest: the connection is closed at once unless the body was read to its end. Idempotent."""
        self._response.close()


class HttpClient:
    """A pool of kept-alive connections to LLM servers; an async context manager."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._pooled: aiohttp.ClientSession
        self._fresh: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._pooled = await self._stack.enter_async_context(_session(force_close=False))
        self._fresh = await self._stack.enter_async_context(_session(force_close=True))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def get(self, url: str, headers: Headers) -> HttpAnswer:
        """GET, as `post`."""
        return await self._ask("GET", url, headers, None)

    async def post(self, url: str, headers: Headers, body: bytes) -> HttpAnswer:
        """POST the body as it is; returns when the head of the response is here.

        `url` is used as given, already percent-encoded. No time limit but for the connect: the caller's task holds
        the deadline, and cancelling it closes the connection. Raises `Unreachable` and its kinds, `ConnectionClosed`,
        `NotAnAnswer` (not HTTP).
        """
        return await self._ask("POST", url, headers, body)

    async def _ask(self, method: str, url: str, headers: Headers, body: bytes | None) -> HttpAnswer:
        mark = _Freshness()
        token = _freshness.set(mark)
        try:
            return HttpAnswer(await self._send(self._pooled, method, url, headers, body))
        except _GONE as exc:
            if mark.is_fresh or _has_begun(exc):
                raise _translated(exc) from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise _translated(exc) from exc
        finally:
            _freshness.reset(token)
        try:
            return HttpAnswer(await self._send(self._fresh, method, url, headers, body))
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise _translated(exc) from exc

    @staticmethod
    async def _send(
        session: aiohttp.ClientSession, method: str, url: str, headers: Headers, body: bytes | None
    ) -> aiohttp.ClientResponse:
        return await session.request(
            method,
            _url(url),
            data=body,
            headers=[*headers, ("User-Agent", _USER_AGENT), ("Accept-Encoding", "identity")],
            allow_redirects=False,
        )


def _session(*, force_close: bool) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        limit=0,  # bounded by MAX_CONCURRENT, which also sees who waits
        force_close=force_close,
        keepalive_timeout=None if force_close else KEEP_ALIVE_S,
        socket_factory=None if force_close else _open_socket,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        skip_auto_headers=_NOT_ADDED,
        auto_decompress=False,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
    )


_urls: dict[str, URL] = {}
MAX_CACHED_URLS = 256  # a few doors a server; Cloudflare has one a model


def _url(text: str) -> URL:
    url = _urls.get(text)
    if url is None:
        if len(_urls) >= MAX_CACHED_URLS:
            _urls.clear()
        url = _urls[text] = URL(text, encoded=True)
    return url


def _has_begun(exc: Exception) -> bool:
    """Had a part of the response's head come? aiohttp then puts the parsed part where the text would be."""
    return isinstance(exc, aiohttp.ServerDisconnectedError) and not isinstance(exc.message, str)


def _words(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__


def _translated(exc: Exception) -> ProviderError:
    match exc:
        case aiohttp.ClientConnectorDNSError():
            return DnsFailed(f"its host name does not resolve ({exc.os_error.strerror or exc.os_error}). Correct the URL.")
        case aiohttp.ClientConnectorCertificateError():
            return TlsFailed(f"its certificate is not trusted ({exc.certificate_error}).")
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return TlsFailed(f"no secure connection could be made ({exc}). Is https right for this address?")
        case aiohttp.ConnectionTimeoutError():
            return Unreachable(f"no connection within {CONNECT_TIMEOUT_S:g} s. Is the address right, is a firewall in the way?")
        case aiohttp.ClientConnectorError() if isinstance(exc.os_error, ConnectionRefusedError):
            return ConnectionRefused("connection refused: nothing listens there. Start the LLM server, or correct the URL.")
        case aiohttp.ClientConnectorError():
            return Unreachable(f"no connection ({exc.os_error.strerror or exc.os_error}). Is the address right?")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return ConnectionClosed("the server closed the connection before it answered.")
        case aiohttp.ClientResponseError():
            return NotAnAnswer(f"what came back is not HTTP ({exc.message}).")
        case _:
            return Unreachable(f"the request could not be sent ({_words(exc)}).")
