"""A peer that says what it likes, on the transport that nodes use; and the siege that it lays to a node in memory.

`ada` is besieged, `bob` is an honest peer of hers, `eve` is hostile. Each serves a model of its own.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field

import msgspec
from structlog.testing import capture_logs

from masa_node.chat.errors import LinkLost, StreamReset
from masa_node.chat.request import PASSED_ENDPOINTS, Endpoint
from masa_node.network.gossip.adverts import ADVERT_LIFETIME_S, Advert, AdvertModel, sign_advert
from masa_node.network.gossip.messages import Push, write_message
from masa_node.network.links.control import Beat, Hello
from masa_node.network.links.frames import FrameKind, FrameReader, frame, header_frame
from masa_node.network.links.session import ControlStream
from masa_node.network.network import LOG_BURST
from masa_node.network.requests.frames import RequestHeader
from masa_node.network.requests.server import LINGER_S
from masa_node.network.transport.interfaces import Keys, Link, PeerAddress, Transport
from masa_node.network.transport.memory import MemoryNetwork
from masa_node.node.settings.environment import Settings
from masa_node.upstreams.demo import DemoModel
from tests.network.nodes import OPEN, MemoryNode, Told, make, running
from tests.network.said import SaidMux, SaidStream
from tests.virtual_time import until

OF_ADA, OF_BOB, OF_EVE, OF_ALL = "of-ada", "of-bob", "of-eve", "of-all"
SLOW = "slow"  # ada's, too: a minute and more for each answer
GONE = (StreamReset, LinkLost)
EVERY_ENDPOINT = tuple(endpoint.value for endpoint in Endpoint if endpoint not in PASSED_ENDPOINTS)
BODY = b'{"model":"of-ada","messages":[{"role":"user","content":"hi"}],"stream":true}'
MAX_LOG_LINES = LOG_BURST + 60  # of a siege that lasts some minutes, whatever is done in it
TASKS_A_DIAL = 2
TASKS_A_CHANNEL = 3
LONG_ENOUGH_S = 40.0  # for every timer of a node to run out

Act = Callable[["Eve"], Awaitable[None]]
Behaviour = Callable[[SaidStream], Awaitable[None]]


def request_header(size: int = len(BODY), **changed: object) -> bytes:
    """The first frame of a request."""
    fields: dict[str, object] = {
        "request_id": "r-1",
        "endpoint": "openai.chat",
        "model": OF_ADA,
        "wants_stream": True,
        "body_bytes": size,
        "first_piece_within_ms": 30_000,
    }
    return header_frame(FrameKind.REQUEST, msgspec.convert(fields | changed, RequestHeader))


GOOD_REQUEST = request_header() + frame(FrameKind.BODY, BODY)


def advert(keys: Keys, sequence: int, at_unix_s: float, **changed: object) -> bytes:
    """A signed advert of this node, as it travels."""
    fields: dict[str, object] = {
        "node_id": keys.node_id,
        "sequence": sequence,
        "issued_at_unix_s": int(at_unix_s),
        "expires_at_unix_s": int(at_unix_s) + ADVERT_LIFETIME_S,
        "models": (AdvertModel(OF_EVE, EVERY_ENDPOINT), AdvertModel(OF_ALL, EVERY_ENDPOINT)),
    }
    return sign_advert(Advert(**(fields | changed)), keys).signed  # type: ignore[arg-type]


def pushed(*adverts: bytes, is_news: bool = True) -> bytes:
    """A gossip frame with these adverts."""
    return frame(FrameKind.GOSSIP, write_message(Push(adverts, is_news)))


class EveLink(SaidMux):
    """A link on which she was let in: what she opens and takes are requests on channels."""

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self._running = asyncio.create_task(self.run())


@dataclass
class Eve:
    """One hostile peer; `target` is where the besieged node is."""

    transport: Transport
    target: PeerAddress
    links: list[Link] = field(default_factory=list)
    asked: int = 0

    async def dial(self) -> Link:
        """A link on which nothing was said yet."""
        link = await self.transport.dial(self.target)
        self.links.append(link)
        return link

    async def enter(self, hello: Hello | None = None) -> tuple[EveLink, ControlStream]:
        """A link on which she was let in."""
        link = await self.dial()
        control = ControlStream(await link.open())
        await control.write(header_frame(FrameKind.HELLO, hello or Hello("evil", "eve")))
        kind, _ = await control.next()
        assert kind is FrameKind.WELCOME
        return EveLink(link), control

    async def stay(self, control: ControlStream, *, tells: bytes = b"") -> None:
        """Behave well on the control stream, until the link is gone: answer each heartbeat."""
        with contextlib.suppress(*GONE):
            if tells:
                await control.write(tells)
            while True:
                kind, payload = await control.next()
                if kind is FrameKind.PING:
                    await control.write(frame(FrameKind.PONG, payload))

    async def serve(self, link: EveLink, behave: Behaviour) -> None:
        """Treat every request so, until the link is gone."""
        with contextlib.suppress(LinkLost):
            async with asyncio.TaskGroup() as group:
                while True:
                    stream = await link.accept()
                    self.asked += 1
                    group.create_task(self._treat(stream, behave))

    @staticmethod
    async def _treat(stream: SaidStream, behave: Behaviour) -> None:
        with contextlib.suppress(*GONE):
            await behave(stream)
        stream.abort()

    def leave(self) -> None:
        """Close every link."""
        for link in self.links:
            link.close("bye")


async def read_request(stream: SaidStream) -> None:
    """Take the whole request of another node, whose body is short."""
    reader, has_body = FrameReader(), False
    while not has_body:
        has_body = any(kind is FrameKind.BODY for kind, _ in reader.feed(await stream.read()))


async def beats(control: ControlStream, count: int, pause_s: float = 0.0) -> None:
    """So many heartbeats, which are to be answered."""
    for number in range(count):
        await control.write(header_frame(FrameKind.PING, Beat(number)))
        if pause_s:
            await asyncio.sleep(pause_s)


@dataclass
class Siege:
    """`lines` is what ada has logged."""

    network: MemoryNetwork
    ada: MemoryNode
    bob: MemoryNode
    eve: Eve
    lines: list[dict[str, object]]
    others: list[Eve] = field(default_factory=list)

    def another_eve(self, number: int, location: str | None = None) -> Eve:
        """The same with a fresh key; at this address."""
        eve = Eve(self.network.transport(100 + number, (location,) if location else None), self.eve.target)
        self.others.append(eve)
        return eve

    @property
    def tasks_that_may_be(self) -> int:
        """Eve, and those whom she told of, are tried again from time to time; channels are kept."""
        dialing = sum(TASKS_A_DIAL * len(node.network._dialing._dialing) for node in (self.ada, self.bob))
        return TASKS_A_CHANNEL * self.open_mux + dialing

    @property
    def open_mux(self) -> int:
        """Ends of channels between ada and bob: they are kept."""
        sessions = [each for node in (self.ada, self.bob) for each in node.network.links.sessions.values()]
        return sum(len(each.mux._own) + len(each.mux._theirs) for each in sessions)

    async def honest_peers_are_well(self) -> None:
        """Ada serves bob, and he serves her, within the usual time."""
        async with asyncio.timeout(5):
            assert_whole(await self.bob.ask(model=OF_ADA), self.ada)
            assert_whole(await self.ada.ask(model=OF_BOB), self.bob)


def assert_whole(told: Told, by: MemoryNode) -> None:
    """The answer is whole, and is that node's."""
    assert told.is_whole, told
    assert told.served_by == by.id


