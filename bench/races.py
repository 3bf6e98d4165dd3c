"""Races in virtual time: the node's own code decides, scripted peers answer late, and nothing waits in real time.

    python -m bench.races --requests 2000

prints one JSON object a line, a line for each number of peers and each rule.

A peer's time to the first piece is log-normal (median 0.2 s, sigma 1: p95 is 1.0 s, p99 2.0 s), drawn again for each
request. Its answer then takes another half second. It serves four requests at a time, as a node does (MAX_PEER_JOBS),
with eight more waiting. Requests come at random (Poisson), one a second for each peer. A stalled peer takes requests
and never answers. It falls silent when the warm-up is over, so that the cost of finding that out is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import sys
from dataclasses import asdict, dataclass, field

from bench.figures import RaceCell
from masa_node.chat.answer import Answer, StreamedAnswer, Usage
from masa_node.chat.errors import PeerBusy
from masa_node.chat.offer import ModelOffer
from masa_node.chat.outcome import Outcome
from masa_node.chat.request import DialectName, Endpoint, RaceMode, RaceRule, Request, RequestId
from masa_node.routing.admission import Admission
from masa_node.routing.catalog import Catalog
from masa_node.routing.dispatch import Dispatcher
from masa_node.routing.provider import Sign, no_sign
from tests.fakes.sinks import TakesAll
from tests.virtual_time import VirtualTimeLoop

MODEL = "tiny"
MEDIAN_S = 0.2
SIGMA = 1.0
REST_S = 0.5  # from the first piece to the last
SLOTS = 4
WAITING = 8
RATE_PER_PEER = 1.0  # requests a second; a peer alone could serve four times as many
WARM_UP = 500  # requests, of a rate at which that is some minutes of one peer and seconds of fifty
TIMEOUT_S = 30.0

SINGLE = "single"
RULES = {
    "all": RaceRule(RaceMode.ALL),
    "hedge": RaceRule(RaceMode.HEDGE),
    SINGLE: RaceRule(RaceMode.HEDGE, width=1),
}
CELLS = ((2, 0), (10, 0), (50, 0), (10, 1))  # peers, of which stalled


@dataclass
class Peer:
    """Somebody else's node, as a `Provider`."""

    name: str
    rng: random.Random
    is_stalled: bool = False
    location: str = field(init=False)
    is_local = False
    is_hosted = False
    priority = 0
    is_trusted = False

    def __post_init__(self) -> None:
        self.location = self.name
        self._places = asyncio.Semaphore(SLOTS)
        self._waiting = 0

    async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
        """See `Provider`: the first piece after a while."""
        del request, sign
        await self._enter()
        try:
            if self.is_stalled:
                await asyncio.Event().wait()
            await asyncio.sleep(self.rng.lognormvariate(math.log(MEDIAN_S), SIGMA))
        except BaseException:
            self._places.release()
            raise
        return self._stream()

    async def _enter(self) -> None:
        if self._waiting >= WAITING:
            raise PeerBusy("it is busy.")
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1

    def _stream(self) -> StreamedAnswer:
        is_open = True

        async def next_piece() -> bytes:
            await asyncio.sleep(REST_S)
            return b""

        def close() -> None:
            nonlocal is_open
            if is_open:
                is_open = False
                self._places.release()

        return StreamedAnswer(200, (), DialectName.OPENAI, b"data: {}\n\n", next_piece, close, lambda: 1, Usage())


class World:
    """One asking node and its peers."""

    def __init__(self, peers: int, rule: str, rng: random.Random) -> None:
        self._rule = RULES[rule]
        self._rng = rng
        self._outcomes: list[Outcome] = []
        self.peers = [Peer(f"peer {number}", random.Random(rng.random())) for number in range(peers)]
        catalog = Catalog()
        for peer in self.peers:
            catalog.put(peer, [ModelOffer(MODEL, frozenset(Endpoint))])
        self._dispatcher = Dispatcher(catalog, Admission(10_000, 0), _nothing_new, self._outcomes.append)

    async def run(self, requests: int) -> list[Outcome]:
        """The outcomes of so many requests, each brought to its end."""
        self._outcomes.clear()
        async with asyncio.TaskGroup() as group:
            for _ in range(requests):
                await asyncio.sleep(self._rng.expovariate(RATE_PER_PEER * len(self.peers)))
                group.create_task(self._request())
        return [*self._outcomes]

    async def _request(self) -> None:
        await self._dispatcher.answer(self._a_request(), TakesAll())

    def _a_request(self) -> Request:
        return Request(
            request_id=RequestId("r"),
            endpoint=Endpoint.OPENAI_CHAT,
            model=MODEL,
            wants_stream=True,
            body=b"{}",
            headers=(),
            first_piece_deadline_s=asyncio.get_running_loop().time() + TIMEOUT_S,
            idle_timeout_s=TIMEOUT_S,
            race=self._rule,
        )


async def _nothing_new() -> None:
    """No other model appears."""


async def measure(peers: int, stalled: int, rule: str, requests: int, seed: int) -> RaceCell:
    """One line: warm up, let some peers fall silent, and count."""
    world = World(peers, rule, random.Random(seed))
    await world.run(WARM_UP)
    for peer in world.peers[:stalled]:
        peer.is_stalled = True
    outcomes = await world.run(requests)
    firsts = sorted(TIMEOUT_S if one.first_piece_s is None else one.first_piece_s for one in outcomes)
    return RaceCell(
        peers=peers,
        stalled=stalled,
        rule=rule,
        p50_s=_share(firsts, 0.50),
        p99_s=_share(firsts, 0.99),
        requests=sum(len(one.attempts) for one in outcomes) / len(outcomes),
        extra=sum(one.hedges for one in outcomes) / len(outcomes),
        failed=sum(one.error is not None for one in outcomes),
    )


def _share(values: list[float], share: float) -> float:
    return values[math.ceil(share * len(values)) - 1]


def main() -> int:
    """Run every cell, each in a loop of its own."""
    parser = argparse.ArgumentParser(prog="python -m bench.races", description="Races in virtual time.")
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for peers, stalled in CELLS:
        for rule in RULES:
            random.seed(arguments.seed)  # with which equals are ranked
            with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
                cell = runner.run(measure(peers, stalled, rule, arguments.requests, arguments.seed))
            print(json.dumps(asdict(cell)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
