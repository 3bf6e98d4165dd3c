"""Whole nodes that start together over the in-memory network, on virtual time: `python -m bench.crowd 100`.

Prints, for each virtual second until everybody knows everybody, how many adverts are known, how many links there are,
and what processor time went into it. All nodes share what they have read, as they share one process.
"""

import asyncio
import functools
import gc
import heapq
import itertools
import logging
import sys
import time
from asyncio import events
from collections.abc import Callable
from contextvars import Context

import structlog

from masa_node.chat.offer import ModelOffer
from masa_node.network import askable
from masa_node.network.gossip import advert_set
from masa_node.network.gossip import gossip as gossip_module
from masa_node.network.gossip.adverts import Advert, SignedAdvert, read_advert
from masa_node.network.gossip.own_advert import offers_of
from masa_node.network.transport.memory import MemoryNetwork, between
from tests.network.nodes import introduce, make, running
from tests.virtual_time import STARTS_AT_S, VirtualTimeLoop, now_s

GIVEN_UP_AFTER_S = 60.0


class CrowdLoop(VirtualTimeLoop):
    """The same clock for millions of timers: they are compared in C, and no socket is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self._at_s = STARTS_AT_S
        self._numbers = itertools.count()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []

    def time(self) -> float:
        """See the base class, as below."""
        return self._at_s

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See the base class."""
        return self.call_at(self._at_s + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See the base class."""
        handle = events.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def _run_once(self) -> None:
        ready, timers = self._ready, self._timers
        while not ready:  # where nothing is left to happen, the heap is empty, which ends the program
            when, _, handle = heapq.heappop(timers)
            if not handle.cancelled():
                self._at_s = max(self._at_s, when)
                ready.append(handle)
        while timers and timers[0][0] <= self._at_s:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()  # noqa: SLF001 - as the base class does


def share_what_is_read() -> None:
    """Read and hash each advert once for all nodes, and make its offers once."""
    tags: dict[bytes, tuple[bytes, int]] = {}
    compute = advert_set.tag_and_hash

    def tag_of(signed: SignedAdvert) -> tuple[bytes, int]:
        return tags.get(signed.signed) or tags.setdefault(signed.signed, compute(signed))

    advert_set.tag_and_hash = tag_of
    gossip_module.read_advert = functools.cache(read_advert)
    askable.offers_of = by_identity(offers_of)


def by_identity(make: Callable[[Advert], list[ModelOffer]]) -> Callable[[Advert], list[ModelOffer]]:
    """Make it once of each object; to compare adverts would take longer than that."""
    made: dict[int, tuple[Advert, list[ModelOffer]]] = {}

    def made_of(advert: Advert) -> list[ModelOffer]:
        if id(advert) not in made:
            made[id(advert)] = advert, make(advert)
        return made[id(advert)][1]

    return made_of


async def start(size: int) -> None:
    """All at once; each knows where the first one is."""
    loop = asyncio.get_running_loop()
    began_unix_s = time.time() - loop.time()
    time.time = lambda: began_unix_s + loop.time()  # else adverts would age by the time that the simulation takes
    nodes = make(MemoryNetwork(seed=1, latency=between(0.01, 0.06), cuts=False), size)
    for node in nodes:
        await node.serve_demo()
    introduce(nodes)
    async with running(*nodes):
        while now_s() < GIVEN_UP_AFTER_S:
            await asyncio.sleep(1.0)
            known = [len(node.network.gossip.known) for node in nodes]
            links = [len(node.network.links.sessions) for node in nodes]
            print(
                f"{now_s():4.0f} s: known {min(known)} to {max(known)}; links {min(links)} to {max(links)}, "
                f"mean {sum(links) / size:.1f}; processor {time.process_time():.1f} s",
                flush=True,
            )
            if min(known) == size:
                break


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    gc.disable()
    share_what_is_read()
    with asyncio.Runner(loop_factory=CrowdLoop) as runner:
        runner.run(start(int(sys.argv[1])))
