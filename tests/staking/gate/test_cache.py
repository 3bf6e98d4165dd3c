"""How long an answer of the chain counts: fresh, stale, unknown; never older than allowed, never from a lower block."""

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from masa_node.staking.delegation import Delegation
from masa_node.staking.ethereum.crypto import Address
from masa_node.staking.gate.cache import (
    CLOCK_STEP_S,
    FLOOR_S,
    JITTER,
    MAX_OWNERS,
    NEGATIVE_FRESH_S,
    RETRY_AFTER_S,
    SHORTEST_FRESH_S,
    STALE_S,
    Cache,
    CacheRules,
    ReadingCache,
    stale_limit_s,
)
from masa_node.staking.gate.evaluator import Evaluator
from masa_node.staking.gate.judge import Token
from masa_node.staking.gate.values import Reading, StakeAnswer
from tests.examples import times
from tests.staking.delegations import AT, DAY_S, DOMAIN

X, Y = Address("0xX"), Address("0xY")
FRESH_S = 300.0


def reading(
    owner: Address = X, *, at: float = AT, block: int = 100, stake: int = 1000, unbonding_s: int = 7 * DAY_S
) -> Reading:
    return Reading(
        owner=owner,
        stake_wei=stake,
        minimum_wei=1000,
        epoch=0,
        block=block,
        block_unix_s=int(at),
        unbonding_s=unbonding_s,
        read_at_unix_s=at,
    )


def held(*, jitter: float = 0.0, fresh_s: float = FRESH_S, unbonding_s: int = 7 * DAY_S) -> ReadingCache:
    readings = ReadingCache(CacheRules(fresh_s))
    assert readings.read(reading(unbonding_s=unbonding_s), AT, jitter) is None
    return readings


def is_due(readings: ReadingCache, after_s: float, *, is_good: bool = True) -> bool:
    return readings.is_due(readings.of(X, AT + after_s), AT + after_s, is_good=is_good)


# ---- fresh ----


@pytest.mark.parametrize(
    ("jitter", "fresh_s", "is_good", "due_after_s"),
    [
        (0, 300, True, 300),
        (JITTER, 300, True, 330),
        (-JITTER, 300, True, 270),
        (0, 300, False, NEGATIVE_FRESH_S),
        (JITTER, 300, False, NEGATIVE_FRESH_S * 1.1),
        (0, 10, False, 10),  # never longer than the profile says
        (0, 0, True, SHORTEST_FRESH_S),  # nor so short that each verdict asks the chain
        (0, 0, False, SHORTEST_FRESH_S),
    ],
)
def test_an_answer_is_due_when_it_is_no_longer_fresh(
    jitter: float, fresh_s: float, *, is_good: bool, due_after_s: float
) -> None:
    readings = held(jitter=jitter, fresh_s=fresh_s)
    assert not is_due(readings, due_after_s - 0.01, is_good=is_good)
    assert is_due(readings, due_after_s + 0.01, is_good=is_good)


def test_what_was_never_asked_is_due() -> None:
    assert ReadingCache(CacheRules(FRESH_S)).is_due(None, AT, is_good=True)


# ---- stale ----


@pytest.mark.parametrize(
    ("unbonding_s", "usable_s"),
    [(0, FRESH_S), (1_000, FRESH_S), (10_000, 1_000), (7 * DAY_S, STALE_S), (2**256 - 1, STALE_S)],
)
def test_an_answer_is_used_for_a_tenth_of_the_unbonding_time_an_hour_at_most(unbonding_s: int, usable_s: float) -> None:
    readings = held(unbonding_s=unbonding_s)
    assert readings.usable(X, AT + usable_s - 0.01) is not None
    assert readings.usable(X, AT + usable_s) is None


def test_where_a_withdrawal_is_instant_there_is_no_stale_time() -> None:
    readings = held(unbonding_s=0, jitter=-JITTER)
    assert readings.usable(X, AT + 269) is not None
    assert readings.usable(X, AT + 271) is None
    assert stale_limit_s(reading(unbonding_s=0)) == 0


# ---- failures ----


