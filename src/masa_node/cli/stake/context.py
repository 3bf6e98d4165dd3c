"""What the commands about stake work with: the settings, the node's store, and the chain. One loop for all of it.

Questions to people are asked between two `run`s: there Ctrl-C ends the command at once.
"""

import asyncio
import contextlib
import sys
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from masa_node.chat.errors import ConfigurationError
from masa_node.cli.peers.actions import commanded, own_address
from masa_node.network.store.store import Store
from masa_node.node.chain_http import ChainHttp
from masa_node.node.proxies import read_proxies
from masa_node.node.settings.environment import Settings, read_settings
from masa_node.node.settings.stake import StakeSettings, read_stake_settings
from masa_node.staking.contract.profile import Profile
from masa_node.staking.delegation import BadDelegation, SignedDelegation, decode
from masa_node.staking.ethereum.crypto import Address, parse_address
from masa_node.staking.ethereum.rpc import Rpc
from masa_node.storage.database import StoreFailed
from masa_node.telemetry import log
from masa_node.upstreams.http.client import HttpClient

DELEGATION = "delegation"  # the running node presents the one stored under this name
DRAFT = "delegation_draft"

T = TypeVar("T")


class StakeContext:
    """A context manager; what it opened is closed at its end. Raises `ConfigurationError`."""

    def __init__(self) -> None:
        self.settings: Settings = read_settings()
        log.configure(self.settings.log_level, self.settings.log_format)
        self.stake: StakeSettings = read_stake_settings(self.settings)
        self.masa_dir = Path(self.settings.masa_dir).expanduser()
        self._runner = asyncio.Runner()
        self._stack = contextlib.AsyncExitStack()
        self._http: HttpClient | None = None

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.run(self._stack.aclose())
        finally:
            self._runner.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result."""
        return self._runner.run(work)

    @property
    def profile(self) -> Profile:
        """The chain of this node. Raises `ConfigurationError` when there is none."""
        if self.stake.profile is None:
            raise ConfigurationError(
                "No chain is set: set STAKE_NETWORK to a network profile. `masa-node devnet` makes one to try."
            )
        return self.stake.profile

    async def rpc(self) -> Rpc:
        """The profile's RPC servers, over the node's own kind of HTTP client."""
        if self._http is None:
            self._http = await self._stack.enter_async_context(HttpClient(read_proxies(self.settings)))
        return Rpc(ChainHttp(self._http), self.profile.rpc_urls)

    async def node_id(self) -> str:
        """This node's id; makes its key if there is none yet."""
        return (await own_address(self.masa_dir)).node_id

    async def stored(self, name: str) -> SignedDelegation | None:
        """The delegation that is in force here, or the one that waits for its signature. None when it does not read."""
        async with self.store() as store:
            value = await store.value(name)
        try:
            return decode(value) if value else None
        except BadDelegation:
            return None

    async def keep(self, name: str, value: bytes) -> None:
        """Raises `StoreFailed`."""
        async with self.store() as store:
            if not await store.set_value(name, value):
                raise StoreFailed("It could not be written to MASA_DIR. The line above says why.")

    def store(self) -> AbstractAsyncContextManager[Store]:
        """The node's own, for as long as the block takes. Raises `StoreFailed`."""
        return commanded(self.masa_dir).store()

    async def known_owner(self) -> Address | None:
        """The owner of the delegation that this node presents, or is about to."""
        signed = await self.stored(DELEGATION) or await self.stored(DRAFT)
        return signed.delegation.owner if signed is not None else None


def address_given(text: str, option: str) -> Address | None:
    """The address that an option names; None for "". Raises `ConfigurationError`."""
    try:
        return parse_address(text.strip()) if text else None
    except ValueError as exc:
        raise ConfigurationError(f"{option}: {exc}") from exc


def is_a_person_there() -> bool:
    """Is there a terminal, so that a question can be asked?"""
    return sys.stdin.isatty()


def tell(words: str) -> None:
    """Print for people, to stderr: the command's result goes to stdout."""
    print(words, file=sys.stderr, flush=True)