@contextlib.asynccontextmanager
async def siege(settings: Settings = OPEN, *, max_lines: int = MAX_LOG_LINES) -> AsyncGenerator[Siege]:
    """Ada and bob, linked. At the end, eve gone, both are well and nothing of her is left, in the log neither."""
    network = MemoryNetwork(seed=3)
    ada, bob = make(network, 2, settings)
    await _serve(ada, 1_000, OF_ADA)
    await _serve(ada, 0.2, SLOW)
    await _serve(bob, 1_000, OF_BOB, OF_ALL)
    ada.network.want([bob.transport.address()])
    bob.network.want([ada.transport.address()])
    with capture_logs() as lines:
        async with running(ada, bob):
            await until(lambda: ada.catalog.knows(OF_BOB) and bob.catalog.knows(OF_ADA), within_s=30)
            tasks = len(asyncio.all_tasks())
            here = Siege(network, ada, bob, Eve(network.transport(66), ada.transport.address()), lines)
            lines.clear()
            yield here
            await here.honest_peers_are_well()
            for eve in (here.eve, *here.others):
                eve.leave()
            await asyncio.sleep(LONG_ENOUGH_S)
            await here.honest_peers_are_well()
            await asyncio.sleep(LINGER_S + 1)
            _nothing_is_left(here)
            await until(lambda: len(asyncio.all_tasks()) <= tasks + here.tasks_that_may_be, within_s=60)
            assert len(lines) <= max_lines, [line["event"] for line in lines]
            assert not any("bug" in str(line["event"]) for line in lines)


def _nothing_is_left(here: Siege) -> None:
    ada = here.ada
    assert set(ada.network.links.sessions) == {here.bob.id}
    assert (ada.admission.running, ada.peer_admission.running, ada.peer_admission.waiting) == (0, 0, 0)
    assert not ada.network.links._greetings
    assert here.network.open_links == 2
    mux = [session.mux for node in (ada, here.bob) for session in node.network.links.sessions.values()]
    assert not sum(each.streams for each in mux)
    assert here.network.open_streams == 2 + here.open_mux  # the control stream's ends
    own = here.eve.transport.keys.node_id  # fresh keys whose adverts tell of it are known by these alone
    assert own not in {provider.name for provider, _ in ada.catalog.offers_of(OF_EVE)}


async def _serve(node: MemoryNode, pieces_per_s: float, *models: str) -> None:
    demo = DemoModel(models[0], pieces_per_s)
    (offer,) = await demo.offers()
    node.catalog.put(demo, [msgspec.structs.replace(offer, model=model) for model in models])


@contextlib.asynccontextmanager
async def beside(*tasks: Coroutine[None, None, None]) -> AsyncGenerator[None]:
    """These run while the block does."""
    async with asyncio.TaskGroup() as group:
        started = [group.create_task(task) for task in tasks]
        try:
            yield
        finally:
            for task in started:
                task.cancel()
