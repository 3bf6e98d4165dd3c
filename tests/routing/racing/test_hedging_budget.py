from hypothesis import given
from hypothesis import strategies as st

from masa_node.routing.racing.hedging import ALWAYS, HEDGE_SHARE, WINDOW_S, HedgeBudget


def test_a_tenth_of_the_requests_may_be_hedged() -> None:
    budget = HedgeBudget()
    for _ in range(100):
        budget.asked(1_000.0)
    assert [budget.take(1_000.5) for _ in range(11)] == [True] * 10 + [False]


def test_a_lone_request_may_be_hedged_once_a_minute() -> None:
    budget = HedgeBudget()
    budget.asked(0.0)
    assert budget.take(1.0)
    assert not budget.take(2.0)
    assert not budget.take(60.5)
    assert budget.take(62.0)


def test_requests_of_more_than_a_minute_ago_do_not_count() -> None:
    budget = HedgeBudget()
    for _ in range(100):
        budget.asked(0.0)
    assert budget.take(59.0)
    assert not budget.take(61.0)


STEPS = st.lists(st.tuples(st.floats(0, 20), st.sampled_from(["ask", "ask", "take"])), max_size=200)


@given(STEPS)
def test_in_no_minute_that_ends_with_a_hedge_are_there_more_than_a_tenth(steps: list[tuple[float, str]]) -> None:
    budget, now_s = HedgeBudget(), 1_000.0
    requests: list[float] = []
    hedges: list[float] = []
    for passed_s, step in steps:
        now_s += passed_s
        if step == "ask":
            budget.asked(now_s)
            requests.append(now_s)
        elif budget.take(now_s):
            hedges.append(now_s)
            asked = sum(now_s - WINDOW_S < at_s for at_s in requests)
            hedged = sum(now_s - WINDOW_S < at_s for at_s in hedges)
            assert hedged <= max(ALWAYS, asked * HEDGE_SHARE)
    assert len(budget._seconds) <= WINDOW_S + 1
