"""Cached answers of the chain, and how long they count. Pure; time and jitter are given.

An answer is fresh at first, then stale: still used while it is asked again, up to a limit. Nothing usable is "unknown".
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

import msgspec

from masa_node.staking.ethereum.crypto import Address
from masa_node.staking.gate.values import Reading

MAX_OWNERS = 10_000  # as many as there are peers in the book; the least recently used go first
MAX_SIGNATURES = 2_000  # of contracts; each is at most as long as a delegation, 1 KiB
NEGATIVE_FRESH_S = 60.0  # an owner that has just staked waits no longer than this
RETRY_AFTER_S = 10.0  # a chain that cannot be read is not asked for the same again before
STALE_S = 3600.0  # the longest that an old answer is used,
STALE_SHARE = 0.1  # and never more than this part of the time that a withdrawal takes
RENEW_AT_SHARE = 0.9  # of the time that an answer is used; without it, one with no stale time would leave a gap
FLOOR_S = 3600.0  # an answer from before a block seen in this time is ignored; later the chain may have been reset
SHORTEST_FRESH_S = 1.0  # whatever the profile says: each verdict would ask the chain
CLOCK_STEP_S = 5.0  # a clock that is put right by less was not set back
JITTER = 0.1  # so that owners read at once are not all read again at once

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ReadFailure(msgspec.Struct, frozen=True):
    """Why the chain could not be read, when last."""

    reason: str
    at_unix_s: float


class CacheRules(msgspec.Struct, frozen=True):
    """How long answers are fresh, in seconds."""

    fresh_s: float

    def lifetime_s(self, stale_s: float, jitter: float, *, is_good: bool) -> tuple[float, float]:
        """For how long an answer is fresh and for how long usable, after it was read. `jitter` is -JITTER..JITTER."""
        longest = min(STALE_S, max(SHORTEST_FRESH_S, self.fresh_s * (1 + jitter)))
        fresh_s = longest if is_good else min(max(SHORTEST_FRESH_S, NEGATIVE_FRESH_S * (1 + jitter)), longest)
        return fresh_s, max(longest, stale_s)

    def retry_after_s(self) -> float:
        """How long after a failure the same is not asked again."""
        return min(RETRY_AFTER_S, max(SHORTEST_FRESH_S, self.fresh_s))


def stale_limit_s(reading: Reading) -> float:
    """How old this reading may be used. 0 where a stake can be withdrawn at once."""
    return min(STALE_S, reading.unbonding_s * STALE_SHARE)


class CacheEntry(Generic[V]):
    """The last answer to one query, and how it went to ask again."""

    __slots__ = ("failure", "jitter", "read_at_unix_s", "value")

    def __init__(self) -> None:
        self.value: V | None = None
        self.read_at_unix_s = 0.0
        self.jitter = 0.0
        self.failure: ReadFailure | None = None  # None again once it was answered

    def age_s(self, at_unix_s: float) -> float:
        """How old the answer is."""
        return max(0.0, at_unix_s - self.read_at_unix_s)


class Cache(Generic[K, V]):
    """Answers by question, at most `most`; the least recently looked at go first."""

    def __init__(self, rules: CacheRules, most: int) -> None:
        self._rules = rules
        self.most = most
        self._entries: dict[K, CacheEntry[V]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def last(self, key: K) -> V | None:
        """The last answer, however old."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def of(self, key: K, at_unix_s: float) -> CacheEntry[V] | None:
        """The entry as of now. One from the future, as after the clock was set back, is dropped."""
        entry = self._entries.pop(key, None)
        if entry is None or _is_from_future(entry, at_unix_s):
            return None
        self._entries[key] = entry
        return entry

    def answered(self, key: K, value: V, read_at_unix_s: float, jitter: float) -> None:
        """The chain answered."""
        entry = self._one(key)
        entry.value, entry.read_at_unix_s, entry.jitter, entry.failure = value, read_at_unix_s, jitter, None

    def failed(self, key: K, reason: str, at_unix_s: float) -> None:
        """The chain could not be asked. The last answer stays."""
        self._one(key).failure = ReadFailure(reason, at_unix_s)

    def usable_until_unix_s(self, entry: CacheEntry[V], stale_s: float) -> float:
        """From then on nothing is known."""
        return entry.read_at_unix_s + self._rules.lifetime_s(stale_s, entry.jitter, is_good=True)[1]

    def is_fresh(self, entry: CacheEntry[V], at_unix_s: float, *, is_good: bool) -> bool:
        """Is the answer taken as it is? `is_good`: good for the node it is about, which waits less if it is not."""
        fresh_s, _ = self._rules.lifetime_s(0.0, entry.jitter, is_good=is_good)
        return entry.value is not None and entry.age_s(at_unix_s) < fresh_s

    def is_due(self, entry: CacheEntry[V] | None, at_unix_s: float, stale_s: float = STALE_S, *, is_good: bool) -> bool:
        """Is it time to ask? When it is no longer fresh, and some time before it can be used no more."""
        if entry is None:
            return True
        if entry.failure is not None:
            since_s = at_unix_s - entry.failure.at_unix_s
            return not 0 <= since_s < self._rules.retry_after_s()
        fresh_s, usable_s = self._rules.lifetime_s(stale_s, entry.jitter, is_good=is_good)
        return entry.value is None or entry.age_s(at_unix_s) >= min(fresh_s, RENEW_AT_SHARE * usable_s)

    def _one(self, key: K) -> CacheEntry[V]:
        entry = self._entries.pop(key, None) or CacheEntry[V]()
        if len(self._entries) >= self.most:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = entry
        return entry


class ReadingCache(Cache[Address, Reading]):
    """What was read of each owner."""

    def __init__(self, rules: CacheRules, most: int = MAX_OWNERS) -> None:
        super().__init__(rules, most)
        self.newest: Reading | None = None  # of all: how far this node has seen the chain

    def read(self, reading: Reading, at_unix_s: float, jitter: float) -> str | None:
        """Store it. A server behind the highest block seen of this owner lags: that is a failure. Returns why."""
        why = self._why_not(reading, at_unix_s)
        if why is not None:
            self.failed(reading.owner, why, at_unix_s)
            return why
        self.answered(reading.owner, reading, reading.read_at_unix_s, jitter)
        if self.newest is None or self.newest.block <= reading.block or self._is_outlived(self.newest, at_unix_s):
            self.newest = reading
        return None

    def usable(self, owner: Address, at_unix_s: float) -> Reading | None:
        """The reading that a verdict may rest on now."""
        entry = self.of(owner, at_unix_s)
        if entry is None or entry.value is None:
            return None
        until = self.usable_until_unix_s(entry, stale_limit_s(entry.value))
        return entry.value if at_unix_s < until else None

    def _why_not(self, reading: Reading, at_unix_s: float) -> str | None:
        if reading.read_at_unix_s > at_unix_s + CLOCK_STEP_S:
            return "this node's clock was set back meanwhile"
        entry = self.of(reading.owner, at_unix_s)
        before = None if entry is None else entry.value
        if before is None or reading.block >= before.block or self._is_outlived(before, at_unix_s):
            return None
        return f"the RPC server answers for block {reading.block}, block {before.block} was seen already"

    @staticmethod
    def _is_outlived(reading: Reading, at_unix_s: float) -> bool:
        return not -CLOCK_STEP_S <= at_unix_s - reading.read_at_unix_s < FLOOR_S


def _is_from_future(entry: CacheEntry[V], at_unix_s: float) -> bool:
    return entry.value is not None and entry.read_at_unix_s > at_unix_s + CLOCK_STEP_S
