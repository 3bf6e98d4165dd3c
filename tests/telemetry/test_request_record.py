"""What the log says of one request, and when."""

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.telemetry.request_record import UtcText, level_of, record_of
from tests.fakes.outcomes import REFUSED, WON, outcome

UNTIL_2100_NS = 4_102_444_800 * 10**9


@given(st.lists(st.integers(0, UNTIL_2100_NS), max_size=5), st.integers(0, 2 * 10**9))
def test_any_times_are_written_as_the_library_writes_them_whatever_came_before(times: list[int], more: int) -> None:
    ticks = [at for ns in times for at in (ns, ns + more, ns)]  # clocks are set back, too
    text = UtcText()
    for ns in ticks:
        second, rest_ns = divmod(ns, 10**9)
        at = datetime.fromtimestamp(second, UTC).replace(microsecond=rest_ns // 1000)
        assert text(ns) == f"{at:%Y-%m-%dT%H:%M:%S.%f}Z"


def test_the_text_of_a_second_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    strftime = time.strftime

    def counting(form: str, at: time.struct_time) -> str:
        made.append(form)
        return strftime(form, at)

    monkeypatch.setattr(time, "strftime", counting)
    text = UtcText()
    assert len({text(at_unix_ns) for at_unix_ns in range(0, 10**9, 10**7)}) == 100
    assert len(made) == 1
    text(10**9)
    assert len(made) == 2


def test_the_level_follows_from_how_it_ended() -> None:
    ends = (WON, REFUSED, outcome(error="caller_gone"), outcome(error="caller_gone", requester="ab" * 32))
    assert [level_of(end) for end in ends] == ["info", "warning", "warning", "info"]


def test_times_are_milliseconds_and_what_did_not_happen_has_none() -> None:
    won, refused = (record_of(end, "info", "now") for end in (WON, REFUSED))
    assert (won.total_ms, won.first_piece_ms, won.queued_ms) == (1500.0, 25.6, 1.0)
    assert refused.first_piece_ms is None
    assert record_of(outcome(total_s=0.0004237), "info", "now").total_ms == 0.424  # microseconds
