import pytest

from masa_node.network.links.heartbeat import (
    CHANGED_WAY_S,
    HEARTBEAT_S,
    LOST_AFTER_S,
    MAX_QUESTIONS_KEPT,
    MEASURE_EVERY,
    OTHER_SIDE_QUIET_S,
    OTHER_SIDE_S,
    QUIET_S,
    UNANSWERED_S,
    Heartbeat,
)

STEP_S = 0.05


def questions(heart: Heartbeat, from_s: float, to_s: float, *, is_busy: bool, answers: bool = True) -> list[float]:
    """When it asks; each question is answered a step later, or none is."""
    asked: list[float] = []
    now_s = from_s
    while now_s < to_s:
        number = heart.question(now_s, is_busy=is_busy)
        if number is not None:
            asked.append(now_s)
            if answers:
                heart.heard(now_s + STEP_S)
                assert heart.answered(number, now_s + STEP_S)
        now_s += STEP_S
    return asked


def lost_at(heart: Heartbeat, from_s: float, *, is_busy: bool) -> float:
    """When it gives a peer up that says nothing more; it looks as seldom as it may."""
    now_s = from_s
    while not heart.is_lost(now_s):
        heart.question(now_s, is_busy=is_busy)
        now_s += heart.rest_s(now_s, is_busy=is_busy)
        assert now_s < from_s + 100
    return now_s - from_s


def test_a_quiet_link_is_asked_seldom_and_a_busy_one_often() -> None:
    heart = Heartbeat(0.0, is_dialed=True)
    assert len(questions(heart, 0.0, 10 * QUIET_S, is_busy=False)) == pytest.approx(10, abs=1)
    assert len(questions(heart, 100.0, 100 + 10 * HEARTBEAT_S, is_busy=True)) == pytest.approx(10, abs=1)


@pytest.mark.parametrize("is_busy", [True, False])
def test_the_side_that_was_dialed_asks_when_it_hears_nothing_and_else_only_to_measure(is_busy: bool) -> None:  # noqa: FBT001
    heart = Heartbeat(0.0, is_dialed=False)
    assert len(questions(heart, 0.0, 1.0, is_busy=is_busy)) == 1  # at once: how long is the way?
    every_s = HEARTBEAT_S if is_busy else QUIET_S
    later_s = OTHER_SIDE_S if is_busy else OTHER_SIDE_QUIET_S
    asked = 0
    for beat in range(100):
        heart.heard(1 + beat * every_s)
        asked += len(questions(heart, 1 + beat * every_s, 1 + (beat + 1) * every_s, is_busy=is_busy))
    assert asked == pytest.approx(100 * every_s / (MEASURE_EVERY * QUIET_S), abs=2)
    last_s = 1 + 99 * every_s
    heart.heard(last_s)
    (first, *_) = questions(heart, last_s, last_s + every_s + later_s + 2 * STEP_S, is_busy=is_busy)
    assert first == pytest.approx(last_s + every_s + later_s, abs=2 * STEP_S)


@pytest.mark.parametrize("is_dialed", [True, False])
def test_silence_ends_a_link_soon_when_requests_are_under_way_and_later_when_none_are(is_dialed: bool) -> None:  # noqa: FBT001
    for is_busy, within_s in ((True, LOST_AFTER_S), (False, QUIET_S + OTHER_SIDE_QUIET_S + UNANSWERED_S)):
        heart = Heartbeat(0.0, is_dialed=is_dialed)
        questions(heart, 0.0, 20.0, is_busy=is_busy)
        heart.heard(20.0)
        assert UNANSWERED_S < lost_at(heart, 20.0, is_busy=is_busy) <= within_s + 0.01


def test_whatever_the_peer_says_is_a_sign_of_life() -> None:
    heart = Heartbeat(0.0, is_dialed=True)
    for step in range(100):
        heart.question(float(step), is_busy=True)
        heart.heard(step + 0.5)
        assert not heart.is_lost(step + 0.9)
    assert heart.questions <= MAX_QUESTIONS_KEPT


def test_a_way_that_just_changed_may_be_silent_for_longer() -> None:
    heart = Heartbeat(0.0, is_dialed=True)
    questions(heart, 0.0, 20.0, is_busy=True)
    heart.heard(20.0)
    heart.way_changed(22.0)
    assert lost_at(heart, 20.0, is_busy=True) == pytest.approx(CHANGED_WAY_S, abs=0.01)
    questions(heart, 50.0, 60.0, is_busy=True)
    heart.heard(60.0)  # that is over
    assert lost_at(heart, 60.0, is_busy=True) == pytest.approx(LOST_AFTER_S, abs=0.01)


def test_an_answer_tells_how_long_the_way_is_once() -> None:
    heart = Heartbeat(0.0, is_dialed=True)
    number = heart.question(1.0, is_busy=False)
    assert number is not None
    assert heart.rtt_s is None
    assert heart.answered(number, 1.25)
    assert heart.rtt_s == 0.25
    assert not heart.answered(number, 9.0)
    assert not heart.answered(99, 9.0)
    assert heart.rtt_s == 0.25
