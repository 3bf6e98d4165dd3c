"""What this node knows of owners and their nodes, and what follows from it for one delegation. Pure; time is given.

It asks nobody: the queries it needs are part of its answer, and it is given their results.
"""

from itertools import count

import msgspec

from masa_node.staking.delegation import Delegation
from masa_node.staking.ethereum.crypto import Address
from masa_node.staking.gate.cache import (
    MAX_OWNERS,
    MAX_SIGNATURES,
    STALE_S,
    Cache,
    CacheEntry,
    CacheRules,
    ReadFailure,
    ReadingCache,
    stale_limit_s,
)
from masa_node.staking.gate.judge import Token, aged, judge, refused, unknown
from masa_node.staking.gate.node_count import NodeCounter
from masa_node.staking.gate.values import Query, Reading, SignatureQuery, StakeAnswer, Verdict, owner_of

UNDER_WAY = "it is being looked up"
_NOT_SIGNED = "the contract that it names as its owner says that it did not sign its delegation"


class Evaluation(msgspec.Struct, frozen=True):
    """A verdict, good until then if nothing new is learnt; and what the chain is to be asked, even when it stands."""

    verdict: Verdict
    until_unix_s: float
    wanted: tuple[Query, ...] = ()


class Evaluator:
    """Everything in it is bounded. `versions` has a new number for an owner whenever more is known of it."""

    def __init__(self, fresh_s: float, token: Token) -> None:
        rules = CacheRules(fresh_s)
        self.readings = ReadingCache(rules)
        self.signatures = Cache[SignatureQuery, bool](rules, MAX_SIGNATURES)
        self.seen = NodeCounter()
        self.versions: dict[Address, int] = {}
        self.last_failure: ReadFailure | None = None
        self._token = token
        self._next_version = count(1)

    def evaluate(self, delegation: Delegation, query: SignatureQuery | None, at_unix_s: float) -> Evaluation:
        """The verdict on a node whose delegation holds, but for what the chain knows. The node is seen by this.

        `query` is the one for its owner if that is a contract. Only the key of a delegation that is signed counts.
        """
        reading = self.readings.usable(delegation.owner, at_unix_s)
        signed = self._signed(query, 0.0 if reading is None else stale_limit_s(reading), at_unix_s)
        if signed.answer is False:
            return Evaluation(refused(_NOT_SIGNED), signed.until_unix_s, signed.wanted)
        if signed.answer and self.seen.saw(delegation, at_unix_s):
            self._is_news(delegation.owner)
        evaluation = self._by_reading(delegation, reading, at_unix_s)
        wanted = evaluation.wanted + signed.wanted
        if signed.answer is None and evaluation.verdict.answer is StakeAnswer.NOT_STAKED:  # whether it signed or not
            return evaluation  # and a contract without stake is not asked again and again
        if signed.answer is None and query is not None and reading is not None:
            why = _why(self.signatures.of(query, at_unix_s))
            return Evaluation(unknown(why, delegation), signed.until_unix_s, wanted)
        return Evaluation(evaluation.verdict, min(evaluation.until_unix_s, signed.until_unix_s), wanted)

    def is_of_a_staker(self, query: Query) -> bool:
        """Had its owner a stake when last read, and did it sign? Then its look-up goes before those of strangers."""
        if isinstance(query, SignatureQuery) and self.signatures.last(query) is not True:
            return False
        reading = self.readings.last(owner_of(query))
        return reading is not None and reading.stake_wei > 0

    def learn_reading(self, reading: Reading, at_unix_s: float, jitter: float) -> bool:
        """The chain said so. False when it is not taken: it is older than what was seen."""
        why = self.readings.read(reading, at_unix_s, jitter)
        if why is not None:
            self.last_failure = ReadFailure(why, at_unix_s)
        self._is_news(reading.owner)
        return why is None

    def learn_kept(self, reading: Reading, at_unix_s: float, jitter: float) -> None:
        """It was read before this run. What was read meanwhile is newer."""
        if reading.owner not in self.readings and 0 <= at_unix_s - reading.read_at_unix_s < STALE_S:
            self.readings.read(reading, at_unix_s, jitter)
            self._is_news(reading.owner)

    def learn_signature(self, query: SignatureQuery, at_unix_s: float, jitter: float, *, is_signed: bool) -> None:
        """The contract said so."""
        self.signatures.answered(query, is_signed, at_unix_s, jitter)
        self._is_news(query.owner)

    def learn_failure(self, query: Query, reason: str, at_unix_s: float) -> None:
        """The chain could not be asked."""
        self.last_failure = ReadFailure(reason, at_unix_s)
        if isinstance(query, SignatureQuery):
            self.signatures.failed(query, reason, at_unix_s)
        else:
            self.readings.failed(query, reason, at_unix_s)
        self._is_news(owner_of(query))

    def _by_reading(self, delegation: Delegation, reading: Reading | None, at_unix_s: float) -> Evaluation:
        entry = self.readings.of(delegation.owner, at_unix_s)
        if reading is None or entry is None:
            is_due = self.readings.is_due(entry, at_unix_s, is_good=True)
            return Evaluation(unknown(_why(entry), delegation), float("inf"), (delegation.owner,) if is_due else ())
        nodes = max(1, self.seen.count(delegation.owner, reading.epoch, at_unix_s))
        verdict = judge(delegation, reading, nodes, self._token)
        is_good = verdict.answer is StakeAnswer.STAKED
        if not self.readings.is_fresh(entry, at_unix_s, is_good=is_good):
            verdict = aged(verdict, entry.failure)
        stale_s = stale_limit_s(reading)
        is_due = self.readings.is_due(entry, at_unix_s, stale_s, is_good=is_good)
        until_unix_s = self.readings.usable_until_unix_s(entry, stale_s)
        return Evaluation(verdict, until_unix_s, (delegation.owner,) if is_due else ())

    def _signed(self, query: SignatureQuery | None, stale_s: float, at_unix_s: float) -> "_Signed":
        if query is None:
            return _ACCOUNT
        entry = self.signatures.of(query, at_unix_s)
        answer = None if entry is None else entry.value
        is_due = self.signatures.is_due(entry, at_unix_s, stale_s, is_good=answer is not False)
        wanted = (query,) if is_due else ()
        if entry is None or answer is None:
            return _Signed(None, float("inf"), wanted)
        until_unix_s = self.signatures.usable_until_unix_s(entry, stale_s)
        if at_unix_s >= until_unix_s:
            return _Signed(None, float("inf"), wanted)
        return _Signed(answer, until_unix_s, wanted)

    def _is_news(self, owner: Address) -> None:
        """Verdicts on this owner's nodes are to be made again."""
        if len(self.versions) >= 2 * MAX_OWNERS:
            self.versions.clear()  # all are made again, as no number is given twice
        self.versions[owner] = next(self._next_version)


class _Signed(msgspec.Struct, frozen=True):
    """Whether an owner signed, None while that is unknown."""

    answer: bool | None
    until_unix_s: float
    wanted: tuple[Query, ...]


_ACCOUNT = _Signed(answer=True, until_unix_s=float("inf"), wanted=())  # its signature was checked here


def _why(entry: CacheEntry[Reading] | CacheEntry[bool] | None) -> str:
    if entry is None or entry.failure is None:
        return UNDER_WAY
    return f"the chain cannot be read: {entry.failure.reason}"
