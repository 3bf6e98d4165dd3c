"""Runs a node: listens, serves, looks after its LLM servers, and ends in good order."""

import asyncio
import contextlib
import errno
import gc
import socket
from collections.abc import Callable, Coroutine, Generator
from typing import Protocol, cast

import structlog
import uvicorn
from uvicorn._types import ASGIApplication

from masa_node import __version__
from masa_node.api.http1.protocol import BoundedHttpProtocol
from masa_node.api.http1.raw_responses import NOSNIFF
from masa_node.chat.errors import ConfigurationError
from masa_node.node.node import READY_WITHIN_S, Node, upstream_specs
from masa_node.node.proxies import check_proxies, read_proxies
from masa_node.node.settings.environment import Settings
from masa_node.node.signals import stop_signals
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.http.urls import ollama_url
from masa_node.upstreams.local_discovery import find_local, usual_places
from masa_node.upstreams.spec import UpstreamKind

KEEP_ALIVE_S = 75  # nginx's; shorter than that of common load balancers' upstream pools would cost them errors
GRACE_S = 10  # running answers may end after SIGTERM; a service manager kills after 90 s (systemd)
BACKLOG = 2048
TICK_S = 1.0  # of the Date header
MAX_DESCRIPTORS = 65_536
LAST_DEFAULT_PORT = 8089
FIND_WITHIN_S = 2.0
LOADED_WITHIN_S = 30.0  # an embedded model; a small one takes 1 to 3 s, one of 8 GB on a slow disk does not

log = structlog.get_logger()


class StartListener(Protocol):
    """Who is told how the start went."""

    def on_listening(self, address: str, node: Node) -> None:
        """Requests are taken at this address from now on."""
        ...

    def on_ready(self, address: str, node: Node) -> None:
        """Every LLM server was asked once what it serves, or SETTLED_WITHIN_S (LOADED_WITHIN_S) have passed."""
        ...


Beside = Callable[["Node"], Coroutine[None, None, None]]


async def run(settings: Settings, announce: StartListener, beside: Beside | None = None) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP; `beside` is one more task that ends with the node.

    Raises `ConfigurationError` before anything is started.
    """
    specs = upstream_specs(settings)
    proxies = read_proxies(settings)
    check_proxies(proxies, settings, specs)
    sock = bind(settings)
    with contextlib.closing(sock):
        async with HttpClient(proxies) as http:
            node = Node(settings, http)
            for spec in specs:
                node.add_spec(spec)
            _calm_the_collector()
            _raise_descriptor_limit()
            address = node.url = address_of(sock)
            server = _Server(node, lambda: announce.on_listening(address, node))
            async with asyncio.TaskGroup() as group:
                helpers = [group.create_task(node.poller.run())]
                looks = settings.find_local or settings.ollama_host
                if looks and not any(not spec.hosted and spec.kind is not UpstreamKind.DEMO for spec in specs):
                    node.found_first.clear()
                    helpers.append(group.create_task(_keep_finding(node)))
                helpers += [group.create_task(llm.run()) for llm in node.embedded]
                helpers.append(group.create_task(node.run_network()))
                if beside is not None:
                    helpers.append(group.create_task(beside(node)))
                helpers.append(group.create_task(_wait_until_ready(node, lambda: announce.on_ready(address, node))))
                await server.serve(sockets=[sock])
                for helper in helpers:
                    helper.cancel()


def _calm_the_collector() -> None:
    """Requests leave next to no cycles, so looking for them often is waste: 5 % of the CPU with 1 000 streams.

    What was imported is never looked at again; the rest is, a thirtieth as often as by default.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _raise_descriptor_limit() -> None:
    """A stream takes two sockets, and the usual soft limit of 1 024 is meant for programs that use select()."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def bind(settings: Settings) -> socket.socket:
    """A listening socket. Raises `ConfigurationError` when the address cannot be had."""
    wanted = [settings.port] if settings.port_is_set else range(settings.port, LAST_DEFAULT_PORT + 1)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    problem = ""
    for port in wanted:
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


def address_of(sock: socket.socket) -> str:
    """The URL under which callers on this machine reach it."""
    host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - what was bound, not what is
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _wait_until_ready(node: Node, settled: Callable[[], None]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOADED_WITHIN_S if node.embedded else READY_WITHIN_S):
            await node.found_first.wait()
            await node.poller.all_polled()
            await node.network_ready.wait()
    settled()


def places_to_look(settings: Settings) -> dict[str, str]:
    """Where LLM servers may be that nobody has named, by the name that each gets: usual ports, and OLLAMA_HOST."""
    places = usual_places() if settings.find_local else {}
    url = ollama_url(settings.ollama_host)
    return places if url is None else {**places, "ollama": url}


async def _keep_finding(node: Node) -> None:
    """No LLM server of his own was named: look for LLM servers on this machine, now and from time to time."""
    while True:
        known = frozenset(provider.name for provider in node.poller.providers)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIND_WITHIN_S):
                for spec in await find_local(node.http, places_to_look(node.settings), skip=known):
                    log.info("found an LLM server", upstream=spec.name, url=spec.url)
                    node.add_spec(spec)
        node.found_first.set()
        await asyncio.sleep(node.settings.llm_refresh)


class _Server(uvicorn.Server):
    """uvicorn without its own settings of signals and logs."""

    def __init__(self, node: Node, listening: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                cast("ASGIApplication", node.app),
                http=BoundedHttpProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                headers=[("x-masa-node", __version__), NOSNIFF],
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=GRACE_S,
                backlog=BACKLOG,
            )
        )
        self._listening = listening
        self._stopping = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening()

    async def main_loop(self) -> None:
        """uvicorn's, which looks ten times a second whether it should end: that is most of what an idle node costs."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._stopping.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        loop = asyncio.get_running_loop()
        numbers = stop_signals()
        for number in numbers:
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True
        self._stopping.set()
