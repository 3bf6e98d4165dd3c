"""The way through an HTTP proxy, and the errors where it leads nowhere.

To an https server the proxy opens a tunnel (CONNECT), and TLS is spoken with the server itself. A plain http request is
handed to the proxy with the whole URL in its first line, as curl, Go and requests do. Many proxies open no tunnel to
ports other than 443 (squid's default).
"""

import asyncio
import re
import socket
from collections.abc import Iterable

from masa_node.chat.errors import ProxyFailed
from masa_node.upstreams.http.proxies import Proxy

# The proxy looks up a name and connects, perhaps through a further proxy; several SYN retransmissions fit.
TUNNEL_TIMEOUT_S = 10.0
# As much as a usual web server takes or sends of headers (nginx, Apache: 8 kB), twice.
MAX_HEAD_BYTES = 16 * 1024
UNAUTHORIZED = 407

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (?P<status>[1-9]\d\d)(?: [^\r\n]*)?\r?\n")
_BEGIN = b"HTTP/1."
_READ_BYTES = 4096
_FORBIDDEN = (401, 403)
_FIRST_ERROR, _FIRST_SERVER_ERROR = 400, 500
# What only a proxy that answers itself sends: Squid's word for the error, RFC 9209, RFC 9110. `Via` is no sign: it is
# on what was passed on, too. A server's own name would stand in `Server`, so a proxy's there says the same.
_OWN_WORDS = frozenset({"x-squid-error", "proxy-authenticate"})
_PROXIES = re.compile(r"squid|tinyproxy|privoxy|mitmproxy|polipo|zscaler|bluecoat|mcafee web gateway", re.IGNORECASE)


async def open_tunnel(sock: socket.socket, proxy: Proxy, authority: str) -> None:
    """Have the proxy at the other end of `sock` connect to `authority` (`host:port`); TLS may begin then.

    Raises `ProxyFailed`, and `OSError` where the connection breaks. The socket stays the caller's to close.
    """
    loop = asyncio.get_running_loop()
    credentials = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
    request = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{credentials}\r\n"
    await loop.sock_sendall(sock, request.encode("ascii"))
    head = await _read_head(sock, proxy)
    match = _STATUS_LINE.match(head)
    if match is None:
        raise _no_proxy(proxy)
    status = int(match["status"])
    if status not in range(200, 300):
        raise refusal(proxy, status, authority)
    if not head.endswith(b"\r\n\r\n"):  # a TLS server does not speak first
        raise _no_proxy(proxy)


async def _read_head(sock: socket.socket, proxy: Proxy) -> bytes:
    """All that came until the head was complete."""
    loop = asyncio.get_running_loop()
    head = b""
    while b"\r\n\r\n" not in head:
        piece = await loop.sock_recv(sock, _READ_BYTES)
        if not piece:
            raise ProxyFailed(
                f"{proxy.named} closed the connection when it was asked for a tunnel. Is it an HTTP proxy? "
                "Its own log should say why."
            )
        head += piece
        if head[: len(_BEGIN)] != _BEGIN[: len(head)] or len(head) > MAX_HEAD_BYTES:
            raise _no_proxy(proxy)
    return head


def is_of_the_proxy(status: int, headers: Iterable[tuple[str, str]]) -> bool:
    """Did the proxy that a request was handed to answer it itself, as far as can be known? Names in lower case."""
    if status < _FIRST_ERROR or status == UNAUTHORIZED:
        return status == UNAUTHORIZED
    return any(
        name in _OWN_WORDS
        or (name == "proxy-status" and "error=" in value)
        or (name == "server" and _PROXIES.match(value) is not None)
        for name, value in headers
    )


def refusal(proxy: Proxy, status: int, authority: str, *, is_tunnel: bool = True) -> ProxyFailed:
    """The error for a proxy that answers with this status instead of leading to `authority`."""
    host = authority.rpartition(":")[0]
    if status == UNAUTHORIZED and proxy.authorization:
        why = (
            f"{proxy.named} does not take the user and password in {proxy.setting} (407). Correct them, with "
            "/ ? # @ % percent-encoded; basic auth is all that can be used here."
        )
    elif status == UNAUTHORIZED:
        why = (
            f"{proxy.named} wants a user and a password (407). Put them into {proxy.setting}: "
            "http://user:password@host:port."
        )
    elif status in _FORBIDDEN:
        why = (
            f"{proxy.named} does not allow connections to {authority} ({status}). Have it allow them, or name {host} "
            "in NO_PROXY to go without the proxy."
        )
    elif status >= _FIRST_SERVER_ERROR:
        why = (
            f"{proxy.named} could not connect to {authority} ({status}). Is the address right? Servers "
            "to reach without the proxy belong in NO_PROXY."
        )
    elif not is_tunnel:
        why = f"{proxy.named} did not hand the request on to {authority} ({status}). Its own log should say why."
    else:
        why = f"{proxy.named} opened no tunnel to {authority} ({status}). Is it an HTTP proxy? Correct {proxy.setting}."
    return ProxyFailed(why)


def not_reached(proxy: Proxy, exc: Exception) -> ProxyFailed:
    """The error for a proxy to which no connection could be made."""
    match exc:
        case socket.gaierror() | UnicodeError():
            why = "its host name does not resolve"
        case ConnectionRefusedError():
            why = "connection refused, nothing listens there"
        case TimeoutError():
            why = "no connection in time"
        case _:
            why = getattr(exc, "strerror", None) or type(exc).__name__
    return ProxyFailed(
        f"{proxy.named} cannot be reached: {why}. Start it, correct {proxy.setting}, or name the server in NO_PROXY "
        "to go without the proxy."
    )


def no_tunnel_in_time(proxy: Proxy, authority: str) -> ProxyFailed:
    """The error for a tunnel that does not lead to TLS within TUNNEL_TIMEOUT_S."""
    return ProxyFailed(
        f"{proxy.named} made no connection to {authority} within {TUNNEL_TIMEOUT_S:g} s. Is the address right? "
        "Servers to reach without the proxy belong in NO_PROXY."
    )


def _no_proxy(proxy: Proxy) -> ProxyFailed:
    return ProxyFailed(
        f"{proxy.named} did not answer as an HTTP proxy does when it was asked for a tunnel. Correct {proxy.setting}."
    )
