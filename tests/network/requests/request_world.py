"""Two nodes on an in-memory network: one asks, the other serves with scripted providers. Virtual time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from masa_node.chat.answer import Answer, StreamedAnswer
from masa_node.chat.errors import ProviderError
from masa_node.chat.offer import ModelOffer
from masa_node.chat.outcome import Outcome
from masa_node.chat.request import Endpoint, Request, RequestId
from masa_node.network.requests.remote_peer import RemotePeer
from masa_node.network.requests.server import NO_HOOKS, PeerServer, ServingHooks, ServingLimits
from masa_node.network.requests.sharing import SharedCatalog, SharePolicy
from masa_node.network.transport.interfaces import Link, NodeId
from masa_node.network.transport.memory import MemoryNetwork, fixed
from masa_node.routing.admission import Admission
from masa_node.routing.catalog import Catalog
from masa_node.routing.dispatch import Dispatcher
from masa_node.routing.provider import Provider
from tests.network.said import SaidMux, SaidStream

MODEL = "tiny"
REQUESTER, SERVER = 1, 2
LIMITS = ServingLimits(
    max_body_bytes=1_000_000,
    first_piece_timeout_s=30.0,
    idle_timeout_s=120.0,
    requests_per_minute=1_000,
    begin_timeout_s=600.0,
)

Serve = Callable[[NodeId, SaidStream], Coroutine[None, None, None]]


@dataclass(slots=True)
class World:
    """`link` is the requester's end; `serve` what becomes of the streams that come to the other node."""

    network: MemoryNetwork
    link: SaidMux
    requester_id: NodeId
    server_id: NodeId
    serving: asyncio.Task[None]
    is_trusted: bool = False
    peer: RemotePeer = field(init=False)

    def __post_init__(self) -> None:
        self.peer = RemotePeer(self.server_id, self._reach, lambda _: self.is_trusted, "bob", self.link.linked)

    async def _reach(self, peer: NodeId) -> SaidMux:
        del peer
        return self.link

    def stop_serving(self) -> None:
        """As a node that ends: its tasks are cancelled."""
        self.serving.cancel()


@dataclass(slots=True)
class Node:
    """A node that serves with these providers; all of them offer `models` at every endpoint."""

    providers: tuple[Provider, ...]
    limits: ServingLimits = LIMITS
    max_running: int = 10
    max_waiting: int = 10
    models: tuple[str, ...] = (MODEL,)
    policy: SharePolicy = field(default_factory=lambda: SharePolicy(local=True))
    hooks: ServingHooks = NO_HOOKS
    by_calls: bool = True  # as far as it is plain
    outcomes: list[Outcome] = field(default_factory=list)
    server: PeerServer = field(init=False)
    admission: Admission = field(init=False)
    dispatcher: Dispatcher = field(init=False)

    def __post_init__(self) -> None:
        catalog = Catalog()
        for provider in self.providers:
            catalog.put(provider, [ModelOffer(model, frozenset(Endpoint)) for model in self.models])
        shared = SharedCatalog(self.policy)
        shared.follow(catalog)
        self.admission = Admission(self.max_running, self.max_waiting)
        self.dispatcher = Dispatcher(shared.catalog, self.admission, _nothing, self.outcomes.append)
        self.server = PeerServer(self.dispatcher, shared, self.limits, "here", self.hooks)

    async def serve(self, peer: NodeId, stream: SaidStream) -> None:
        async with asyncio.TaskGroup() as group:
            if self.by_calls:
                self.server.serve_stream(peer, stream, group)
                await stream.is_over.wait()
            else:
                await self.server.serve(peer, stream)

    @property
    def outcome(self) -> Outcome:
        (outcome,) = self.outcomes
        return outcome


async def _nothing() -> None:
    pass


@asynccontextmanager
async def world(serve: Serve, latency_s: float = 0.001, seed: int = 0) -> AsyncIterator[World]:
    """Both nodes linked; each stream that the requester opens is given to `serve`. At the end nothing may be left."""
    network = MemoryNetwork(seed, fixed(latency_s))
    requester, server = network.transport(REQUESTER), network.transport(SERVER)
    async with asyncio.TaskGroup() as group:
        accepting = group.create_task(_accept(server.accept, serve))
        link = SaidMux(await requester.dial(server.address()))
        running = group.create_task(link.run())
        try:
            yield World(network, link, requester.keys.node_id, server.keys.node_id, accepting)
            await asyncio.sleep(10 * latency_s + 5)  # what is on its way arrives; who lingers goes
            assert link.streams == 0
        finally:
            accepting.cancel()
            running.cancel()
    await requester.close()
    await server.close()


async def _accept(accept: Callable[[], Awaitable[Link]], serve: Serve) -> None:
    link = SaidMux(await accept())
    async with asyncio.TaskGroup() as group:
        running = group.create_task(link.run())
        taking = group.create_task(_take_all(link, serve, group))
        await asyncio.wait([running])
        taking.cancel()


async def _take_all(link: SaidMux, serve: Serve, group: asyncio.TaskGroup) -> None:
    while True:
        stream = await link.accept()
        group.create_task(serve(link.peer, stream))


def ask(
    body: bytes = b'{"model":"tiny","stream":true}',
    *,
    model: str = MODEL,
    endpoint: Endpoint = Endpoint.OPENAI_CHAT,
    wants_stream: bool = True,
    headers: tuple[tuple[str, str], ...] = (),
) -> Request:
    return Request(
        request_id=RequestId("r-1"),
        endpoint=endpoint,
        model=model,
        wants_stream=wants_stream,
        body=body,
        headers=headers,
        first_piece_deadline_s=asyncio.get_running_loop().time() + 30,
        idle_timeout_s=120.0,
        begin_deadline_s=asyncio.get_running_loop().time() + 600,
    )


@dataclass(slots=True)
class Got:
    """What the requester got: the answer, its bytes, and what it broke with."""

    answer: Answer | None = None
    pieces: list[bytes] = field(default_factory=list)
    error: ProviderError | None = None

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def is_whole(self) -> bool:
        return self.answer is not None and self.error is None


async def take(peer: RemotePeer, asked: Request) -> Got:
    """Ask, and read the answer to its end."""
    got = Got()
    try:
        got.answer = answer = await peer.answer(asked)
        if isinstance(answer, StreamedAnswer):
            piece = answer.first
            while piece:
                got.pieces.append(piece)
                piece = await answer.next_piece()
        else:
            got.pieces.append(answer.body)
    except ProviderError as exc:
        got.error = exc
    finally:
        if got.answer is not None:
            got.answer.close()
    return got
