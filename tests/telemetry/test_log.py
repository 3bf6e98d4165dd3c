"""One line a request, with every field of its outcome; and no words of an exception."""

import asyncio
import io
import json
import logging
import re
from collections.abc import Callable

import pytest
import structlog
from structlog.testing import capture_logs

from masa_node.chat.outcome import MAX_TRAIL, Attempt, Outcome
from masa_node.telemetry import log
from tests.fakes.outcomes import REFUSED, WON, outcome

Configure = Callable[..., Callable[[], str]]


def test_a_request_is_one_line_of_json_with_all_its_facts(logging_to_memory: Configure) -> None:
    written = logging_to_memory("info", "json")
    log.log_outcome(WON)
    (line,) = written().splitlines()
    fields = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", fields.pop("timestamp"))
    assert fields == {
        "event": "request",
        "level": "info",
        "request_id": "an-id",
        "endpoint": "openai.chat",
        "model": "m",
        "status": 200,
        "error": None,
        "stream": True,
        "served_by": "llm",
        "attempts": "first=unreachable, llm=won",
        "race": None,
        "hedges": 0,
        "requester": None,
        "key": "owner",
        "total_ms": 1500.0,
        "first_piece_ms": 25.6,
        "queued_ms": 1.0,
        "body_bytes": 100,
        "answer_bytes": 2000,
        "pieces": 12,
        "input_tokens": 7,
        "output_tokens": 5,
    }


def test_every_field_of_an_outcome_is_in_the_line_but_what_follows_from_another(logging_to_memory: Configure) -> None:
    written = logging_to_memory("info", "json")
    log.log_outcome(WON)
    names = {name.removesuffix("_ms").removesuffix("_s") for name in json.loads(written())}
    fields = {name.removesuffix("_s").removeprefix("wants_") for name in Outcome.__struct_fields__}
    assert fields - names == {"model_known", "deadline", "ended_at_unix_ns"}  # a setting; it is the timestamp


def test_a_request_that_failed_is_a_warning(logging_to_memory: Configure) -> None:
    written = logging_to_memory("warning", "json")
    log.log_outcome(WON)
    log.log_outcome(REFUSED)
    (line,) = written().splitlines()
    fields = json.loads(line)
    assert (fields["level"], fields["error"], fields["first_piece_ms"]) == ("warning", "bad_json", None)


def test_a_peers_request_that_lost_its_race_is_no_warning_and_a_callers_own_is(logging_to_memory: Configure) -> None:
    written = logging_to_memory("info", "json")
    log.log_outcome(outcome(error="caller_gone", requester="ab" * 32))
    log.log_outcome(outcome(error="caller_gone"))
    assert [json.loads(line)["level"] for line in written().splitlines()] == ["info", "warning"]


@pytest.mark.parametrize(("level", "lines"), [("debug", 2), ("info", 2), ("warning", 1), ("error", 0)])
def test_the_level_says_how_much_is_written(logging_to_memory: Configure, level: str, lines: int) -> None:
    written = logging_to_memory(level, "json")
    log.log_outcome(WON)
    log.log_outcome(REFUSED)
    assert len(written().splitlines()) == lines


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize("model", ["a\nb", "a\r\nevent=forged", "\x1b[31mred", "é 🦙", '"}', "\u2028"])
def test_a_model_name_never_makes_a_second_line(logging_to_memory: Configure, style: str, model: str) -> None:
    written = logging_to_memory("info", style)
    log.log_outcome(outcome(model=model))
    assert len(written().split("\n")) == 2
    assert "\x1b" not in written()
    assert "\r" not in written()


def test_people_get_words_and_programs_get_json(logging_to_memory: Configure) -> None:
    written = logging_to_memory("info", "console")
    log.log_outcome(WON)
    assert "  an-id" in written()
    assert "first piece 26 ms" in written()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_auto_is_for_people_on_a_terminal_only(logging_to_memory: Configure, *, is_terminal: bool) -> None:
    written = logging_to_memory("info", "auto", is_terminal=is_terminal)
    log.log_outcome(WON)
    assert written().startswith("{") is not is_terminal
    assert ("\x1b[" in written()) is is_terminal


