"""Whole nodes over the in-memory network: everything but the sockets and the HTTP side, on virtual time."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from masa_node.chat.answer import StreamedAnswer
from masa_node.chat.errors import MasaError
from masa_node.chat.outcome import Attempt, Outcome
from masa_node.chat.request import Endpoint, RaceRule, Request, RequestId
from masa_node.network.gossip.own_advert import AboutNode, Advertiser
from masa_node.network.links.invites import token_hash
from masa_node.network.links.peer_book import PeerBook
from masa_node.network.network import Network, NetworkParts, NetworkRules
from masa_node.network.requests.server import PeerServer, ServingHooks, ServingLimits
from masa_node.network.requests.sharing import SharedCatalog, read_policy
from masa_node.network.transport.interfaces import NodeId
from masa_node.network.transport.memory import MemoryNetwork, MemoryTransport
from masa_node.node.no_stakes import NoStakes, StakeRules
from masa_node.routing.admission import Admission, PeerAdmission
from masa_node.routing.candidates import ChoiceRules
from masa_node.routing.catalog import Catalog
from masa_node.routing.dispatch import Dispatcher
from masa_node.upstreams.demo import MODEL, DemoModel
from tests.fakes.sinks import TakesAll

SLOTS = 4
FIRST_PIECE_WITHIN_S = 30.0
IDLE_S = 120.0


async def nothing_new() -> None:
    """A refresh that finds what was there before."""


@dataclass
class MemoryNode:
    """A node with `upstreams` behind it; `serving` what it answered peers, `asked` what its owner asked."""

    transport: MemoryTransport
    rules: NetworkRules = field(default_factory=lambda: NetworkRules(is_open=True))
    book: PeerBook | None = None
    catalog: Catalog = field(default_factory=Catalog)
    served: list[Outcome] = field(default_factory=list)
    asked: list[Outcome] = field(default_factory=list)
    invites: dict[bytes, int] = field(default_factory=dict)
    delegation: bytes | None = None
    stakes: StakeRules = field(default_factory=NoStakes)
    server: PeerServer = field(init=False)
    network: Network = field(init=False)

    def __post_init__(self) -> None:
        self.admission = Admission(64, 64)
        self.peer_admission = PeerAdmission(self.admission, SLOTS, 2, self.stakes.rank)
        choice = ChoiceRules(self.stakes, self._arriving)
        self.dispatcher = Dispatcher(self.catalog, self.admission, nothing_new, self.asked.append, rules=choice)
        shared = SharedCatalog(read_policy("local"))
        self.catalog.watch(lambda: shared.follow(self.catalog))
        peers = Dispatcher(shared.catalog, self.peer_admission, nothing_new, self.served.append)
        limits = ServingLimits(1_000_000, FIRST_PIECE_WITHIN_S, IDLE_S, 100_000)
        self.server = PeerServer(peers, shared, limits, "test", ServingHooks(self.stakes.vet))
        self.book = self.book or PeerBook(own=self.id, is_open=self.rules.is_open)
        parts = NetworkParts(
            transport=self.transport,
            catalog=self.catalog,
            server=self.server,
            advertiser=Advertiser(self.transport.keys, shared.offers, self._about),
            book=self.book,
            use_invite=self._use_invite,
            rng=random.Random(self.id),  # noqa: S311 - a simulation
        )
        self.network = Network(parts, self.rules)

    @property
    def id(self) -> NodeId:
        return self.transport.keys.node_id

    async def serve_demo(self, pieces_per_s: float = 50.0, name: str = "demo") -> DemoModel:
        """Put a `masa-demo` behind it."""
        model = DemoModel(name, pieces_per_s)
        self.catalog.put(model, await model.offers())
        return model

    async def ask(self, race: RaceRule | None = None, model: str = MODEL) -> "Told":
        """Have the owner ask, and read all of the answer."""
        told = Told()
        outcome = await self.dispatcher.answer(self.a_request(race, model), told)
        told.served_by = outcome.served_by or ""
        return told

    def a_request(self, race: RaceRule | None = None, model: str = MODEL) -> Request:
        """A streamed chat."""
        return Request(
            request_id=RequestId("r"),
            endpoint=Endpoint.OPENAI_CHAT,
            model=model,
            wants_stream=True,
            body=b'{"model":"%s","messages":[{"role":"user","content":"hi"}],"stream":true}' % model.encode(),
            headers=(("content-type", "application/json"),),
            first_piece_deadline_s=asyncio.get_running_loop().time() + FIRST_PIECE_WITHIN_S,
            idle_timeout_s=IDLE_S,
            race=race or RaceRule(),
        )

    def _arriving(self) -> Sequence[str]:
        return self.network.arriving()

    def _about(self) -> AboutNode:
        return AboutNode("test", "", self.transport.address(), self.peer_admission.running, SLOTS, self.delegation)

    async def _use_invite(self, token: bytes, peer: NodeId) -> bool:
        del peer
        left = self.invites.get(token_hash(token), 0)
        self.invites[token_hash(token)] = left - 1
        return left > 0


@dataclass
class Told(TakesAll):
    """What a caller got."""

    body: bytes = b""
    pieces: int = 0
    served_by: str = ""
    error: MasaError | None = None

    async def piece(self, data: bytes, /) -> None:
        self.body += data
        self.pieces += 1

    async def end(self, last: bytes) -> None:
        self.body += last

    async def failed(self, error: MasaError, attempts: Sequence[Attempt]) -> int:
        self.error = error
        return 0

    @property
    def is_whole(self) -> bool:
        return self.error is None and self.body.rstrip().endswith(b"[DONE]")


@contextlib.asynccontextmanager
async def running(*nodes: MemoryNode) -> AsyncIterator[None]:
    """All of them, until the block ends."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(node.network.run()) for node in nodes]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


def introduce(nodes: Sequence[MemoryNode]) -> None:
    """Each knows where the first one is."""
    for node in nodes[1:]:
        node.network.want([nodes[0].transport.address()])


def make(network: MemoryNetwork, count: int, rules: NetworkRules | None = None) -> list[MemoryNode]:
    """So many nodes, numbered from 1."""
    return [MemoryNode(network.transport(number + 1), rules or NetworkRules(is_open=True)) for number in range(count)]


__all__ = ["MODEL", "MemoryNode", "StreamedAnswer", "Told", "introduce", "make", "running"]
