import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.routing import health as health_module
from masa_node.routing.health import (
    FIRST_PAUSE_S,
    HALF_LIFE_S,
    LONGEST_PAUSE_S,
    OPENS_AFTER,
    SLOW_FAILURE_S,
    Health,
    HealthBook,
)


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


def test_after_the_pause_one_try_decides_for_all() -> None:
    health = failed(OPENS_AFTER)
    after_s = 100.0 + FIRST_PAUSE_S
    assert health.is_well(after_s)
    health.tried(after_s)
    assert not health.is_well(after_s)
    health.succeeded()
    assert health.is_well(after_s)


def test_a_try_that_never_ends_does_not_keep_others_away_for_ever() -> None:
    health = failed(OPENS_AFTER)
    health.tried(200.0)
    assert health.is_well(200.0 + LONGEST_PAUSE_S)


def test_a_try_while_it_is_well_changes_nothing() -> None:
    health = failed(OPENS_AFTER - 1)
    health.tried(100.0)
    assert health.is_well(100.0)


@pytest.mark.parametrize(("took_s", "wastes"), [(0.01, False), (SLOW_FAILURE_S, True)])
def test_only_who_is_not_well_and_lets_wait_wastes_time(took_s: float, *, wastes: bool) -> None:
    health = Health()
    for _ in range(OPENS_AFTER):
        assert not health.wastes_time(100.0)
        health.failed(100.0, took_s)
    assert health.wastes_time(100.0) is wastes
    assert not health.wastes_time(100.0 + LONGEST_PAUSE_S)


# ---- the score ----


def answered(*took_s: float, at_s: float = 100.0) -> Health:
    health = Health()
    for each_s in took_s:
        health.answered(each_s, at_s)
    return health


def test_the_faster_costs_less() -> None:
    assert answered(0.1, 0.1).cost_s(100.0) < answered(0.2, 0.2).cost_s(100.0)


def test_one_slow_answer_counts_for_a_quarter() -> None:
    assert answered(1.0, 1.0, 5.0).cost_s(100.0) == pytest.approx(2.0)


def test_who_is_asked_already_costs_more() -> None:
    health = answered(0.1)
    health.running = 3
    assert health.cost_s(100.0) == pytest.approx(0.4)


def test_who_is_not_known_is_tried_but_by_one_at_a_time() -> None:
    unknown = Health()
    assert unknown.cost_s(100.0) < answered(0.01).cost_s(100.0)
    unknown.running = 1
    assert unknown.cost_s(100.0) > answered(0.5).cost_s(100.0)


def test_a_failure_costs_more_than_any_latency_and_is_forgotten_in_time() -> None:
    health = answered(0.1)
    health.failed(100.0)
    assert health.cost_s(100.0) > answered(5.0).cost_s(100.0)
    assert health.cost_s(100.0 + 12 * HALF_LIFE_S) < 0.01


def test_a_busy_one_ranks_lower_but_stays_well() -> None:
    health = answered(0.1)
    for _ in range(OPENS_AFTER + 1):
        health.busy(100.0)
    assert health.is_well(100.0)
    assert health.cost_s(100.0) > 1.0


def test_who_lost_takes_at_least_as_long_as_it_was_given() -> None:
    health = answered(0.1)
    health.lost(0.05, 100.0, is_passed_over=False)
    assert health.cost_s(100.0) == pytest.approx(0.1)
    health.lost(0.7, 100.0, is_passed_over=False)
    assert health.cost_s(100.0) == pytest.approx(0.7)
    health.lost(0.7, 100.0, is_passed_over=True)
    assert health.cost_s(100.0) > 1.0


def test_who_was_passed_over_once_is_preferred_to_one_whose_places_and_queue_are_full() -> None:
    passed_over, crowded = answered(0.3), answered(0.3)
    passed_over.lost(1.3, 100.0, is_passed_over=True)
    crowded.running = 12  # MAX_PEER_JOBS and MAX_PEER_QUEUE of a peer, unless its owner set them
    assert passed_over.cost_s(100.0) < crowded.cost_s(100.0)


def test_what_is_known_of_a_slow_one_fades_so_that_it_is_tried_again() -> None:
    slow = answered(8.0)
    assert slow.cost_s(100.0 + HALF_LIFE_S) == pytest.approx(4.0)
    assert slow.cost_s(99.0) == pytest.approx(8.0)  # a clock that was read earlier


@given(failures=st.integers(1, 100), after_s=st.floats(0, 1e6))
def test_costs_are_finite_and_never_negative(failures: int, after_s: float) -> None:
    health = failed(failures)
    assert 0 <= health.cost_s(100.0 + after_s) < 100.0


# ---- the book ----


def test_the_book_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "MAX_RECORDS", 3)
    book = HealthBook()
    for name in "abcde":
        book.of(name).failed(100.0)
    assert len(book._records) == 3
    assert [book.of(name).failures for name in "cde"] == [1, 1, 1]
