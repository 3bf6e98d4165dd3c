from hypothesis import given
from hypothesis import strategies as st

from masa_node.routing.health import FIRST_PAUSE_S, LONGEST_PAUSE_S, OPENS_AFTER, Health


def failed(times: int, at_s: float = 100.0) -> Health:
    health = Health()
    for _ in range(times):
        health.failed(at_s)
    return health


def test_a_new_provider_is_well() -> None:
    assert Health().is_well(0.0)


def test_one_lost_connection_is_not_held_against_it() -> None:
    assert failed(OPENS_AFTER - 1).is_well(100.0)


def test_failures_in_a_row_open_the_breaker_for_a_while() -> None:
    health = failed(OPENS_AFTER)
    assert not health.is_well(100.0)
    assert not health.is_well(100.0 + FIRST_PAUSE_S - 0.01)
    assert health.is_well(100.0 + FIRST_PAUSE_S)


def test_one_more_failure_after_the_pause_opens_it_for_longer() -> None:
    health = failed(OPENS_AFTER)
    health.failed(200.0)
    assert not health.is_well(200.0 + 2 * FIRST_PAUSE_S - 0.01)
    assert health.is_well(200.0 + 2 * FIRST_PAUSE_S)


def test_the_pause_does_not_grow_for_ever() -> None:
    health = failed(1_000)
    assert not health.is_well(100.0 + LONGEST_PAUSE_S - 0.01)
    assert health.is_well(100.0 + LONGEST_PAUSE_S)


def test_one_success_closes_it_and_forgets_the_past() -> None:
    health = failed(50)
    health.succeeded()
    assert health.is_well(100.0)
    for _ in range(OPENS_AFTER):
        health.failed(300.0)
    assert health.is_well(300.0 + FIRST_PAUSE_S)


@given(events=st.lists(st.tuples(st.booleans(), st.floats(0, 10)), max_size=40))
def test_it_is_unwell_only_after_failures_in_a_row_and_never_longer_than_the_longest_pause(
    events: list[tuple[bool, float]],
) -> None:
    health, now_s, in_a_row = Health(), 0.0, 0
    for is_failure, passed_s in events:
        now_s += passed_s
        if is_failure:
            health.failed(now_s)
            in_a_row += 1
        else:
            health.succeeded()
            in_a_row = 0
        assert health.is_well(now_s) == (in_a_row < OPENS_AFTER)
        assert health.is_well(now_s + LONGEST_PAUSE_S)
