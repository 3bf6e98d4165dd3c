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
import os
import resource
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import cast

import msgspec
import structlog

from masa_node.network.transport.memory import MemoryNetwork, between
from tests.network.gossip.gossip_simulation import reading_shared
from tests.network.nodes import introduce, make, running
from tests.virtual_time import STARTS_AT_S, VirtualTimeLoop, now_s

GIVEN_UP_AFTER_S = 60.0


class CrowdHandle(msgspec.Struct, eq=False, gc=False):
    """What asyncio's handles are for, made and run in fewer steps: a crowd needs some millions of them."""

    callback: Callable[..., object] | None
    args: tuple[object, ...]
    context: Context | None
    when_s: float = 0.0

    def when(self) -> float:
        """See `asyncio.TimerHandle`."""
        return self.when_s

    def cancel(self) -> None:
        """See `asyncio.Handle`."""
        self.callback = self.context = None
        self.args = ()

    def cancelled(self) -> bool:
        """See `asyncio.Handle`."""
        return self.callback is None


Timer = tuple[float, int, CrowdHandle]


class CrowdLoop(VirtualTimeLoop):
    """The same clock for millions of timers: they are compared in C, and no socket is looked at.

    Those of the millisecond that it is are in a heap, later ones in a list for each millisecond: most wait long and are
    cancelled, and a heap of all of them would not fit into the processor's cache.
    """

    _ready: deque[CrowdHandle]  # the base class's

    def __init__(self) -> None:
        super().__init__()
        self._at_s = STARTS_AT_S
        self._began_unix_s = time.time() - STARTS_AT_S
        self._numbers = itertools.count()
        self._now: list[Timer] = []
        self._now_ms = 0
        self._later: dict[int, list[Timer]] = {}
        self._times_ms: list[int] = []  # a heap: the keys of `_later`

    def time(self) -> float:
        """See the base class, as below."""
        return self._at_s

    def unix_time(self) -> float:
        """What `time.time` is on this clock."""
        return self._began_unix_s + self._at_s

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See the base class."""
        return self.call_at(self._at_s + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See the base class."""
        handle = CrowdHandle(callback, args, copy_context() if context is None else context, when)
        timer, at_ms = (when, next(self._numbers), handle), int(when * 1000)
        if at_ms <= self._now_ms:
            heapq.heappush(self._now, timer)
        elif (timers := self._later.get(at_ms)) is not None:
            timers.append(timer)
        else:
            self._later[at_ms] = [timer]
            heapq.heappush(self._times_ms, at_ms)
        return cast("asyncio.TimerHandle", handle)

    def call_soon(
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.Handle:
        """See the base class, which looks first whether it is closed, and whether it is to find bugs."""
        handle = CrowdHandle(callback, args, copy_context() if context is None else context)
        self._ready.append(handle)
        return cast("asyncio.Handle", handle)

    def _run_once(self) -> None:
        ready = self._ready
        if not ready:
            self._at_s = max(self._at_s, self._next_s())
        timers, at_s = self._now, self._at_s
        while timers and timers[0][0] <= at_s:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle.callback is None or handle.context is None:
                continue  # it was cancelled
            try:
                handle.context.run(handle.callback, *handle.args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:  # noqa: BLE001 - as the base class does
                self.call_exception_handler({"message": "a callback failed", "exception": exc})

    def _next_s(self) -> float:
        """The time of the next timer that was not cancelled. Where there is none this fails, which ends the program."""
        while True:
            while not self._now:
                self._now_ms = heapq.heappop(self._times_ms)
                self._now = self._later.pop(self._now_ms)
                heapq.heapify(self._now)
            when_s, _, handle = self._now[0]
            if handle.callback is not None:
                return when_s
            heapq.heappop(self._now)


async def start(size: int) -> None:
    """All at once; each knows where the first one is."""
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
        os._exit(0)  # to close all links and to free all objects takes long, and measures nothing


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", type=int, help="how many nodes")
    parser.add_argument("--shared", action="store_true", help="all nodes share what they read of adverts")
    arguments = parser.parse_args()
    silent = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=silent, cache_logger_on_first_use=True)
    gc.disable()
    sharing = reading_shared() if arguments.shared else contextlib.nullcontext()
    loop = CrowdLoop()
    time.time = loop.unix_time  # else adverts would age by the time that the simulation takes
    with sharing, asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(start(arguments.size))


if __name__ == "__main__":
    main()
