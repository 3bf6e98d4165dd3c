"""A chain that says how often it was asked, for tests of peers that would have it asked without end."""

import asyncio
from dataclasses import dataclass, field

from masa_node.staking.ethereum.crypto import Address
from masa_node.staking.gate.values import Reading
from tests.node.test_stake_policy import FakeChain


@dataclass
class CountingChain(FakeChain):
    """Counts the reads of each owner; no contract has signed anything."""

    owners: list[Address] = field(default_factory=list)
    signatures: int = 0

    async def read(self, owner: Address) -> Reading:
        self.owners.append(owner)
        return await super().read(owner)

    async def is_signed(self, owner: Address, digest: bytes, signature: bytes) -> bool:
        del owner, digest, signature
        self.signatures += 1
        await asyncio.sleep(self.after_s)
        return False
