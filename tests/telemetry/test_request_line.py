"""The line about a request that people read fits into a terminal, whatever is in it."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from masa_node.chat.outcome import Attempt
from masa_node.chat.request import Endpoint, RequestId
from masa_node.telemetry import log
from masa_node.telemetry.request_line import MAX_COLUMNS, request_line
from masa_node.telemetry.request_record import record_of
from tests.fakes.outcomes import REFUSED, WON, outcome

Configure = Callable[..., Callable[[], str]]
TEXT = st.text(max_size=300)


def test_it_says_what_was_asked_who_answered_and_how_long_it_took(logging_to_memory: Configure) -> None:
    written = logging_to_memory("info", "console")
    log.log_outcome(WON)
    (line,) = written().splitlines()
    assert line.split(" ", 1)[1] == "200 openai.chat m by llm 1.5 s (first piece 26 ms)  an-id"


def test_it_says_whose_key_it_was_if_that_has_a_name() -> None:
    line = request_line(record_of(outcome(key="alice"), "info", "2026-11-29T08:00:00"))
    assert "200 openai.chat m for alice by llm 1.5 s" in line
    assert " for " not in request_line(record_of(outcome(key=""), "info", "now"))


@pytest.mark.parametrize(
    ("total_s", "shown"),
    [(0.00042, " 0.4 ms "), (0.0094, " 9.4 ms "), (0.0104, " 10 ms "), (0.25, " 250 ms "), (1.26, " 1.3 s ")],
)
def test_a_short_time_is_not_rounded_away(total_s: float, shown: str) -> None:
    assert shown in request_line(record_of(outcome(total_s=total_s, wants_stream=False), "info", "now"))


def test_it_says_what_went_wrong_and_who_was_asked(logging_to_memory: Configure) -> None:
    written = logging_to_memory("info", "console")
    tried = (Attempt("first", "unreachable", 0.0, 0.1), Attempt("second", "http_500", 0.1, 0.2))
    log.log_outcome(msgspec.structs.replace(REFUSED, error="unreachable", status=502, attempts=tried))
    (line,) = written().splitlines()
    assert " 502 " in line
    assert "unreachable" in line
    assert "(first=unreachable, second=http_500)" in line


def test_a_peers_id_leaves_room_for_what_became_of_it(logging_to_memory: Configure) -> None:
    written = logging_to_memory("info", "console")
    tried = (Attempt("0123456789" + "ab" * 27, "http_500", 0.0, 0.1),)
    log.log_outcome(msgspec.structs.replace(REFUSED, error="error_answer", status=500, attempts=tried))
    (line,) = written().splitlines()
    assert "(0123456789=http_500)" in line


def test_long_names_and_ids_are_cut_and_the_id_stays(logging_to_memory: Configure) -> None:
    written = logging_to_memory("info", "console")
    tried = tuple(Attempt("p" * 64, "stalled", 0.0, 1.0) for _ in range(9))
    long = msgspec.structs.replace(
        WON, model="m" * 256, request_id=RequestId("i" * 64), served_by="s" * 64, attempts=tried, error="stalled"
    )
    log.log_outcome(long)
    (line,) = written().splitlines()
    assert len(line) <= MAX_COLUMNS
    assert "  iiiiiiii" in line


@given(TEXT, TEXT, TEXT, TEXT, st.floats(0, 1e9))
def test_no_line_is_wider_than_a_terminal(
    model: str, served_by: str, request_id: str, attempts: str, ms: float
) -> None:
    record = msgspec.structs.replace(
        record_of(outcome(error="first_piece_timeout", status=502), "warning", "2026-11-29T01:02:03.123456Z"),
        endpoint=Endpoint.ANTHROPIC_COUNT_TOKENS,
        model=model,
        requester=served_by,
        served_by=served_by,
        attempts=attempts,
        total_ms=ms,
        request_id=RequestId(request_id),
    )
    line = request_line(record)
    assert cell_len(line) <= MAX_COLUMNS
    assert line.isprintable()
