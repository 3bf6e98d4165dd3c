"""What is left of a key's limits, on a clock of the test's own."""

from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.accounts.key_limits import KeyLimits
from masa_node.accounts.keys import KeyRules, NamedKey
from masa_node.accounts.usage import DAY_S, MAX_TOKENS
from masa_node.chat.key_errors import KeyLimited, KeyRefused, KeySpent
from masa_node.chat.outcome import CALLER_GONE
from masa_node.chat.request import Endpoint
from tests.fakes.outcomes import outcome

DAY = 20_000
NOON_UNIX_S = DAY * DAY_S + 43_200.0


def key(rules: KeyRules, name: str = "alice") -> NamedKey:
    return NamedKey(name, "0" * 8, "0" * 64, 0, rules)


class Asking:
    """One key and its limits."""

    def __init__(self, rules: KeyRules) -> None:
        self.limits = KeyLimits()
        self.key = key(rules)
        self.now_s = 1_000.0
        self.now_unix_s = NOON_UNIX_S

    def ask(self, *names: str) -> None:
        self.limits.enter(self.key, names or ("m",), self.now_s, self.now_unix_s)
        self.limits.leave(self.key)

    def admitted_of(self, many: int) -> int:
        done = 0
        for _ in range(many):
            try:
                self.ask()
            except KeyLimited:
                continue
            done += 1
        return done


def test_a_key_without_limits_has_none() -> None:
    assert Asking(KeyRules()).admitted_of(10_000) == 10_000


def test_a_minutes_requests_may_come_at_once_and_the_next_is_told_when() -> None:
    asking = Asking(KeyRules(rpm=6))
    assert asking.admitted_of(20) == 6
    with pytest.raises(KeyLimited, match="6 requests a minute") as refused:
        asking.ask()
    assert refused.value.retry_after_s == 10
    asking.now_s += 10
    assert asking.admitted_of(20) == 1
    asking.now_s += 60
    assert asking.admitted_of(20) == 6


def test_whoever_waits_as_told_is_admitted() -> None:
    asking = Asking(KeyRules(rpm=7))
    asking.admitted_of(7)
    for _ in range(20):
        with pytest.raises(KeyLimited) as refused:
            asking.ask()
        asking.now_s += refused.value.retry_after_s
        asking.ask()
        asking.admitted_of(10)


@given(st.integers(1, 500), st.lists(st.floats(0, 30), max_size=40))
def test_no_minute_sees_more_than_twice_the_limit(rpm: int, pauses_s: list[float]) -> None:
    asking = Asking(KeyRules(rpm=rpm))
    times: list[float] = []
    for pause_s in pauses_s:
        asking.now_s += pause_s
        times += [asking.now_s] * asking.admitted_of(min(2 * rpm + 1, 50))
    assert all(sum(at <= each < at + 60 for each in times) <= 2 * rpm for at in times)


def test_only_so_many_are_under_way_and_each_that_ends_makes_room() -> None:
    limits, alice = KeyLimits(), key(KeyRules(concurrent=2))
    for _ in range(2):
        limits.enter(alice, ("m",), 0.0, NOON_UNIX_S)
    for _ in range(2):
        with pytest.raises(KeyLimited, match="2 requests under way") as refused:
            limits.enter(alice, ("m",), 0.0, NOON_UNIX_S)
        assert refused.value.retry_after_s == 1
        limits.leave(alice)
        limits.enter(alice, ("m",), 0.0, NOON_UNIX_S)


def test_one_key_takes_nothing_from_another() -> None:
    limits = KeyLimits()
    for name in ("alice", "bob"):
        limits.enter(key(KeyRules(rpm=1), name), ("m",), 0.0, NOON_UNIX_S)


def test_tokens_are_those_of_a_day() -> None:
    asking = Asking(KeyRules(tokens_per_day=20))
    asking.ask()
    asking.limits.observe(outcome(key="alice"), DAY)
    asking.ask()
    asking.limits.observe(outcome(key="alice"), DAY)
    with pytest.raises(KeySpent, match="20 tokens of today") as refused:
        asking.ask()
    assert refused.value.retry_after_s == 43_200
    asking.now_unix_s += 43_200
    asking.ask()


