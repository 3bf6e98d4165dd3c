import re
from pathlib import Path

import pytest

import masa_node
from masa_node.chat.headers import FROM_PEERS, TO_LLMS, TO_PEERS, WHEN_TO_ASK_AGAIN, passes_from_llm

SOURCES = Path(masa_node.__file__).parent
CREDENTIALS = {"authorization", "cookie", "x-api-key", "proxy-authorization", "set-cookie"}


def test_a_peer_gets_no_more_than_an_own_llm_and_gives_no_more() -> None:
    assert TO_PEERS <= TO_LLMS
    assert all(passes_from_llm(name) for name in FROM_PEERS)


def test_no_credential_passes_anywhere() -> None:
    assert not (TO_LLMS | FROM_PEERS) & CREDENTIALS
    assert not any(passes_from_llm(name) for name in CREDENTIALS)


@pytest.mark.parametrize(
    "name", ["x-ratelimit-limit", "anthropic-ratelimit-x", "request-id", *sorted(WHEN_TO_ASK_AGAIN)]
)
def test_what_an_llm_says_of_its_limits_reaches_the_caller(name: str) -> None:
    assert passes_from_llm(name)


def test_no_other_module_lists_what_passes() -> None:
    marks = re.compile(r"[\"'](?:traceparent|openai-beta|x-should-retry|anthropic-ratelimit-)[\"']")
    listing = [path.name for path in SOURCES.rglob("*.py") if marks.search(path.read_text("utf-8"))]
    assert listing == ["headers.py"]
