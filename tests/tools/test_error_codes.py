"""docs/errors.md has every code and reason that anybody can be shown."""

import re
from pathlib import Path

from masa_node.api.http1 import raw_responses
from masa_node.chat import errors, outcome
from masa_node.chat.statuses import STATUS
from masa_node.network.links.control import RefusalCode
from masa_node.network.requests.errors import CODES
from tools import error_codes

PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text("utf-8")
DOCUMENTED = set(re.findall(r"`([^`]+)`", PAGE))


def test_every_error_of_the_program_is_there() -> None:
    elsewhere = {code for code, _ in error_codes.errors_elsewhere()}
    callers = {kind.code for kind in STATUS if kind is not errors.MasaError}
    assert callers | elsewhere <= DOCUMENTED
    assert {"store_failed", "bad_invite", "no_listing", "not_done"} <= elsewhere


def test_every_code_in_the_sources_is_there() -> None:
    """Also of classes that nothing imports."""
    found = {
        code
        for path in error_codes.SOURCES.rglob("*.py")
        for code in re.findall(r'^    code = "(\w+)"$', path.read_text("utf-8"), re.MULTILINE)
    }
    assert found - {errors.MasaError.code} <= DOCUMENTED


def test_every_answer_to_what_is_no_request_is_there() -> None:
    raw = [
        value for value in vars(raw_responses).values() if isinstance(value, bytes) and value.startswith(b"HTTP/1.1 ")
    ]
    assert len(error_codes.refusals_of_http()) == len(raw) > 0
    assert {code for code, *_ in error_codes.refusals_of_http()} <= DOCUMENTED


def test_every_result_of_an_attempt_is_there() -> None:
    assert {outcome.WON, outcome.CANCELLED, outcome.CALLER_GONE, "http_<status>"} <= DOCUMENTED


def test_every_code_and_reason_between_nodes_is_there() -> None:
    assert set(error_codes.REFUSALS_OF_LINKS) == set(RefusalCode)
    assert set(CODES) | set(RefusalCode) <= DOCUMENTED
    assert error_codes.close_reasons_in_code() - set(error_codes.CLOSE_REASONS) == set()


def test_each_has_a_meaning() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| code")]
    assert [row for row in rows if len(row.rstrip(" |").rpartition("|")[2].strip()) < len("the LLM's")] == []
