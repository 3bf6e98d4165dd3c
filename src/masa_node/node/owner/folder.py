"""A node's MASA_DIR as whoever gives it commands sees it: the store, what it tells, and waiting for an answer."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from masa_node.chat.owner_errors import NoAddress, NotDone
from masa_node.network.store.commands import CommandResult, CommandState, OwnerCommand, Verb
from masa_node.network.store.store import Store
from masa_node.network.transport.addresses import canonical, is_relay_url
from masa_node.network.transport.interfaces import MAX_ADDRESSES, PeerAddress, is_node_id
from masa_node.storage.database import StoreFailed

ANSWER_WITHIN_S = 15.0  # a running node looks once a second; joining takes a few round trips
LOOK_EVERY_S = 0.1

_NEVER_STARTED = (
    "This node's address is not known yet. Start it with `masa-node up`, and give this command again while it runs."
)
_NOT_ON_THE_NETWORK = "The running node did not go on the network in time. `masa-node peers` says why."

T = TypeVar("T")
Look = Callable[[], Awaitable[T | None]]


def _in_silence(words: str) -> AbstractContextManager[object]:
    del words
    return contextlib.nullcontext()


@dataclass(frozen=True, slots=True)
class CommandedNode:
    """The node of this folder. `is_running` tells whether one runs with it now; it blocks for a moment.

    While a command waits for the node, it is within the block of `waiting`, which may show these words.
    """

    masa_dir: Path
    is_running: Callable[[], bool]
    waiting: Callable[[str], AbstractContextManager[object]] = _in_silence

    @contextlib.asynccontextmanager
    async def store(self) -> AsyncGenerator[Store]:
        """Its store, open for the block. Raises `StoreFailed`."""
        store = await Store.open(self.masa_dir)
        try:
            if not store.is_kept:
                raise StoreFailed(f"What {self.masa_dir} holds cannot be read or written. The line above says why.")
            yield store
        finally:
            await store.close()

    async def have(self, store: Store, verb: Verb, argument: str, otherwise: str) -> CommandResult:
        """Have the running node do this; `otherwise` is said where it does not answer. Raises `NotDone`."""
        return await self.answer(store, await store.add_command(verb, argument, time.time()), otherwise)

    async def answer(
        self, store: Store, command_id: int, otherwise: str, within_s: float | None = None
    ) -> CommandResult:
        """Wait for what the node makes of this command. Raises `NotDone`."""

        async def look() -> OwnerCommand | None:
            command = await store.command(command_id)
            return command if command is not None and command.state is not CommandState.PENDING else None

        command = await self.wait_for(look, within_s)
        if command is None:
            raise NotDone(f"The node did not answer within {within_s or ANSWER_WITHIN_S:.0f} s. {otherwise}")
        if command.state is not CommandState.DONE:
            raise NotDone(command.words)
        return CommandResult(command.state, command.words)

    async def wait_for(
        self, look: Look[T], within_s: float | None = None, what: str = "Waiting for the node ..."
    ) -> T | None:
        """What `look` finds, at once or within that time (ANSWER_WITHIN_S unless said); None when that is nothing."""
        found, until_s = await look(), time.monotonic() + (within_s or ANSWER_WITHIN_S)
        if found is not None:
            return found
        with self.waiting(what):
            while found is None and time.monotonic() < until_s:
                await asyncio.sleep(LOOK_EVERY_S)
                found = await look()
        return found

    async def needed_address(self, store: Store, *, is_running: bool) -> PeerAddress:
        """Where the node is; a running one may still find out. Raises `NoAddress`."""
        address = await known_address(store)
        if address is None and is_running:
            address = await self.wait_for(lambda: known_address(store))
        if address is None:
            raise NoAddress(_NOT_ON_THE_NETWORK if is_running else _NEVER_STARTED)
        return address


async def own_id(store: Store) -> str:
    """The node's id; empty while it is not known."""
    node_id = (await store.value("node_id") or b"").decode("latin-1")
    return node_id if is_node_id(node_id) else ""


async def kept_url(store: Store) -> str:
    """Where the running node says that it serves; "" if that is not known."""
    url = (await store.value("url") or b"").decode("latin-1")
    return url if url.startswith("http://") and url.isascii() and url.isprintable() else ""


async def known_address(store: Store) -> PeerAddress | None:
    """Where the node was last; None when that is not known."""
    try:
        stored = msgspec.msgpack.decode(await store.value("address") or b"", type=PeerAddress)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    relay_url = stored.relay_url if stored.relay_url and is_relay_url(stored.relay_url) else None
    direct = canonical(stored.direct)[:MAX_ADDRESSES]
    is_usable = is_node_id(stored.node_id) and bool(direct or relay_url)
    return PeerAddress(stored.node_id, direct, relay_url) if is_usable else None
