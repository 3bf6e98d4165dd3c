"""A gate with a chain made of values and a clock of its own, for tests on virtual time."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from masa_node.chat.errors import ChainUnknown
from masa_node.staking.contract.profile import Profile
from masa_node.staking.ethereum.crypto import Address
from masa_node.staking.gate.gate import Gate
from masa_node.staking.gate.values import Reading
from tests.staking.delegations import AT, DOMAIN
from tests.virtual_time import now_s, settle

MASA = 10**18
WEEK_S = 7 * 86_400
PROFILE = Profile("test", DOMAIN.chain_id, ("http://127.0.0.1:8545",), DOMAIN.contract)


class FakeChain:
    """Answers at once, or when it is let, or fails with `fails`. What it was asked is written down."""

    def __init__(self, clock: "Clock") -> None:
        self.stakes: dict[Address, int] = {}
        self.epochs: dict[Address, int] = {}
        self.minimum = 1000 * MASA
        self.block = 100
        self.unbonding_s = WEEK_S
        self.signed: set[bytes] = set()
        self.fails: BaseException | None = None
        self.lets = asyncio.Event()
        self.lets.set()
        self.asked: list[Address] = []
        self.asked_signatures: list[bytes] = []
        self.at_once = self.most_at_once = 0
        self._clock = clock

    async def read(self, owner: Address) -> Reading:
        self.asked.append(owner)
        await self._answers()
        return Reading(
            owner=owner,
            stake_wei=self.stakes.get(owner, 0),
            minimum_wei=self.minimum,
            epoch=self.epochs.get(owner, 0),
            block=self.block,
            block_unix_s=int(self._clock()),
            unbonding_s=self.unbonding_s,
            read_at_unix_s=self._clock(),
        )

    async def is_signed(self, owner: Address, digest: bytes, signature: bytes) -> bool:
        self.asked_signatures.append(signature)
        await self._answers()
        return signature in self.signed

    async def _answers(self) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.lets.wait()
            if self.fails is not None:
                raise self.fails
        finally:
            self.at_once -= 1

    def breaks(self) -> None:
        """No RPC server answers any more."""
        self.fails = ChainUnknown("127.0.0.1:8545 refuses connections")


class Keeper:
    """Keeps readings in memory; counts how often it was asked to."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.writes = 0
        self.lets = asyncio.Event()
        self.lets.set()

    async def load_readings(self) -> list[bytes]:
        await self.lets.wait()
        return list(self.kept.values())

    async def keep_readings(self, readings: Mapping[str, bytes]) -> None:
        self.writes += 1
        await self.lets.wait()
        self.kept.update(readings)


class Clock:
    """Calendar time that follows the virtual clock, and can be set."""

    def __init__(self) -> None:
        self.set_by_s = 0.0

    def __call__(self) -> float:
        return AT + now_s() + self.set_by_s


class World:
    def __init__(self, profile: Profile = PROFILE, allowed: frozenset[str] = frozenset()) -> None:
        self.clock = Clock()
        self.chain = FakeChain(self.clock)
        self.keep = Keeper()
        self.profile = profile
        self.allowed = allowed
        self.gate = self.new_gate()

    def new_gate(self) -> Gate:
        """As after a restart: it knows nothing yet."""
        self.gate = Gate(self.profile, self.chain, self.allowed, random.Random(1), self.clock)  # noqa: S311 - jitter
        return self.gate

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Gate]:
        gate = self.gate
        task = asyncio.get_running_loop().create_task(gate.run(self.keep))
        try:
            await settle(3)
            yield gate
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
