"""Starts a node inside a program, a test, or `masa-node up`, and ends all of it again.

What concerns the whole process is not touched here: no signals, limits, garbage collector, environment, logging.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence

import structlog

from masa_node.node.node import READY_WITHIN_S, Node
from masa_node.node.proxies import check_proxies, read_proxies
from masa_node.node.server import Server, StopHooks, address_of, bind
from masa_node.node.settings.environment import Settings, check_settings
from masa_node.node.settings.upstreams import upstream_specs
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.http.urls import ollama_url
from masa_node.upstreams.local_discovery import find_local, usual_places
from masa_node.upstreams.spec import UpstreamKind, UpstreamSpec
from masa_node.upstreams.upstream import Upstream

GRACE_S = 10.0  # answers under way may end; a service manager kills after 90 s (systemd)
FIND_WITHIN_S = 2.0
LOADED_WITHIN_S = 30.0  # an embedded model; a small one takes 1 to 3 s, one of 8 GB on a slow disk does not

log = structlog.get_logger()


@contextlib.asynccontextmanager
async def serve(settings: Settings, *, is_ready: bool = True, grace_s: float = GRACE_S) -> AsyncGenerator[Node]:
    """A node that runs while the block does; `node.url` is where it takes requests. `port=0` takes a free port.

    The block begins once every LLM server was asked what it serves and the peers' side is up. For these it waits up to
    3 s (30 s for a model that the node itself loads). With `is_ready=False` it begins as soon as requests are taken.

    When the block ends, answers under way have `grace_s` to end. Then sockets, tasks and child processes are gone. When
    it is cancelled or raises, they are cut at once, and its own exception comes out. Raises `ConfigurationError` before
    anything is started, also for a port in use. Where a part of the node fails, the block is cancelled and an
    `ExceptionGroup` raised. Any number of nodes may run in one process, each with a `masa_dir` of its own.
    """
    async with listening(settings, grace_s) as (node, _):
        if is_ready:
            await until_ready(node)
        yield node


@contextlib.asynccontextmanager
async def listening(settings: Settings, grace_s: float) -> AsyncGenerator[tuple[Node, Server]]:
    """As `serve`, from when requests are taken; gives the server too, so that the block can stop it."""
    check_settings(settings)
    specs = upstream_specs(settings)
    proxies = read_proxies(settings)
    check_proxies(proxies, settings, specs)
    with contextlib.closing(bind(settings)) as sock:
        async with HttpClient(proxies, settings.max_concurrent + settings.max_peer_jobs) as http:
            node = Node(settings, http, address_of(sock))
            for spec in specs:
                node.add_spec(spec)
            access = node.access
            hooks = StopHooks(access.events.end, node.peer_service.stop_serving, access.under_way.stop)
            server = Server(node.app, grace_s, None, node.app, hooks)
            failure: Exception | None = None
            async with asyncio.TaskGroup() as group:
                taking = group.create_task(server.take_requests(sock))
                keepers = [group.create_task(node.ledger.run())] if node.ledger is not None else []
                helpers = _start_helpers(node, specs, group)
                await server.listening.wait()
                try:
                    yield node, server
                except Exception as exc:  # noqa: BLE001 - raised below: out of a TaskGroup it would come as a group
                    failure = exc
                    server.stop()
                finally:
                    node.tell()  # before the ledger ends, however that comes
                server.stop()
                await taking
                await _ended(helpers)
                node.tell()
                await _ended(keepers)  # last: what peers' requests came to is counted, too
            if failure is not None:
                raise failure


def _start_helpers(node: Node, specs: Sequence[UpstreamSpec], group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
    helpers = [group.create_task(node.poller.run())]
    if _looks_for_more(node.settings, specs):
        node.found_first.clear()
        helpers.append(group.create_task(_keep_finding(node)))
    helpers += [group.create_task(llm.run()) for llm in node.embedded]
    helpers.append(group.create_task(node.peer_service.run()))
    helpers.append(group.create_task(node.access.run()))
    helpers.append(group.create_task(node.tell_changes()))
    return helpers


def _looks_for_more(settings: Settings, specs: Sequence[UpstreamSpec]) -> bool:
    """Are LLM servers on this machine looked for? Not once the owner has named one of their own."""
    looks = bool(settings.find_local or settings.ollama_host)
    return looks and not any(not spec.hosted and spec.kind is not UpstreamKind.DEMO for spec in specs)


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """End these; what one of them raises is the group's."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def until_ready(node: Node) -> None:
    """Until every LLM server was asked once what it serves, and the network is up if there is one; bounded."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOADED_WITHIN_S if node.embedded else READY_WITHIN_S):
            await node.found_first.wait()
            await node.poller.all_polled()
            await node.peer_service.ready.wait()


def places_to_look(settings: Settings) -> dict[str, str]:
    """Where LLM servers may be that nobody has named, by the name that each gets: usual ports, and OLLAMA_HOST."""
    places = usual_places() if settings.find_local else {}
    url = ollama_url(settings.ollama_host)
    return places if url is None else {**places, "ollama": url}


async def unstarted_servers(settings: Settings, http: HttpClient) -> list[Upstream]:
    """The LLM servers that a node with these settings would have, but those in this process. Nothing is started.

    Raises `ConfigurationError` where the settings of one cannot be.
    """
    specs = upstream_specs(settings)
    with contextlib.suppress(TimeoutError):
        if _looks_for_more(settings, specs):
            async with asyncio.timeout(FIND_WITHIN_S):
                specs += await find_local(http, places_to_look(settings), skip=frozenset())
    inside = (UpstreamKind.DEMO, UpstreamKind.EMBEDDED)
    return [Upstream(spec, http) for spec in specs if spec.kind not in inside]


async def _keep_finding(node: Node) -> None:
    """No LLM server of its owner's was named: look for LLM servers on this machine, now and from time to time."""
    while True:
        known = frozenset(provider.name for provider in node.poller.providers)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIND_WITHIN_S):
                for spec in await find_local(node.http, places_to_look(node.settings), skip=known):
                    log.info("found an LLM server", upstream=spec.name, url=spec.url)
                    node.add_spec(spec)
        node.found_first.set()
        await asyncio.sleep(node.settings.llm_refresh)