@pytest.mark.parametrize(("fresh_s", "retry_s"), [(300.0, RETRY_AFTER_S), (2.0, 2.0), (0.0, SHORTEST_FRESH_S)])
def test_after_a_failure_nothing_is_due_for_a_while(fresh_s: float, retry_s: float) -> None:
    readings = ReadingCache(CacheRules(fresh_s))
    readings.failed(X, "refused", AT)
    assert not is_due(readings, retry_s - 0.01)
    assert is_due(readings, retry_s)
    assert readings.usable(X, AT) is None


def test_a_failure_takes_nothing_away_and_an_answer_ends_it() -> None:
    readings = held()
    readings.failed(X, "refused", AT + 400)
    entry = readings.of(X, AT + 400)
    assert entry is not None
    assert entry.failure is not None
    assert readings.usable(X, AT + 400) == reading()
    readings.read(reading(at=AT + 411), AT + 411, 0.0)
    entry = readings.of(X, AT + 411)
    assert entry is not None
    assert entry.failure is None


# ---- blocks ----


def test_a_lower_block_is_ignored_and_its_server_said_to_lag() -> None:
    readings = held()
    why = readings.read(reading(block=99, at=AT + 400, stake=0), AT + 400, 0.0)
    assert why == "the RPC server answers for block 99, block 100 was seen already"
    assert readings.usable(X, AT + 400) == reading()
    assert not is_due(readings, 405)
    assert readings.read(reading(block=100, at=AT + 410), AT + 410, 0.0) is None


def test_an_owner_is_not_held_to_the_block_of_another() -> None:
    readings = held()
    assert readings.read(reading(Y, block=99), AT, 0.0) is None
    assert readings.newest == reading()


def test_a_chain_that_was_reset_is_taken_when_the_old_one_is_long_gone() -> None:
    readings = held()
    assert readings.read(reading(block=3, at=AT + FLOOR_S - 1), AT + FLOOR_S - 1, 0.0) is not None
    assert readings.read(reading(block=3, at=AT + FLOOR_S), AT + FLOOR_S, 0.0) is None
    assert readings.newest is not None
    assert readings.newest.block == 3


# ---- a clock set back ----


def test_a_reading_from_the_future_is_discarded() -> None:
    readings = held()
    assert readings.usable(X, AT - CLOCK_STEP_S + 1) is not None
    assert readings.usable(X, AT - CLOCK_STEP_S - 1) is None
    assert len(readings) == 0
    assert is_due(readings, 0)


def test_a_reading_that_comes_from_the_future_is_not_held_and_not_asked_for_again_at_once() -> None:
    readings = ReadingCache(CacheRules(FRESH_S))
    assert readings.read(reading(at=AT + 100), AT, 0.0) is not None
    assert readings.usable(X, AT) is None
    assert not is_due(readings, 1)


def test_a_failure_in_the_future_does_not_hold_up_the_next_look_up() -> None:
    readings = ReadingCache(CacheRules(FRESH_S))
    readings.failed(X, "refused", AT + 1000)
    assert is_due(readings, 0)


# ---- what was kept ----


def test_what_was_kept_replaces_nothing_and_is_not_held_for_ever() -> None:
    knowledge = Evaluator(FRESH_S, Token("MASA", 0))
    knowledge.learn_kept(reading(at=AT - STALE_S), AT, 0.0)
    knowledge.learn_kept(reading(at=AT + 1), AT, 0.0)
    assert len(knowledge.readings) == 0
    knowledge.learn_reading(reading(), AT, 0.0)
    knowledge.learn_kept(reading(at=AT - 1, stake=0), AT, 0.0)
    assert knowledge.readings.usable(X, AT) == reading()


# ---- bounds ----


def test_holdings_are_bounded_and_those_not_looked_at_for_longest_go() -> None:
    held_numbers = Cache[int, str](CacheRules(FRESH_S), 3)
    for number in (1, 2, 3):
        held_numbers.answered(number, "", AT, 0.0)
    held_numbers.of(1, AT)
    held_numbers.failed(4, "refused", AT)
    held_numbers.answered(5, "", AT, 0.0)
    assert [number in held_numbers for number in (1, 2, 3, 4, 5)] == [True, False, False, True, True]
    assert len(held_numbers) == 3
    assert ReadingCache(CacheRules(FRESH_S)).most == MAX_OWNERS


