import pytest

from masa_node.network.links.token_bucket import TokenBucket


def test_a_burst_is_there_at_once_and_comes_back_evenly() -> None:
    bucket = TokenBucket(per_s=2, burst=10, now_s=100.0)
    assert bucket.take(10, 100.0)
    assert not bucket.take(1, 100.25)
    assert bucket.take(1, 100.5)


def test_what_cannot_be_taken_costs_nothing() -> None:
    bucket = TokenBucket(per_s=1, burst=5, now_s=0.0)
    assert not bucket.take(6, 0.0)
    assert bucket.level(0.0) == 5


def test_it_never_holds_more_than_its_burst_and_a_clock_that_goes_back_takes_nothing_away() -> None:
    bucket = TokenBucket(per_s=1, burst=5, now_s=50.0)
    assert bucket.level(1_000.0) == 5
    assert bucket.take(2, 1_000.0)
    assert bucket.level(10.0) == 3


@pytest.mark.parametrize(("amount", "at_s"), [(0, 0.0), (4, 4.0), (5, 5.0), (500, 5.0)])
def test_it_says_when_so_much_may_be_done_and_more_than_a_burst_waits_for_a_full_one(
    amount: float, at_s: float
) -> None:
    bucket = TokenBucket(per_s=1, burst=5, now_s=0.0)
    assert bucket.take(5, 0.0)
    assert bucket.when_s(amount, 0.0) == at_s
