"""Thousands of races, then a count of what is left: no task, stream or link more than before, and no memory.

    python -m bench.leaks --races 10000

runs them over iroh and in the in-memory network, and exits with 1 if anything is left. One node asks, two serve, all in
this process. Peers answer at once, late, with an error, or never; callers lose patience or go in the middle.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import random
import resource
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from masa_node.accounts.sessions import Sessions
from masa_node.accounts.under_way import UnderWay
from masa_node.chat.answer import Answer, StreamedAnswer, Usage
from masa_node.chat.errors import BrokenAnswer
from masa_node.chat.offer import ModelOffer
from masa_node.chat.outcome import Attempt, Outcome
from masa_node.chat.request import DialectName, Endpoint, RaceMode, RaceRule, Request, RequestId
from masa_node.network.links.peer_book import PeerBook
from masa_node.network.network import Network
from masa_node.network.transport.interfaces import NodeId, Transport
from masa_node.network.transport.iroh.endpoint import TransportOptions, open_transport
from masa_node.network.transport.memory import MemoryNetwork
from masa_node.node.no_stakes import NoStakes
from masa_node.node.peering.console_desk import ConsoleDesk
from masa_node.node.peering.parts import PeerParts
from masa_node.node.peering.wiring import OwnRecords, make_network
from masa_node.node.settings.environment import Settings
from masa_node.node.settings.peers import read_peer_settings
from masa_node.routing.admission import Admission, PeerAdmission
from masa_node.routing.catalog import Catalog
from masa_node.routing.dispatch import Dispatcher
from masa_node.routing.provider import Sign, no_sign
from tests.fakes.sinks import TakesAll
from tests.virtual_time import VirtualTimeLoop

MODEL = "tiny"
SERVING = 2
AT_ONCE = 32  # races
SHARE_LEAVING = 0.1  # of the callers, in the middle
PATIENCE_S = 1.0  # for the first piece
LATE_S = 0.002
SETTLE_S = 10.0  # for what was cancelled to be over everywhere
LOOK_EVERY_S = 0.05
MAX_GROWTH = 0.10
MAX_GROWTH_MB = 8.0  # caches that fill, and the allocator's moods

_FRAME = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
_LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
_PIECES = (_FRAME, _FRAME, _LAST)


@dataclass
class Llm:
    """An LLM of moods, as a `Provider`; `open` counts the answers that are not over."""

    rng: random.Random
    open: int = 0
    name: str = "llm"
    location: str = "llm"
    is_local = True
    is_hosted = False
    priority = 0
    is_trusted = True

    async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
        """See `Provider`."""
        del request, sign
        self.open += 1
        try:
            await self._think()
        except BaseException:
            self.open -= 1
            raise
        return self._stream()

    async def _think(self) -> None:
        mood = self.rng.random()
        if mood < 0.02:
            await asyncio.Event().wait()
        if mood < 0.10:
            raise BrokenAnswer("it broke.")
        if mood < 0.50:
            await asyncio.sleep(self.rng.expovariate(1 / LATE_S))

    def _stream(self) -> StreamedAnswer:
        pieces, is_open = iter(_PIECES), True

        async def next_piece() -> bytes:
            await asyncio.sleep(0)
            return next(pieces, b"")

        def close() -> None:
            nonlocal is_open
            self.open -= is_open
            is_open = False

        head = (("content-type", "text/event-stream"),)
        first = next(pieces)
        return StreamedAnswer(200, head, DialectName.OPENAI, first, next_piece, close, lambda: 1, Usage())


SETTINGS = Settings(
    open_network=True,
    max_concurrent=1_000,
    max_peer_jobs=1_000,
    max_peer_queue=1_000,
    peer_rate=1_000_000_000,
    llm_timeout=30.0,
    llm_idle_timeout=30.0,
)


@dataclass
class Node:
    """A node over any transport, with or without an LLM."""

    transport: Transport
    llm: Llm | None = None
    catalog: Catalog = field(default_factory=Catalog)
    network: Network = field(init=False)

    def __post_init__(self) -> None:
        stakes = NoStakes()
        self.asks = Admission(SETTINGS.max_concurrent, 0)
        self.dispatcher = Dispatcher(self.catalog, self.asks, _nothing_new, _observe)
        self.peer_admission = PeerAdmission(self.asks, SETTINGS.max_peer_jobs, SETTINGS.max_peer_queue, stakes.rank)
        parts = PeerParts(
            settings=SETTINGS,
            peer_settings=read_peer_settings(SETTINGS),
            catalog=self.catalog,
            admission=self.peer_admission,
            stakes=stakes,
            observe=_observe,
            refused=lambda _code: None,
            instance="bench",
            url="",
            console=ConsoleDesk(Sessions(), "", is_on=False),
            under_way=UnderWay(),
        )
        book = PeerBook(own=self.transport.keys.node_id, is_open=True)
        own = OwnRecords(book, _no_invite, lambda: None, random.Random(1))
        self.network = make_network(parts, self.transport, own)
        if self.llm is not None:
            self.catalog.put(self.llm, [ModelOffer(MODEL, frozenset({Endpoint.OPENAI_CHAT}))])


@dataclass(frozen=True, slots=True)
class Left:
    """What there is at one moment."""

    tasks: int
    streams: int  # answers that are open, places that are taken, and what the transport counts
    links: int
    rss_mb: float


class World:
    """One asking node, the others serving; all linked."""

    def __init__(self, nodes: Sequence[Node], rng: random.Random) -> None:
        self._asking, *self._serving = nodes
        self._rng = rng
        self.won = 0

    async def races(self, count: int) -> None:
        """So many, AT_ONCE at a time; returns when the last one is over."""
        left = iter(range(count))

        async def one_after_another() -> None:
            for _ in left:
                await self._race()

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(one_after_another())

    async def _race(self) -> None:
        caller = Caller(leaves=self._rng.random() < SHARE_LEAVING)
        with contextlib.suppress(LeftError):
            await self._asking.dispatcher.answer(_a_request(), caller)
        self.won += caller.was_answered

    async def left(self) -> Left:
        """What there is once everything that was cancelled is over, or after SETTLE_S."""
        with contextlib.suppress(TimeoutError):
            await _until(lambda: not self._streams())
        await asyncio.sleep(10 * LOOK_EVERY_S)  # what ends behind the last answer
        gc.collect()
        links = sum(len(node.network.links.sessions) for node in self._nodes())
        return Left(len(asyncio.all_tasks()), self._streams(), links, _rss_mb())

    def _streams(self) -> int:
        answers = sum(node.llm.open for node in self._serving if node.llm is not None)
        slots = sum(node.asks.running + node.peer_admission.running for node in self._nodes())
        health = self._asking.dispatcher.stats.health
        asked = sum(health.of(node.transport.keys.node_id).running for node in self._serving)
        calls = sum(session.mux.streams for node in self._nodes() for session in node.network.links.sessions.values())
        return answers + slots + asked + calls

    def _nodes(self) -> Sequence[Node]:
        return (self._asking, *self._serving)


class LeftError(Exception):
    """The caller has gone."""


class Caller(TakesAll):
    """Reads to the end, or leaves at the first piece."""

    def __init__(self, *, leaves: bool) -> None:
        self._leaves = leaves
        self.was_answered = False

    async def head(self, answer: Answer, attempts: Sequence[Attempt]) -> None:
        """See `Sink`."""
        del answer, attempts
        self.was_answered = True

    async def piece(self, data: bytes, /) -> None:
        """See `Sink`."""
        del data
        if self._leaves:
            raise LeftError


async def _until(is_so: Callable[[], bool]) -> None:
    """Looks now and then; raises TimeoutError after SETTLE_S."""
    async with asyncio.timeout(SETTLE_S):
        while not is_so():  # noqa: ASYNC110 - half of what is looked at is no event's
            await asyncio.sleep(LOOK_EVERY_S)


def _observe(outcome: Outcome) -> None:
    """Nobody is told."""
    del outcome


async def _nothing_new() -> None:
    """No other model appears."""


async def _no_invite(token: bytes, peer: NodeId) -> bool:
    del token, peer
    return False


def _a_request() -> Request:
    return Request(
        request_id=RequestId("r"),
        endpoint=Endpoint.OPENAI_CHAT,
        model=MODEL,
        wants_stream=True,
        body=b'{"model":"%s","stream":true,"messages":[]}' % MODEL.encode(),
        headers=(("content-type", "application/json"),),
        first_piece_deadline_s=asyncio.get_running_loop().time() + PATIENCE_S,
        idle_timeout_s=10.0,
        race=RaceRule(RaceMode.ALL),
    )


def _rss_mb() -> float:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # no Linux: the most there ever was
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return pages * resource.getpagesize() / 1e6


@contextlib.asynccontextmanager
async def world(transports: Sequence[Transport], seed: int = 1) -> AsyncIterator[World]:
    """The first asks, the others serve; all are linked and known when the block begins."""
    rng = random.Random(seed)
    asking = Node(transports[0])
    serving = [Node(transport, Llm(random.Random(rng.random()))) for transport in transports[1:]]
    asking.network.want([node.transport.address() for node in serving])
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(node.network.run()) for node in (asking, *serving)]
        try:
            await _until(lambda: len(asking.catalog.offers_of(MODEL)) == len(serving))
            yield World((asking, *serving), rng)
        finally:
            for task in running:
                task.cancel()


@contextlib.asynccontextmanager
async def over_iroh() -> AsyncIterator[list[Transport]]:
    """Real sockets on loopback."""
    async with contextlib.AsyncExitStack() as stack:
        transports: list[Transport] = []
        for _ in range(1 + SERVING):
            transport = await open_transport(secrets.token_bytes(32), TransportOptions("127.0.0.1"))
            stack.push_async_callback(transport.close)
            transports.append(transport)
        yield transports


@contextlib.asynccontextmanager
async def in_memory() -> AsyncIterator[list[Transport]]:
    """The simulated network."""
    network = MemoryNetwork(seed=1)
    yield [network.transport(number) for number in range(1, 2 + SERVING)]
    if network.open_streams or network.open_links:
        raise RuntimeError(f"{network.open_streams} streams and {network.open_links} links are left")


Transports = Callable[[], contextlib.AbstractAsyncContextManager[list[Transport]]]
NETWORKS: dict[str, Transports] = {"iroh": over_iroh, "memory": in_memory}


async def look_for_leaks(transports: Transports, races: int) -> tuple[list[str], str]:
    """What is left after so many races, and what was counted, in words. A fifth comes before the first count."""
    began_s = time.monotonic()
    async with transports() as made, world(made) as here:
        await here.races(races // 5)
        before = await here.left()
        await here.races(races - races // 5)
        after = await here.left()
        faults = [
            f"{getattr(after, what)} {what}, {getattr(before, what)} before"
            for what in ("tasks", "streams", "links")
            if getattr(after, what) > getattr(before, what)
        ]
        if after.streams:
            faults.append(f"{after.streams} requests are still under way")
        if after.rss_mb > before.rss_mb * (1 + MAX_GROWTH) + MAX_GROWTH_MB:
            faults.append(f"{after.rss_mb:.0f} MB, {before.rss_mb:.0f} MB before")
        if here.won < races // 2:
            faults.append(f"only {here.won} of {races} races had a winner")
    counted = (
        f"{races} races of {SERVING} peers, {here.won} won, in {time.monotonic() - began_s:.0f} s; "
        f"tasks {before.tasks} -> {after.tasks}, links {before.links} -> {after.links}, "
        f"memory {before.rss_mb:.1f} -> {after.rss_mb:.1f} MB (after a fifth -> after all)"
    )
    return faults, counted


def main() -> int:
    """Both networks, each in a loop of its own; 1 if anything is left."""
    parser = argparse.ArgumentParser(prog="python -m bench.leaks", description="Races, and what is left of them.")
    parser.add_argument("--races", type=int, default=10_000)
    parser.add_argument("--only", choices=NETWORKS)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    failed = 0
    for name in [arguments.only] if arguments.only else NETWORKS:
        new_loop: Callable[[], asyncio.AbstractEventLoop] = _iroh_loop() if name == "iroh" else VirtualTimeLoop
        with asyncio.Runner(loop_factory=new_loop) as runner:
            faults, counted = runner.run(look_for_leaks(NETWORKS[name], arguments.races))
        print(f"{name}: {counted}", flush=True)
        for fault in faults:
            failed = 1
            print(f"LEFT {name}: {fault}", flush=True)
    return failed


def _iroh_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main())
