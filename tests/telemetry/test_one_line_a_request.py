"""A running node writes exactly one line for each chat request, however that ended.

Covers: `log`, `request_line`.
"""

from collections.abc import Iterator

import pytest

from tests.api.raw_http import ask_once, chat, get, post
from tests.api.serving import ServingNode


@pytest.fixture
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingNode]:
    with ServingNode(tmp_path_factory.mktemp("node"), {"LOG_LEVEL": "info"}) as running:
        yield running


async def test_one_line_for_each_and_none_for_the_rest(node: ServingNode) -> None:
    asked = {
        "whole": post(chat(), b"X-Request-Id: whole\r\n"),
        "stream": post(chat(stream=True), b"X-Request-Id: stream\r\n", target=b"/api/chat"),
        "unknown": post(chat("x"), b"X-Request-Id: unknown\r\n"),
        "no-json": post(b"{", b"X-Request-Id: no-json\r\n", target=b"/v1/messages"),
    }
    for request in asked.values():
        await ask_once(node.port, request)
    for target in (b"/healthz", b"/readyz", b"/metrics", b"/v1/models", b"/", b"/nowhere"):
        await ask_once(node.port, get(target))
    lines = {str(line["request_id"]): line for line in node.requests_logged(len(asked))}
    assert list(lines) == list(asked)
    assert len(node.requests_logged()) == len(asked)
    facts = {name: (line["endpoint"], line["model"], line["status"], line["error"]) for name, line in lines.items()}
    assert facts == {
        "whole": ("openai.chat", "masa-demo", 200, None),
        "stream": ("ollama.chat", "masa-demo", 200, None),
        "unknown": ("openai.chat", "x", 404, "model_not_found"),
        "no-json": ("anthropic.messages", "", 400, "bad_json"),
    }
    assert lines["whole"]["body_bytes"] == len(chat())
    assert isinstance(lines["stream"]["pieces"], int)
    assert lines["stream"]["pieces"] > 10
    assert lines["stream"]["attempts"] == "demo=won"
    assert lines["stream"]["output_tokens"]
