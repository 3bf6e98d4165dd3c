"""The rules of the race against long-tailed peers, as `make bench` measures them: virtual time, a fixed seed.

Covers: `racing.hedging`, `racing.race`.
"""

import asyncio
import random

import pytest

from bench.figures import RaceCell
from bench.races import measure
from tests.virtual_time import VirtualTimeLoop

pytestmark = pytest.mark.untraced
REQUESTS = 1_000
SEED = 1


def raced(rule: str, *, stalled: int = 0) -> RaceCell:
    """Ten peers, warmed up; then so many of them fall silent."""
    random.seed(SEED)  # equals are ranked at random
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(measure(10, stalled, rule, REQUESTS, SEED))


@pytest.fixture(scope="module")
def healthy() -> RaceCell:
    return raced("hedge")


@pytest.fixture(scope="module")
def single() -> RaceCell:
    return raced("single")


def test_hedges_cut_the_tail_for_few_more_requests(healthy: RaceCell, single: RaceCell) -> None:
    assert healthy.p99_s < 0.8 * single.p99_s
    assert healthy.extra <= 0.10
    assert single.requests == 1


def test_being_passed_over_now_and_then_does_not_drive_all_requests_to_a_few(
    healthy: RaceCell, single: RaceCell
) -> None:
    assert healthy.p50_s < 1.15 * single.p50_s


def test_one_stalled_peer_in_ten_hardly_shows(healthy: RaceCell) -> None:
    stalled = raced("hedge", stalled=1)
    assert stalled.p99_s <= 1.3 * healthy.p99_s
    assert stalled.extra <= 0.10
    assert stalled.failed == 0


def test_asking_all_is_the_fastest_and_asks_each() -> None:
    together = raced("all", stalled=1)
    assert together.requests == 10
    assert together.p99_s < 0.3
