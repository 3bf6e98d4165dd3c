"""Whole nodes that start together over the in-memory network, on virtual time: `python -m bench.crowd 100`.

Prints, for each virtual second until everybody knows everybody, how many adverts are known, how many links there are,
and what processor time and memory went into it. Each node reads, checks and keeps all that it hears by itself; only
signatures are stand-ins, which take 1 us. With `--shared` they share what is read of adverts, which saves memory.
"""

import argparse
import asyncio
import contextlib
import gc
import heapq
import itertools
import logging
import resource
import time
from asyncio import events
from collections import deque
from collections.abc import Callable
from contextvars import Context

import structlog

from masa_node.network.transport.memory import MemoryNetwork, between
from tests.network.gossip.gossip_simulation import reading_shared
from tests.network.nodes import introduce, make, running
from tests.virtual_time import STARTS_AT_S, VirtualTimeLoop, now_s

GIVEN_UP_AFTER_S = 60.0


class CrowdLoop(VirtualTimeLoop):
    """The same clock for millions of timers: they are compared in C, and no socket is looked at."""

    _ready: deque[asyncio.Handle]  # the base class's

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

    def call_soon(
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.Handle:
        """See the base class, which looks first whether it is closed, and whether it is to find bugs."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def _run_once(self) -> None:
        ready, timers = self._ready, self._timers
        while not ready:  # where nothing is left to happen, the heap is empty, which ends the program
            when, _, timer = heapq.heappop(timers)
            if not timer.cancelled():
                self._at_s = max(self._at_s, when)
                ready.append(timer)
        while timers and timers[0][0] <= self._at_s:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()  # noqa: SLF001 - as the base class does


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
                f"mean {sum(links) / size:.1f}; processor {time.process_time():.1f} s; "
                f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB",
                flush=True,
            )
            if min(known) == size:
                break


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", type=int, help="how many nodes")
    parser.add_argument("--shared", action="store_true", help="all nodes share what they read of adverts")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    gc.disable()
    sharing = reading_shared() if arguments.shared else contextlib.nullcontext()
    with sharing, asyncio.Runner(loop_factory=CrowdLoop) as runner:
        runner.run(start(arguments.size))


if __name__ == "__main__":
    main()
