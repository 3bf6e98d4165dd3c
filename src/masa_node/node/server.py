"""Takes requests at one socket: uvicorn's server without its signals, its logs and its ticks."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Generator
from typing import cast

import uvicorn
from uvicorn._types import ASGIApplication

from masa_node.api.app import App
from masa_node.api.http1.protocol import BoundedHttpProtocol
from masa_node.api.http1.raw_responses import NOSNIFF
from masa_node.chat.errors import ConfigurationError
from masa_node.node.settings.environment import Settings
from masa_node.version import __version__

KEEP_ALIVE_S = 75  # nginx's; shorter than that of common load balancers' upstream pools would cost them errors
BACKLOG = 2048
TICK_S = 1.0  # of the Date header
FIRST_DEFAULT_PORT, LAST_DEFAULT_PORT = 8080, 8089
LOOK_EVERY_S = 0.01  # while answers under way may end
CUT_WITHIN_S = 1.0  # an answer that is cut stops its LLM, and its connection is closed


class Server(uvicorn.Server):
    """Run `take_requests` in a task; `listening` is set once it does, `ended` when it is over.

    `stop` lets answers under way end, for `grace_s` at most; called again, it waits for none. Cancelled, it waits for
    none either. When `take_requests` has returned, no connection is open and no answer is under way.
    """

    def __init__(self, app: App, grace_s: float) -> None:
        super().__init__(
            uvicorn.Config(
                cast("ASGIApplication", app),
                http=BoundedHttpProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                headers=[("x-masa-node", __version__), NOSNIFF],
                timeout_keep_alive=KEEP_ALIVE_S,
                backlog=BACKLOG,
                workers=1,  # this and the next would come from the environment
                forwarded_allow_ips="",
            )
        )
        self.servers: list[asyncio.Server] = []
        self.listening, self.ended = asyncio.Event(), asyncio.Event()
        self._grace_s = grace_s
        self._stopping = asyncio.Event()

    async def take_requests(self, sock: socket.socket) -> None:
        """Until `stop` is called and all is over. The socket is closed then."""
        try:
            await self.serve([sock])
        finally:
            await asyncio.shield(self._cut())
            self.ended.set()

    def stop(self) -> None:
        """See the class."""
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True
        self._stopping.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Uvicorn's, and says that it is done."""
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        """Uvicorn's looks ten times a second whether it should end: that is most of what an idle node costs."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no new connections; let answers under way end."""
        del sockets
        for server in self.servers:
            server.close()
        state = self.server_state
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._grace_s):
                while (state.connections or state.tasks) and not self.force_exit:
                    for connection in list(state.connections):
                        connection.shutdown()
                    await asyncio.sleep(LOOK_EVERY_S)

    async def _cut(self) -> None:
        """Close at once what is still open, so that nothing outlives the server."""
        for server in self.servers:
            server.close()
        state = self.server_state
        await asyncio.sleep(LOOK_EVERY_S)  # a connection that was just being accepted is among them then
        for task in list(state.tasks):
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CUT_WITHIN_S):
                while state.tasks:  # noqa: ASYNC110 - uvicorn has no event
                    await asyncio.sleep(0)
                for transport in self._transports():
                    transport.close()  # once what was written last is sent
                while state.connections:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(LOOK_EVERY_S)
        for transport in self._transports():
            transport.abort()
        await asyncio.sleep(0)  # a transport says in the event loop's next turn that it has ended

    def _transports(self) -> list[asyncio.Transport]:
        return [cast("BoundedHttpProtocol", connection).transport for connection in self.server_state.connections]

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """None: signals are the whole process' business (`run.py`)."""
        yield


def bind(settings: Settings) -> socket.socket:
    """A listening socket. Raises `ConfigurationError` when the address cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    problem = ""
    for port in _ports(settings):
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((settings.host.strip("[]"), port))
            sock.listen(BACKLOG)
        except OSError as exc:
            sock.close()
            problem = f"{settings.host} port {port}: {exc.strerror or exc}"
            if exc.errno != errno.EADDRINUSE:
                break
        else:
            return sock
    raise ConfigurationError(f"Cannot listen on {problem}. Set PORT (or HOST) to another one; 0 takes a free port.")


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
