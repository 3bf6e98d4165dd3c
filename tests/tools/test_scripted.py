"""The scripted servers that clients are tried on: their answers are those of their formats, and follow the script."""

import contextlib
import http.client
import json
from typing import Any

import pytest

from masa_node.chat.request import Endpoint
from tests.dialects.translation import gist
from tools.scripted.formats import CHAT, MESSAGES, OLLAMA, RESPONSES, RUN, Format
from tools.scripted.script import COMMAND, PROOF, answer_to
from tools.scripted.server import KINDS, MODEL, Scripted

SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
FUNCTION = {"name": "shell", "description": "", "parameters": SCHEMA}
NESTED = {"tools": [{"type": "function", "function": FUNCTION}]}
FLAT = {"tools": [{"type": "function", **FUNCTION}]}
OWN = {"tools": [{"name": "shell", "input_schema": SCHEMA}]}
HI: list[Any] = [{"role": "user", "content": "hi"}]
RESULT = {"role": "tool", "tool_call_id": "a", "content": PROOF}
CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "a", "function": {"name": "shell", "arguments": "{}"}}],
}
ITEMS = [{"type": "function_call", "call_id": "a"}, {"type": "function_call_output", "call_id": "a", "output": PROOF}]
BLOCKS = [
    {"role": "assistant", "content": [{"type": "tool_use", "id": "a"}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": PROOF}]},
]
# Each format with where it is spoken, its tools, and the turns behind a call.
FORMATS = [
    (CHAT, Endpoint.OPENAI_CHAT, NESTED, {"messages": [*HI, CALLED, RESULT]}),
    (RESPONSES, Endpoint.OPENAI_RESPONSES, FLAT, {"input": [*HI, *ITEMS]}),
    (MESSAGES, Endpoint.ANTHROPIC_MESSAGES, OWN, {"messages": [*HI, *BLOCKS]}),
    (OLLAMA, Endpoint.OLLAMA_CHAT, NESTED, {"messages": [*HI, CALLED, RESULT]}),
    (RUN, Endpoint.CLOUDFLARE_RUN, FLAT, {"messages": [*HI, CALLED, RESULT]}),
]


@pytest.mark.parametrize(("form", "endpoint", "tools", "told"), FORMATS, ids=lambda each: str(each)[:24])
def test_a_tool_is_called_and_then_what_it_gave_is_told(
    form: Format, endpoint: Endpoint, tools: dict[str, Any], told: dict[str, Any]
) -> None:
    first = {"model": MODEL, "input": HI} if form is RESPONSES else {"model": MODEL, "messages": HI}
    for body, said in (({**first, **tools}, ""), ({"model": MODEL, **told, **tools}, f"The tool said: {PROOF}")):
        asked = form.read(body)
        answer = answer_to(asked)
        whole = gist.of_whole(endpoint, json.dumps(form.whole(asked, answer)).encode())
        streamed = gist.of_stream(endpoint, b"".join(form.frames(asked, answer)))
        assert whole.text == streamed.text == said
        assert whole.calls == streamed.calls == ([] if said else [("shell", {"command": COMMAND})])
        assert whole.tokens == streamed.tokens == (11, 7)


def test_a_schema_a_limit_and_a_stop_are_kept() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"properties": {"n": {"type": "integer"}}}}}
    words = [{"role": "user", "content": "one two 7 three"}]
    assert json.loads(answer_to(CHAT.read({"messages": words, "response_format": form})).text) == {"n": 7}
    assert answer_to(CHAT.read({"messages": words, "stop": ["two"]})).text == "Hello! one "
    cut = answer_to(CHAT.read({"messages": words, "max_tokens": 2}))
    assert (cut.text, cut.reason) == ("Hello! one", "length")


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_has_the_endpoints_of_its_kind_only(kind: str) -> None:
    with Scripted(kind).running() as server, contextlib.closing(http.client.HTTPConnection(server.url[7:])) as client:
        (path,) = server.kind.posts
        body = json.dumps({"model": MODEL, "messages": HI, "input": HI, "stream": False})
        for where, status in ((path, 200), ("/v1/embeddings", 404)):
            client.request("POST", where, body)
            response = client.getresponse()
            assert (response.status, json.loads(response.read()) != {}) == (status, True)
        assert server.asked == [path, "/v1/embeddings"]