@pytest.mark.parametrize(
    ("of_llm", "tokens"),
    [
        ({}, 7 + 5),
        ({"input_tokens": None, "body_bytes": 43}, 10 + 5),
        ({"output_tokens": None, "pieces": 12}, 7 + 12),
        ({"input_tokens": 0, "output_tokens": 1}, 1),
        ({"output_tokens": None, "pieces": 1, "answer_bytes": 2_000}, 7 + 500),  # one body, however long
        ({"output_tokens": None, "pieces": 1, "endpoint": Endpoint.OPENAI_IMAGES}, 7 + 1),  # its bytes are no words
        ({"output_tokens": None, "pieces": 1, "endpoint": Endpoint.OPENAI_EMBEDDINGS}, 7),
        ({"input_tokens": MAX_TOKENS + 1, "body_bytes": 40}, 10 + 5),  # a lie
        ({"output_tokens": 1, "pieces": 400, "error": CALLER_GONE}, 7 + 400),  # left before Anthropic's count
        ({"output_tokens": 500, "pieces": 400, "error": CALLER_GONE}, 7 + 500),
    ],
)
def test_an_llm_that_does_not_count_is_no_way_around(of_llm: dict[str, object], tokens: int) -> None:
    for limit, is_spent in ((tokens, True), (tokens + 1, False)):
        asking = Asking(KeyRules(tokens_per_day=limit))
        asking.ask()
        asking.limits.observe(outcome(key="alice", **of_llm), DAY)
        with pytest.raises(KeySpent) if is_spent else nullcontext():
            asking.ask()


def test_each_day_begins_with_all_tokens_and_a_request_counts_where_it_ends() -> None:
    asking = Asking(KeyRules(tokens_per_day=1))
    asking.ask()
    asking.now_unix_s += DAY_S
    asking.ask()  # nothing was used
    asking.limits.observe(outcome(key="alice"), DAY + 2)  # it ends on the next day, of which it is the first
    asking.now_unix_s += DAY_S
    with pytest.raises(KeySpent):
        asking.ask()
    asking.now_unix_s += DAY_S
    asking.ask()


def test_a_clock_that_is_set_over_midnight_and_back_gives_nothing_back() -> None:
    asking = Asking(KeyRules(tokens_per_day=12))
    asking.ask()
    asking.limits.observe(outcome(key="alice"), DAY)
    for set_by_s in (DAY_S, -DAY_S, -DAY_S, DAY_S):
        asking.now_unix_s += set_by_s
        if asking.now_unix_s != NOON_UNIX_S:
            asking.ask()
            continue
        with pytest.raises(KeySpent):
            asking.ask()


def test_tokens_of_another_day_are_known_for_a_clock_that_is_set_back() -> None:
    asking = Asking(KeyRules(tokens_per_day=12))
    asking.ask()
    for day in (DAY, DAY + 1, DAY, DAY + 1):
        asking.limits.observe(outcome(key="alice", input_tokens=1), day)
    for day in (DAY, DAY + 1):
        asking.now_unix_s = day * DAY_S + 1.0
        with pytest.raises(KeySpent):
            asking.ask()


def test_what_nobody_answered_and_what_a_peer_asked_costs_nothing() -> None:
    asking = Asking(KeyRules(tokens_per_day=1))
    asking.ask()
    asking.limits.observe(outcome(key="alice", served_by=None), DAY)
    asking.limits.observe(outcome(key="", requester="p" * 64), DAY)
    asking.limits.observe(outcome(key="bob"), DAY)
    asking.ask()


def test_what_the_ledger_knows_counts_after_a_restart() -> None:
    asking = Asking(KeyRules(tokens_per_day=20))
    asking.limits.load(DAY, {"alice": 20, "bob": 5})
    with pytest.raises(KeySpent):
        asking.ask()


def test_a_refusal_costs_nothing_of_what_is_left() -> None:
    asking = Asking(KeyRules(("m", "n"), rpm=1))
    for _ in range(3):
        with pytest.raises(KeyRefused, match=r"does not allow the model 'other', only: m, n\."):
            asking.ask("other", "another")
    asking.ask()


def test_what_was_undone_counts_for_nothing() -> None:
    asking = Asking(KeyRules(rpm=2, concurrent=1))
    for _ in range(5):
        asking.limits.enter(asking.key, ("m",), asking.now_s, asking.now_unix_s)
        asking.limits.undo(asking.key)
    assert asking.admitted_of(5) == 2


def test_what_was_undone_leaves_others_under_way() -> None:
    asking = Asking(KeyRules(concurrent=2))
    for _ in range(2):
        asking.limits.enter(asking.key, ("m",), asking.now_s, asking.now_unix_s)
    asking.limits.undo(asking.key)
    asking.limits.enter(asking.key, ("m",), asking.now_s, asking.now_unix_s)
    with pytest.raises(KeyLimited):
        asking.ask()