# ---- any order of events ----


class Rules(RuleBasedStateMachine):
    """A chain that is read, fails, lags and lies about its block, on a clock that may be set; one owner, two nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.knowledge = Evaluator(FRESH_S, Token("MASA", 0))
        self.at = float(AT)
        self.read: list[Reading] = []  # all there ever were
        self.asked_at: float | None = None

    @rule(stake=st.sampled_from([0, 999, 1000, 2000]), block=st.integers(98, 102), jitter=st.floats(-JITTER, JITTER))
    def answers(self, stake: int, block: int, jitter: float) -> None:
        before = self.knowledge.readings.usable(X, self.at)
        came = reading(at=self.at, block=block, stake=stake, unbonding_s=20_000)
        is_taken = self.knowledge.learn_reading(came, self.at, jitter)
        if before is not None and block < before.block:
            assert not is_taken
            assert self.knowledge.readings.usable(X, self.at) == before
        if is_taken:
            self.read.append(came)
            assert self.knowledge.readings.usable(X, self.at) == came

    @rule()
    def fails(self) -> None:
        before = self.knowledge.readings.usable(X, self.at)
        self.knowledge.learn_failure(X, "refused", self.at)
        assert self.knowledge.readings.usable(X, self.at) == before
        _, wanted = self.verdict(1)
        assert wanted == ()

    @rule(later_s=st.sampled_from([0.5, 9.9, 10, 59, 299, 301, 1999, 2000, 3600]))
    def time_passes(self, later_s: float) -> None:
        self.at += later_s

    @rule(back_s=st.sampled_from([1.0, 100.0, 5000.0]))
    def the_clock_is_set_back(self, back_s: float) -> None:
        self.at -= back_s

    @precondition(lambda self: self.read)
    @rule()
    def what_was_kept_comes_again(self) -> None:
        before = self.knowledge.readings.usable(X, self.at)
        self.knowledge.learn_kept(self.read[0], self.at, 0.0)
        assert self.knowledge.readings.usable(X, self.at) in (before, self.read[0])

    @rule(number=st.integers(1, 2))
    def a_node_is_seen(self, number: int) -> None:
        self.verdict(number)

    @invariant()
    def the_verdict_rests_on_a_reading_that_is_young_enough_or_is_unknown(self) -> None:
        verdict, wanted = self.verdict(1)
        usable = self.knowledge.readings.usable(X, self.at)
        if usable is None:
            assert verdict == StakeAnswer.UNKNOWN  # never not staked: nothing says so
            return
        assert usable in self.read
        assert -CLOCK_STEP_S <= self.at - usable.read_at_unix_s < 2000
        nodes = self.knowledge.seen.count(X, 0, self.at)
        is_enough = usable.stake_wei and usable.stake_wei >= 1000 * nodes
        assert verdict == (StakeAnswer.STAKED if is_enough else StakeAnswer.NOT_STAKED)
        entry = self.knowledge.readings.of(X, self.at)
        assert entry is not None
        if self.at - usable.read_at_unix_s > FRESH_S * (1 + JITTER) and entry.failure is None:
            assert wanted == (X,)

    def verdict(self, number: int) -> tuple[StakeAnswer, tuple[object, ...]]:
        key = number.to_bytes(32)
        delegation = Delegation(X, key, 0, AT - 90 * DAY_S, AT + 90 * DAY_S, DOMAIN)
        evaluation = self.knowledge.evaluate(delegation, None, self.at)
        assert evaluation.until_unix_s > self.at
        usable = self.knowledge.readings.usable(X, self.at)
        assert usable is None or evaluation.until_unix_s == usable.read_at_unix_s + 2000
        again = self.knowledge.evaluate(delegation, None, self.at)
        assert msgspec.structs.astuple(again) == msgspec.structs.astuple(evaluation)
        return evaluation.verdict.answer, evaluation.wanted


TestCache = Rules.TestCase
TestCache.settings = settings(max_examples=times(2), stateful_step_count=30)
