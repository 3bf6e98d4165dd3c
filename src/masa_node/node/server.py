"""Takes requests at one socket, until it is told to stop."""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from masa_node.api.http1.connections import Application, Connections, WithoutTask
from masa_node.api.http1.protocol import BoundedHttpProtocol
from masa_node.chat.errors import ConfigurationError
from masa_node.node.settings.environment import Settings
from masa_node.version import __version__

KEEP_ALIVE_S = 75  # nginx's; shorter than that of common load balancers' upstream pools would cost them errors
BACKLOG = 4096  # as many as Linux keeps: a connection that finds no room there tries again after 1 s, and after 3 s
ACCEPTED_AT_ONCE = 8 if os.name == "posix" else 1  # in a turn: uvloop takes one of each socket that it listens on
FIRST_DEFAULT_PORT, LAST_DEFAULT_PORT = 8080, 8089
ACCEPTED_WITHIN_S = 0.01  # a connection that was just being accepted is known then, and what was asked before is read
TOLD_WITHIN_S = 0.5  # callers that read have an error in the format of their stream by then
CUT_WITHIN_S = 1.0  # an answer that is cut stops its LLM, and its connection is closed


async def _nobody() -> None:
    return


class StopHooks(NamedTuple):
    """What else happens when a server stops: `on_stop` ends what would never end by itself, `others_gone` returns when
    the answers that do not go through its connections are over, and `on_cut` tells those that are left why.
    """

    on_stop: Callable[[], None] = lambda: None
    others_gone: Callable[[], Awaitable[None]] = _nobody
    on_cut: Callable[[], None] = lambda: None


class Server:
    """Run `take_requests` in a task; `listening` is set once it does, `ended` when it is over.

    `stop` lets answers under way end, for `grace_s` at most; called again, it waits for none. Cancelled, it waits for
    none either. When `take_requests` has returned, no connection is open and no answer is under way.
    """

    def __init__(
        self,
        app: Application,
        grace_s: float,
        tls: ssl.SSLContext | None = None,
        by_calls: WithoutTask | None = None,
        hooks: StopHooks | None = None,
    ) -> None:
        self.listening, self.ended = asyncio.Event(), asyncio.Event()
        lines = b"x-masa-node: %b\r\n" % __version__.encode()
        self._connections = Connections(app, KEEP_ALIVE_S, lines, by_calls)
        self._grace_s = grace_s
        self._tls = tls
        self._hooks = hooks or StopHooks()
        self._grace: asyncio.Timeout | None = None
        self._stopping = asyncio.Event()

    async def take_requests(self, sock: socket.socket) -> None:
        """Until `stop` is called and all is over. The socket is closed then."""
        loop, listening = asyncio.get_running_loop(), contextlib.ExitStack()
        try:
            for each in range(ACCEPTED_AT_ONCE):
                one = sock.dup() if each else sock
                listening.callback(one.close)
                server = await loop.create_server(
                    lambda: BoundedHttpProtocol(self._connections), sock=one, ssl=self._tls, backlog=BACKLOG
                )
                listening.callback(server.close)
            self.listening.set()
            await self._stopping.wait()
            listening.close()
            self._connections.is_stopping = True  # what is asked on a connection from now on is the last
            await asyncio.sleep(ACCEPTED_WITHIN_S)
            self._connections.stop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._grace_s) as self._grace:
                    await asyncio.gather(self._connections.all_gone(), self._hooks.others_gone())
        finally:
            self._grace = None
            listening.close()
            await asyncio.shield(self._cut())
            self.ended.set()

    def stop(self) -> None:
        """See the class."""
        if self._stopping.is_set():
            self._grace_s = 0.0
            if self._grace is not None and not self._grace.expired():
                self._grace.reschedule(0)
        self._stopping.set()
        self._hooks.on_stop()

    async def _cut(self) -> None:
        """Close at once what is still open, so that nothing outlives the server."""
        connections = self._connections
        connections.stop()
        await asyncio.sleep(ACCEPTED_WITHIN_S)
        self._hooks.on_cut()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TOLD_WITHIN_S):
                await asyncio.gather(connections.all_gone(only_requests=True), self._hooks.others_gone())
        for task in list(connections.tasks):
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CUT_WITHIN_S):
                await connections.all_gone(only_requests=True)
                for connection in list(connections.crowd):
                    connection.close()  # once what was written last is sent
                await connections.all_gone()
        for connection in list(connections.crowd):
            connection.abort()
        await asyncio.sleep(0)  # a transport says in the event loop's next turn that it has ended


def bind(settings: Settings) -> socket.socket:
    """A listening socket. Raises `ConfigurationError` when the address cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    problem = then = ""
    for port in _ports(settings):
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((settings.host.strip("[]"), port))
            sock.listen(BACKLOG)
        except OSError as exc:
            sock.close()
            problem = f"{settings.host} port {port}: {exc.strerror or exc}"
            then = (
                "HOST to an address of this machine"
                if _is_of_host(exc)
                else "PORT (or HOST) to another one; 0 takes a free port"
            )
            if exc.errno != errno.EADDRINUSE:
                break
        else:
            return sock
    raise ConfigurationError(f"Cannot listen on {problem}. Set {then}.")


def _is_of_host(exc: OSError) -> bool:
    """No port would do: the name is unknown, or the address another machine's."""
    return isinstance(exc, socket.gaierror) or exc.errno == errno.EADDRNOTAVAIL


def _ports(settings: Settings) -> range:
    """Only the default port moves to the next free one: whoever named a port relies on it."""
    is_default = settings.port == FIRST_DEFAULT_PORT and not settings.port_is_set
    return range(settings.port, LAST_DEFAULT_PORT + 1 if is_default else settings.port + 1)


def address_of(sock: socket.socket) -> str:
    """The URL under which callers on this machine reach it."""
    host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - what was bound, not what is
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
