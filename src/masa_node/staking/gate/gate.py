"""The gate: what this node makes of another node's stake, at once from its cache, and true again soon after.

A verdict never waits for the chain. It starts a look-up when what it rests on is missing or no longer fresh, and
`run` carries that out. The rules are in the pure parts beside: `delegation_cache`, `evaluator` and what that rests on.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice
from typing import Protocol

import msgspec
import structlog

from masa_node.chat.errors import ChainUnknown
from masa_node.staking.contract.profile import Profile
from masa_node.staking.delegation import MAX_CLOCK_SKEW_S, Delegation, Domain
from masa_node.staking.ethereum.crypto import Address
from masa_node.staking.gate.cache import JITTER, MAX_OWNERS, ReadFailure
from masa_node.staking.gate.chain import ReadsChain
from masa_node.staking.gate.delegation_cache import DelegationCache, DelegationRate
from masa_node.staking.gate.evaluator import UNDER_WAY, Evaluator
from masa_node.staking.gate.judge import Token, refused, unknown
from masa_node.staking.gate.query_queue import QueryQueue
from masa_node.staking.gate.reading_codec import from_bytes, to_bytes
from masa_node.staking.gate.values import Query, Reading, SignatureQuery, StakeAnswer, Verdict

REMEMBERED_S = 1.0  # a verdict is given again for so long; then the time, the keys seen and ages are looked at again
LOOKUP_S = 30.0  # for one look-up: every RPC server hangs for its second, then its successor. Frees the slot
START_S = 5.0  # to load stored readings; a disk that hangs must not leave peers without a verdict
KEEP_EVERY_S = 1.0  # new readings are written together
MAX_KEPT_AT_ONCE = 1_000  # readings in one write, some ms to encode
MAX_TAKEN_AT_ONCE = 100  # of those that were kept, between two turns of others: some ms
LAST_KEEP_S = 2.0  # for the last write, when the node ends

_ALLOWED = Verdict(StakeAnswer.ALLOWED, "allowed by this node's owner (STAKE_ALLOW)")
_SHOWS_NONE = refused(
    "it shows no delegation. Its operator has a staked owner sign one for its key: masa-node stake delegate"
)
_NOT_YET = "not looked up yet"
_NO_ROOM = "too many look-ups wait for the chain; ask again in a few seconds"
_TOO_MANY_DELEGATIONS = (
    "it shows too many delegations in a short time, so this one is not looked at; ask again in 10 minutes"
)

log = structlog.get_logger()


class KeepsReadings(Protocol):
    """Where readings live between two runs: opaque bytes by owner. Neither method raises."""

    async def load_readings(self) -> list[bytes]:
        """The stored readings."""
        ...

    async def keep_readings(self, readings: Mapping[str, bytes]) -> None:
        """Keep these instead of older ones of the same owners."""
        ...


class GateSummary(msgspec.Struct, frozen=True):
    """How the gate does, for status pages. `newest` is the reading of the highest block that this node has seen."""

    owners: int
    lookups_running: int
    lookups_waiting: int
    last_failure: ReadFailure | None
    newest: Reading | None


class Gate:
    """One a node. `now` is calendar time; `allowed` are node keys that need no stake."""

    def __init__(
        self,
        profile: Profile,
        chain: ReadsChain,
        allowed: frozenset[str],
        rng: random.Random,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._chain = chain
        self._allowed = allowed
        self._rng = rng
        self._now = now
        self._domain = Domain(profile.chain_id, profile.contract)
        self.evaluator = Evaluator(profile.fresh_s, Token(profile.symbol, profile.decimals))
        self._versions = self.evaluator.versions
        self._delegations = DelegationCache(self._domain)
        self._remembered = self._delegations.by_node_and_bytes
        self._delegation_rate = DelegationRate()
        self._queue = QueryQueue(self._look_up)
        self.changed: dict[Address, Reading] = {}  # to be kept
        self._has_changed = asyncio.Event()
        self._begun = asyncio.Event()
        self._has_ended = False

    async def run(self, keep: KeepsReadings) -> None:
        """Do the look-ups and keep what they find, until cancelled. Then nobody waits for one any more."""
        try:
            await self._load(keep)
            self._has_ended = False
            self._queue.open()
            self._begun.set()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._queue.run())
                group.create_task(self._keep(keep))
        finally:
            self._has_ended = True
            self._queue.close()
            await asyncio.shield(self._keep_last(keep))

    # ---- verdicts ----

    def verdict(self, node_id: str, delegation: bytes | None) -> Verdict:
        """What is known now of this node, which shows this delegation. Never waits; microseconds when asked often."""
        if node_id in self._allowed:
            return _ALLOWED
        if delegation is None:
            return _SHOWS_NONE
        at_unix_s = self._now()
        cached = self._remembered.get((node_id, delegation))
        if (
            cached is not None
            and cached.verdict is not None
            and cached.from_unix_s <= at_unix_s < cached.until_unix_s
            and cached.version == self._versions.get(cached.owner)
        ):
            return cached.verdict
        return self._looked_at(node_id, delegation, at_unix_s)

    def verdict_if_known(self, node_id: str, delegation: bytes) -> Verdict | None:
        """The verdict on a node that nobody asks or serves now: the chain is not read for strangers among these.

        None when the owner is not known to have a stake, or its contract is not known to have signed. Else this counts
        as seeing the node. A delegation that cannot be read, or names another node, chain or contract, is refused.
        """
        cached = self._delegations.peek(node_id, delegation)
        if cached.signed is None and node_id not in self._allowed:
            return refused(cached.fault or "")
        is_known = self.evaluator.is_of_a_staker(cached.query or cached.owner)
        return self.verdict(node_id, delegation) if is_known else None

    def waits_for_a_word(self, node_id: str, delegation: bytes) -> bool:
        """Does it name a contract with a stake that is not known to have signed? Only that can tell."""
        cached = self._delegations.peek(node_id, delegation)
        if cached.query is None or self.evaluator.is_of_a_staker(cached.query):
            return False
        return self.evaluator.is_of_a_staker(cached.owner)

    async def verdict_when_known(self, node_id: str, delegation: bytes | None) -> Verdict:
        """The same, but waits for the look-up when nothing usable is held. Cancelling it does not cancel that."""
        verdict = self.verdict(node_id, delegation)
        if verdict.answer is not StakeAnswer.UNKNOWN or delegation is None or self._has_ended:
            return verdict
        with suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                await self._begun.wait()
        verdict = self.verdict(node_id, delegation)
        if verdict.answer is not StakeAnswer.UNKNOWN:
            return verdict
        cached = self._delegations.of(node_id, delegation)
        await self._queue.wait_for(cached.owner)
        if cached.query is not None:
            await self._queue.wait_for(cached.query)
        return self.verdict(node_id, delegation)

    def summary(self) -> GateSummary:
        """Its state now."""
        return GateSummary(
            owners=len(self.evaluator.readings),
            lookups_running=self._queue.running,
            lookups_waiting=self._queue.waiting,
            last_failure=self.evaluator.last_failure,
            newest=self.evaluator.readings.newest,
        )

    def _looked_at(self, node_id: str, data: bytes, at_unix_s: float) -> Verdict:
        """The verdict, made again and remembered for REMEMBERED_S, or until what it rests on ends."""
        cached = self._delegations.of(node_id, data)
        if cached.signed is None:
            verdict, until_unix_s = refused(cached.fault or ""), float("inf")
        elif not self._delegation_rate.admits(node_id, data, at_unix_s):
            verdict, until_unix_s = refused(_TOO_MANY_DELEGATIONS), float("inf")
        elif (fault := self._delegations.fault(cached, at_unix_s)) is not None:
            verdict, until_unix_s = refused(fault), float("inf")
        else:
            verdict, until_unix_s = self._evaluated(cached.signed.delegation, cached.query, at_unix_s)
        until_unix_s = min(until_unix_s, at_unix_s + REMEMBERED_S)
        cached.remember(verdict, at_unix_s, until_unix_s, self._versions.get(cached.owner))
        return verdict

    def _evaluated(
        self, delegation: Delegation, query: SignatureQuery | None, at_unix_s: float
    ) -> tuple[Verdict, float]:
        """What is known, and until when that holds; what is to be looked up for it is put in line."""
        evaluation = self.evaluator.evaluate(delegation, query, at_unix_s)
        wanted = [self._queue.want(each, is_first=self.evaluator.is_of_a_staker(each)) for each in evaluation.wanted]
        verdict, until_unix_s = evaluation.verdict, evaluation.until_unix_s
        if not all(wanted):
            has_begun = self._begun.is_set()
            if verdict.reason == UNDER_WAY:
                verdict = unknown(_NO_ROOM if has_begun else _NOT_YET, delegation)
            if not has_begun:  # not remembered: the first verdict after that is to start a look-up
                until_unix_s = at_unix_s
        return verdict, min(until_unix_s, delegation.not_after_unix_s + MAX_CLOCK_SKEW_S)

    # ---- look-ups ----

    async def _look_up(self, query: Query) -> None:
        """Ask the chain and learn what it says. Raises nothing but a cancellation."""
        try:
            async with asyncio.timeout(LOOKUP_S):
                await self._query(query)
        except ChainUnknown as exc:
            why = exc.message
        except TimeoutError:
            why = f"no RPC server answered within {LOOKUP_S:.0f} s"
        except (Exception, asyncio.CancelledError) as exc:  # the other owners are looked up anyway
            if _is_cancelled():
                raise asyncio.CancelledError from exc
            log.exception("bug while the chain was read", kind=type(exc).__name__)
            why = "something went wrong inside this node; its log tells where"
        else:
            return
        self.evaluator.learn_failure(query, why, self._now())

    async def _query(self, query: Query) -> None:
        jitter = self._rng.uniform(-JITTER, JITTER)
        if isinstance(query, SignatureQuery):
            asked_at_unix_s = self._now()
            is_signed = await self._chain.is_signed(query.owner, query.digest, query.signature)
            self.evaluator.learn_signature(query, asked_at_unix_s, jitter, is_signed=is_signed)
            return
        reading = await self._chain.read(query)
        if reading.owner != query:
            raise ChainUnknown("the reading is of another owner")
        if self.evaluator.learn_reading(reading, self._now(), jitter):
            self._is_to_be_kept(reading)

    # ---- what is kept ----

    def _is_to_be_kept(self, reading: Reading) -> None:
        self.changed.pop(reading.owner, None)
        self.changed[reading.owner] = reading
        if len(self.changed) > MAX_OWNERS:  # the disk hangs
            del self.changed[next(iter(self.changed))]
        self._has_changed.set()

    async def _load(self, keep: KeepsReadings) -> None:
        readings: list[bytes] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                readings = await keep.load_readings()
        for at, data in enumerate(readings[-MAX_OWNERS:]):
            if at % MAX_TAKEN_AT_ONCE == 0:
                await asyncio.sleep(0)
            reading = from_bytes(data, self._domain)
            if reading is not None:
                self.evaluator.learn_kept(reading, self._now(), self._rng.uniform(-JITTER, JITTER))

    async def _keep(self, keep: KeepsReadings) -> None:
        while True:
            await self._has_changed.wait()
            await asyncio.sleep(KEEP_EVERY_S)  # those that come meanwhile are written with it
            await self._keep_changed(keep)

    async def _keep_changed(self, keep: KeepsReadings) -> None:
        """Write what changed; whatever was not when this is cancelled is still to be."""
        changed = dict(islice(self.changed.items(), MAX_KEPT_AT_ONCE))
        await keep.keep_readings({owner: to_bytes(reading, self._domain) for owner, reading in changed.items()})
        for owner, reading in changed.items():
            if self.changed.get(owner) is reading:  # unless it was read again meanwhile
                del self.changed[owner]
        if not self.changed:
            self._has_changed.clear()

    async def _keep_last(self, keep: KeepsReadings) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_KEEP_S):
                while self.changed:
                    await self._keep_changed(keep)


def _is_cancelled() -> bool:
    """Is this task to end? A cancellation out of something that it waited for is not its own, and would end it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
