"""MASA_DIR as a running node holds it: the lock, the key, the store. What cannot be had is tried again until it can.

A disk that is full at the start, or another node that still runs, must not cost the network until somebody notices.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from masa_node.chat.errors import ConfigurationError, MasaError
from masa_node.network.store.node_key import load_secret
from masa_node.network.store.store import Store
from masa_node.storage.lock import WAIT_S, DirectoryInUse, NodeLock

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 5.0  # a command waits 15 s for the node, and opening a file costs nothing

log = structlog.get_logger()
T = TypeVar("T")


class OwnFolder:
    """`waiting` is called with the reason why there is no network yet, in words."""

    def __init__(self, masa_dir: Path, waiting: Callable[[str], None]) -> None:
        self._masa_dir = masa_dir
        self._waiting = waiting
        self._pause_s = FIRST_PAUSE_S
        self._reopen_at_s = 0.0

    async def lock(self) -> NodeLock:
        """The folder's lock, once no other node holds it."""
        wait_s = 1.0  # a command holds it for a moment

        async def take() -> NodeLock:
            nonlocal wait_s
            taking, wait_s = lock_taken(self._masa_dir, wait_s), 0.0
            return await taking

        return await self._until_done(take)

    async def secret(self) -> bytes:
        """The node's key, made at the first run."""
        return await self._until_done(lambda: asyncio.to_thread(load_secret, self._masa_dir))

    async def reopen(self, store: Store) -> bool:
        """Is the store's file open now, that was not before? Tried from time to time."""
        now_s = asyncio.get_running_loop().time()
        if store.is_kept or now_s < self._reopen_at_s:
            return False
        if await store.reopen():
            self._pause_s = FIRST_PAUSE_S
            return True
        self._reopen_at_s = now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        return False

    async def _until_done(self, attempt: Callable[[], Awaitable[T]]) -> T:
        pause_s, reported = FIRST_PAUSE_S, ""
        while True:
            try:
                done = await attempt()
            except ConfigurationError as exc:
                why = _in_words(exc)
                if why != reported:
                    log.warning("no network", why=why)
                reported = why
                self._waiting(why)
            else:
                if reported:
                    log.warning("MASA_DIR can be used now", masa_dir=str(self._masa_dir))
                return done
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


async def lock_taken(masa_dir: Path, wait_s: float = WAIT_S, **how: str) -> NodeLock:
    """`NodeLock.take` in a thread; cancelled meanwhile it is let go as soon as it comes."""
    taking = asyncio.get_running_loop().run_in_executor(None, partial(NodeLock.take, masa_dir, wait_s, **how))
    try:
        return await asyncio.shield(taking)
    except asyncio.CancelledError:
        taking.add_done_callback(_let_go)
        raise


def _let_go(taking: asyncio.Future[NodeLock]) -> None:
    """It has come, and nobody waits for it any more."""
    if not taking.cancelled() and taking.exception() is None:
        taking.result().release()


def _in_words(error: MasaError) -> str:
    if isinstance(error, DirectoryInUse):
        return f"{error.message} This node takes over when that one ends."
    return f"{error.message} It will be tried again."
