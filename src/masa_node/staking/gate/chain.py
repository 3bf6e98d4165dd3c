"""Reads stakes and contracts' signatures from the chain: one HTTP request each, and a reason where nothing is known."""

import time
from collections.abc import Callable
from typing import Protocol

from masa_node.staking.contract.profile import Profile
from masa_node.staking.ethereum.crypto import Address
from masa_node.staking.ethereum.rpc import Rpc
from masa_node.staking.gate.readings import is_accepted, read_calls, reading_of, signature_calls
from masa_node.staking.gate.values import Reading


class ReadsChain(Protocol):
    """What the gate needs of a chain. Both raise `ChainUnknown`, whose message is the reason."""

    async def read(self, owner: Address) -> Reading:
        """What the chain says of this owner now."""
        ...

    async def is_signed(self, owner: Address, digest: bytes, signature: bytes) -> bool:
        """Does the contract at `owner` take this for its signature of the digest (ERC-1271)? No code there: no."""
        ...


class Chain(ReadsChain):
    """The chain and contract of a profile, over RPC servers. `now` gives calendar time in seconds.

    Keeps nothing between two reads; both may be cancelled at any time.
    """

    def __init__(self, rpc: Rpc, profile: Profile, now: Callable[[], float] = time.time) -> None:
        self._rpc = rpc
        self._profile = profile
        self._now = now

    async def read(self, owner: Address) -> Reading:
        """See `ReadsChain`."""
        profile = self._profile
        return await self._rpc.judged(
            read_calls(profile, owner), lambda replies: reading_of(replies, profile, owner, self._now())
        )

    async def is_signed(self, owner: Address, digest: bytes, signature: bytes) -> bool:
        """See `ReadsChain`."""
        profile = self._profile
        return await self._rpc.judged(
            signature_calls(profile, owner, digest, signature),
            lambda replies: is_accepted(replies, profile, self._now()),
        )
