"""Three nodes on this machine, linked over the real transport.

One listens and has no LLM. Two have a `masa-demo` of different speed and, where it can be had, a real LLM. The two
share its process, which a machine of two cores can bear.

Everything that they store is in a temporary folder. Of the owner's settings only the address and the LLM are used, and
no other network is touched.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import msgspec

from masa_node.node.node import Node, make_embedded
from masa_node.node.run import StartListener, run
from masa_node.node.serve import LOADED_WITHIN_S
from masa_node.node.settings.environment import Settings
from masa_node.node.settings.upstreams import upstream_specs
from masa_node.upstreams.demo import MODEL
from masa_node.upstreams.embedded.llm import EmbeddedLlm
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.spec import UpstreamKind, UpstreamSpec

SPEEDS = {"quick": 40.0, "steady": 15.0}  # words a second: a difference that can be seen
READY_WITHIN_S = 15.0
_LOOK_EVERY_S = 0.02


class DemoLlm(msgspec.Struct, frozen=True):
    """The real LLM: what LLM may name, or "", and then `why_not`."""

    name: str
    why_not: str = ""


Ready = Callable[[Node, list[Node], DemoLlm], None]


async def run_demo(values: Settings, llm: DemoLlm, announce: StartListener, ready: Ready) -> None:
    """Until SIGINT or SIGTERM. `ready` is called once the first node can ask the others, with it and them, and with the
    model id of the real LLM that they share.
    """
    with tempfile.TemporaryDirectory(prefix="masa-demo-") as folder:
        home = Path(folder)

        async def others(node: Node) -> None:
            async with contextlib.AsyncExitStack() as stack:
                embedded = await stack.enter_async_context(_embedded(llm, values)) if llm.name else None
                bootnode = await _bootnode_of(node)
                peers = [
                    await stack.enter_async_context(_peer(_peer_settings(values, home, name, bootnode)))
                    for name in SPEEDS
                ]
                await _until(lambda: len(node.catalog.offers_of(MODEL)) == len(peers))
                shared = await _share(embedded, node, peers) if embedded is not None else llm
                ready(node, peers, shared)
                await asyncio.get_running_loop().create_future()

        await run(_first_settings(values, home), announce, beside=others)


def _first_settings(values: Settings, home: Path) -> Settings:
    return Settings(
        host=values.host,
        port=values.port,
        port_is_set=values.port_is_set,
        api_key=values.api_key,
        allowed_hosts=values.allowed_hosts,
        allowed_origins=values.allowed_origins,
        log_level=values.log_level,
        log_format=values.log_format,
        race=values.race,
        race_width=values.race_width,
        privacy=values.privacy,
        find_local=False,
        masa_dir=str(home / "first"),
        masa_config=str(_empty_config(home)),
        network="on",
        open_network=True,  # reached from this machine only
        peer_host="127.0.0.1",
        node_name="first",
    )


def _peer_settings(values: Settings, home: Path, name: str, bootnode: str) -> Settings:
    return msgspec.structs.replace(
        _first_settings(values, home),
        masa_dir=str(home / name),
        open_network=False,
        bootnodes=bootnode,
        node_name=name,
        demo=True,
        demo_pieces_per_s=SPEEDS[name],
    )


def _empty_config(home: Path) -> Path:
    path = home / "masa.toml"
    path.touch()
    return path


@contextlib.asynccontextmanager
async def _embedded(llm: DemoLlm, values: Settings) -> AsyncGenerator[EmbeddedLlm]:
    async with HttpClient() as http, asyncio.TaskGroup() as group:
        embedded = make_embedded(UpstreamSpec("embedded", UpstreamKind.EMBEDDED, llm.name), values, http)
        running = group.create_task(embedded.run())
        try:
            yield embedded
        finally:
            running.cancel()


async def _share(embedded: EmbeddedLlm, node: Node, peers: list[Node]) -> DemoLlm:
    """Have all peers serve it, if it can be loaded."""
    try:
        async with asyncio.timeout(LOADED_WITHIN_S):
            is_loaded = await embedded.is_loaded()
    except TimeoutError:
        return DemoLlm("", f"{embedded.model_id} was not loaded within {LOADED_WITHIN_S:g} s")
    if not is_loaded:
        return DemoLlm("", f"{embedded.model_id} could not be started: {embedded.trouble}")
    for peer in peers:
        peer.add(embedded)
    await _until(lambda: len(node.catalog.offers_of(embedded.model_id)) == len(peers))
    return DemoLlm(embedded.model_id)


@contextlib.asynccontextmanager
async def _peer(settings: Settings) -> AsyncGenerator[Node]:
    """A node that serves no HTTP: it only meets its peers."""
    async with HttpClient() as http:
        node = Node(settings, http)
        for spec in upstream_specs(settings):
            node.add_spec(spec)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(node.poller.run()), group.create_task(node.peer_service.run())]
            try:
                yield node
            finally:
                for task in tasks:
                    task.cancel()


async def _bootnode_of(node: Node) -> str:
    await _until(lambda: bool(node.bootnode))
    return node.bootnode


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(READY_WITHIN_S):
        while not is_so():  # noqa: ASYNC110 - once, for a second
            await asyncio.sleep(_LOOK_EVERY_S)
