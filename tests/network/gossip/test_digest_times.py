"""Digests come fast while much is missing, after a while when something has changed, and seldom where nothing does."""

import math
import random

from masa_node.network.gossip.digest_times import (
    CHANGED_DIGEST_S,
    CHANGED_DIGESTS,
    GREETING_DIGEST_S,
    LATEST_DIGEST_S,
    SOONEST_DIGEST_S,
    DigestTimes,
)

MOST = 1.25  # of a pause


def linked() -> DigestTimes:
    times = DigestTimes(random.Random(1))  # noqa: S311 - a simulation
    times.linked(0.0)
    return times


def sent_in(times: DigestTimes, from_s: float, until_s: float) -> list[float]:
    """When digests go out, if each is sent as soon as it is due."""
    sent: list[float] = []
    while times.at_s < until_s:
        if times.at_s >= from_s:
            sent.append(times.at_s)
        times.sent(times.at_s, are_more_greeted=False)
    return sent


def test_a_new_link_has_one_at_once_and_no_link_has_none() -> None:
    times = linked()
    assert times.at_s <= SOONEST_DIGEST_S
    times.alone()
    assert times.at_s == math.inf


def test_new_links_are_greeted_one_soon_after_the_other() -> None:
    times = linked()
    seconds = [times.at_s]
    for _ in range(16):
        times.sent(seconds[-1], are_more_greeted=True)
        seconds.append(times.at_s)
    assert seconds[-1] < 16 * GREETING_DIGEST_S * MOST + SOONEST_DIGEST_S
    times.sent(seconds[-1], are_more_greeted=False)
    assert times.at_s - seconds[-1] >= SOONEST_DIGEST_S / MOST / MOST


def test_where_nothing_changes_they_become_seldom() -> None:
    times = linked()
    first, later = sent_in(times, 0, 60), sent_in(times, 3_600, 10_800)
    assert len(first) >= 5
    assert 7_200 / LATEST_DIGEST_S / MOST - 1 <= len(later) <= 7_200 / LATEST_DIGEST_S * MOST + 1


def test_after_a_change_the_next_ones_are_near_however_many_changes_there_are() -> None:
    times = linked()
    sent_in(times, 0, 3_600)
    for _ in range(100):
        times.changed(3_600)
    assert 3_600 < times.at_s <= 3_600 + MOST * CHANGED_DIGEST_S
    near = sent_in(times, 3_600, 3_600 + MOST * CHANGED_DIGESTS * CHANGED_DIGEST_S)
    assert CHANGED_DIGESTS <= len(near) <= 2 * CHANGED_DIGESTS
    assert len(sent_in(times, 7_200, 7_200 + 10 * LATEST_DIGEST_S)) <= 10 * MOST + 1


def test_changes_without_end_put_off_none() -> None:
    times, now_s, sent = linked(), 0.0, 0
    while now_s < 3_600:
        now_s += 0.1
        times.changed(now_s)
        if now_s >= times.at_s:
            times.sent(now_s, are_more_greeted=False)
            sent += 1
    assert 3_600 / CHANGED_DIGEST_S / 2 / MOST <= sent <= 3_600 / CHANGED_DIGEST_S * MOST + 10


def test_while_much_is_missing_and_while_links_wait_for_theirs_they_go_out_one_after_another() -> None:
    times = linked()
    sent_in(times, 0, 3_600)
    times.missed_much(3_600)
    assert times.at_s <= 3_600 + SOONEST_DIGEST_S
    for _ in range(5):
        before_s = times.at_s
        times.sent(before_s, are_more_greeted=True)
        assert times.at_s <= before_s + MOST * max(SOONEST_DIGEST_S, before_s - 3_600 + SOONEST_DIGEST_S)
