"""Questions to the chain on their way: one of a kind at a time, few at once, the others in a bounded line."""

import asyncio
from collections.abc import Awaitable, Callable

from masa_node.staking.questions import Question

MAX_LOOKUPS = 8  # at once: what a public RPC server takes of one client
MAX_WAITING = 1_000  # a few seconds of a healthy server;
MAX_WAITING_STRANGERS = 800  # so many by those of whom nothing is held: the others' answers are renewed all the same


class Lookups:
    """`look_up` carries one question out; it raises nothing."""

    def __init__(self, look_up: Callable[[Question], Awaitable[None]]) -> None:
        self._look_up = look_up
        self._line: asyncio.Queue[Question] = asyncio.Queue(MAX_WAITING)
        self._done: dict[Question, asyncio.Event] = {}
        self._is_open = False
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many stand in the line."""
        return self._line.qsize()

    def want(self, question: Question, *, is_known: bool) -> bool:
        """Have it looked up, unless that is under way already. False when it is not, for want of room in the line.

        `is_known`: something is held of it.
        """
        if question in self._done:
            return True
        if not self._is_open or self._line.qsize() >= (MAX_WAITING if is_known else MAX_WAITING_STRANGERS):
            return False
        self._line.put_nowait(question)
        self._done[question] = asyncio.Event()
        return True

    def is_under_way(self, question: Question) -> bool:
        """Does it wait or run?"""
        return question in self._done

    async def settled(self, question: Question) -> None:
        """Wait until it is no longer under way. Cancelling this does not cancel the look-up."""
        done = self._done.get(question)
        if done is not None:
            await done.wait()

    def open(self) -> None:
        """From now on questions are taken."""
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
            for _ in range(MAX_LOOKUPS):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            question = await self._line.get()
            self.running += 1
            try:
                await self._look_up(question)
            finally:
                self.running -= 1
                self._done.pop(question).set()