def test_a_long_trail_is_cut(logging_to_memory: Configure) -> None:
    written = logging_to_memory("info", "json")
    log.log_outcome(outcome(attempts=tuple(Attempt(f"p{n}", "stalled", 0, 1) for n in range(100))))
    assert json.loads(written())["attempts"].count("=") == MAX_TRAIL


def test_requests_and_rare_events_stand_in_the_order_in_which_they_were(logging_to_memory: Configure) -> None:
    written = logging_to_memory("info", "json")
    log.log.info("before")
    log.log_outcome(WON)
    log.log.info("after")
    assert [json.loads(line)["event"] for line in written().splitlines()] == ["before", "request", "after"]


async def test_the_lines_of_one_turn_of_the_loop_are_written_at_its_end(logging_to_memory: Configure) -> None:
    written = logging_to_memory("info", "json")
    log.log_outcome(WON)
    log.log_outcome(REFUSED)
    assert written() == ""
    await asyncio.sleep(0)
    assert len(written().splitlines()) == 2


def test_a_program_around_a_node_gets_the_line_where_it_has_set_structlog_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_requests", log._Requests())
    with capture_logs() as lines:
        log.log_outcome(WON)
        log.log_outcome(REFUSED)
    assert [(line["event"], line["log_level"], line["error"]) for line in lines] == [
        ("request", "info", None),
        ("request", "warning", "bad_json"),
    ]
    assert {name: lines[0][name] for name in ("model", "attempts", "total_ms")} == {
        "model": "m",
        "attempts": "first=unreachable, llm=won",
        "total_ms": 1500.0,
    }


# ---- exceptions ----


def fail(said: str) -> None:
    try:
        int(said)
    except ValueError as exc:
        raise LookupError(said) from exc


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_trace_says_where_and_what_kind_but_not_what_was_said(logging_to_memory: Configure, style: str) -> None:
    written = logging_to_memory("info", style)
    said = f"it-was-{'said'!s}"  # not literally in a line of the source: those are shown
    try:
        fail(said)
    except LookupError:
        log.log.exception("bug")
    assert all(
        word in written() for word in ("bug", "Traceback", "test_log.py", "in fail", "LookupError", "ValueError")
    )
    assert said not in written()


def test_a_group_of_exceptions_is_shown_with_each(logging_to_memory: Configure) -> None:
    written = logging_to_memory("info", "json")
    told = ExceptionGroup("said", [ValueError("said"), OSError("said")])
    log.log.error("bug", exc_info=told)
    trace = json.loads(written())["exception"]
    assert [kind for kind in ("ExceptionGroup", "ValueError", "OSError") if kind in trace] == [
        "ExceptionGroup",
        "ValueError",
        "OSError",
    ]
    assert "said" not in trace


def test_a_chain_without_end_is_cut(logging_to_memory: Configure) -> None:
    written = logging_to_memory("info", "json")
    first, second = ValueError(), OSError()
    first.__context__, second.__context__ = second, first
    log.log.error("bug", exc_info=first)
    assert json.loads(written())["exception"].count("Traceback") == log.MAX_CHAINED


# ---- libraries ----


def test_what_asyncio_warns_of_is_a_line_of_ours_without_the_repr_of_what_failed(logging_to_memory: Configure) -> None:
    written = logging_to_memory("info", "json")
    logging.getLogger("asyncio").error(
        "Task exception was never retrieved\nfuture: <Task exception=ValueError('said')>"
    )
    fields = json.loads(written())
    assert (fields["event"], fields["name"], fields["level"]) == ("library", "asyncio", "error")
    assert fields["message"] == "Task exception was never retrieved"


class _Unread(io.TextIOWrapper):
    """A pipe whose reader has gone."""

    def __init__(self) -> None:
        super().__init__(_Broken())


class _Broken(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        del data
        raise BrokenPipeError


@pytest.mark.parametrize("style", ["json", "console"])
async def test_whoever_stops_reading_the_log_costs_no_request_its_answer(
    style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_requests", log._Requests())
    before = structlog.get_config()
    told: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        log.configure("info", style, _Unread())
        for _ in range(3):
            structlog.get_logger().info("a line")
            log.log_outcome(WON)
            await asyncio.sleep(0)
    finally:
        structlog.configure(**before)
    assert told == []
