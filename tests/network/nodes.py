"""Whole nodes over the in-memory network: everything but the sockets and the HTTP side, on virtual time."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import msgspec

from masa_node.accounts.sessions import Sessions
from masa_node.accounts.under_way import UnderWay
from masa_node.chat.answer import StreamedAnswer
from masa_node.chat.errors import MasaError
from masa_node.chat.outcome import Attempt, Outcome
from masa_node.chat.request import Endpoint, RaceRule, Request, RequestId
from masa_node.network.links.invites import token_hash
from masa_node.network.links.peer_book import PeerBook
from masa_node.network.network import Network
from masa_node.network.transport.interfaces import NodeId
from masa_node.network.transport.memory import MemoryNetwork, MemoryTransport
from masa_node.node.no_stakes import NoStakes, StakeRules
from masa_node.node.peering.console_desk import ConsoleDesk
from masa_node.node.peering.linked_first import LinkedFirst
from masa_node.node.peering.parts import PeerParts
from masa_node.node.peering.wiring import OwnRecords, make_network
from masa_node.node.settings.environment import Settings
from masa_node.node.settings.peers import read_peer_settings
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


# As a node's own settings are; SHARE=local is what a node shares unless told otherwise.
OPEN = Settings(
    open_network=True,
    max_body=1_000_000,
    max_peer_jobs=SLOTS,
    max_peer_queue=2,
    peer_rate=100_000,
    llm_timeout=FIRST_PIECE_WITHIN_S,
    llm_idle_timeout=IDLE_S,
)
CLOSED = msgspec.structs.replace(OPEN, open_network=False)


@dataclass
class MemoryNode:
    """A node with `upstreams` behind it; `served` what it answered peers, `asked` what its owner asked."""

    transport: MemoryTransport
    settings: Settings = OPEN
    book: PeerBook | None = None
    catalog: Catalog = field(default_factory=Catalog)
    served: list[Outcome] = field(default_factory=list)
    asked: list[Outcome] = field(default_factory=list)
    invites: dict[bytes, int] = field(default_factory=dict)
    delegation: bytes | None = None
    stakes: StakeRules = field(default_factory=NoStakes)
    network: Network = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self.admission = Admission(64, 64)
        self.peer_admission = PeerAdmission(
            self.admission, settings.max_peer_jobs, settings.max_peer_queue, self.stakes.rank
        )
        linked, members = lambda: self.network.links.sessions, lambda: self.network.askable_members
        policy = LinkedFirst(self.stakes, linked, members, random.Random(self.id))  # noqa: S311 - a simulation
        choice = ChoiceRules(policy, self._arriving)
        self.dispatcher = Dispatcher(self.catalog, self.admission, nothing_new, self.asked.append, rules=choice)
        self.book = self.book or PeerBook(own=self.id, is_open=settings.open_network)
        parts = PeerParts(
            settings=settings,
            peer_settings=read_peer_settings(settings),
            catalog=self.catalog,
            admission=self.peer_admission,
            stakes=self.stakes,
            observe=self.served.append,
            refused=lambda _: None,
            instance="test",
            url="",
            console=ConsoleDesk(Sessions(), "", is_on=False),
            under_way=UnderWay(),
        )
        rng = random.Random(self.id)  # noqa: S311 - a simulation
        own = OwnRecords(self.book, self._use_invite, lambda: self.delegation, rng)
        self.network = make_network(parts, self.transport, own)

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


def make(network: MemoryNetwork, count: int, settings: Settings = OPEN) -> list[MemoryNode]:
    """So many nodes, numbered from 1."""
    return [MemoryNode(network.transport(number + 1), settings) for number in range(count)]


__all__ = ["CLOSED", "MODEL", "OPEN", "MemoryNode", "StreamedAnswer", "Told", "introduce", "make", "running"]
