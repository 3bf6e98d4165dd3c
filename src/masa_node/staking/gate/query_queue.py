"""Queries to the chain on their way: one of a kind at a time, few at once, the others in a bounded line.

Strangers cost nothing to make up, so queries about those with a stake go before theirs.
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

from masa_node.staking.gate.values import Query

MAX_QUERIES = 8  # at once: what a public RPC server takes of one client
MAX_WAITING = 1_000  # a few seconds of a healthy server,
MAX_WAITING_STRANGERS = 800  # owners without a known stake: there is always room for the others


class QueryQueue:
    """`look_up` carries one query out; it raises nothing."""

    def __init__(self, look_up: Callable[[Query], Awaitable[None]]) -> None:
        self._look_up = look_up
        self._line: asyncio.PriorityQueue[tuple[int, int, Query, asyncio.Event]] = asyncio.PriorityQueue(MAX_WAITING)
        self._numbers = count()  # first come first served, among equals
        self._done: dict[Query, asyncio.Event] = {}
        self._is_open = False
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._line.qsize()

    def want(self, query: Query, *, is_first: bool) -> bool:
        """Have it looked up, unless that is under way already. False when it is not, for lack of room in the line.

        `is_first`: it goes before all that are not.
        """
        if query in self._done:
            return True
        if not self._is_open or self._line.qsize() >= (MAX_WAITING if is_first else MAX_WAITING_STRANGERS):
            return False
        done = self._done[query] = asyncio.Event()
        self._line.put_nowait((0 if is_first else 1, next(self._numbers), query, done))
        return True

    def is_under_way(self, query: Query) -> bool:
        """Does it wait or run?"""
        return query in self._done

    async def wait_for(self, query: Query) -> None:
        """Wait until it is no longer under way. Cancelling this does not cancel the look-up."""
        done = self._done.get(query)
        if done is not None:
            await done.wait()

    def open(self) -> None:
        """From now on queries are taken."""
        self._is_open = True

    def close(self) -> None:
        """No more are taken, and nobody waits any more. Idempotent."""
        self._is_open = False
        while not self._line.empty():
            self._line.get_nowait()
        for done in self._done.values():
            done.set()
        self._done.clear()

    async def run(self) -> None:
        """Look up what is wanted, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(MAX_QUERIES):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            _, _, query, done = await self._line.get()
            self.running += 1
            try:
                await self._look_up(query)
            finally:
                self.running -= 1
                done.set()
                if self._done.get(query) is done:  # unless it was closed meanwhile
                    del self._done[query]
