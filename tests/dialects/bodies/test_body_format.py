"""A body is taken for one format's by what only that format has, and for nobody's without such a mark."""

import json
from typing import Any

import pytest

from masa_node.chat.request import DialectName, Endpoint
from masa_node.dialects.bodies.body_format import BodyFormat, body_format, endpoint_in, own_format
from masa_node.upstreams.servers import cloudflare

HI = [{"role": "user", "content": "hi"}]
OLLAMA_CALL = {"function": {"name": "f", "arguments": {"a": 1}}}
OPENAI_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SCHEMA = {"type": "object"}
MARKS: list[tuple[DialectName, dict[str, Any]]] = [
    (DialectName.OLLAMA, {"options": {"num_ctx": 1}}),
    (DialectName.OLLAMA, {"keep_alive": "5m"}),
    (DialectName.OLLAMA, {"format": "json"}),
    (DialectName.OLLAMA, {"think": False}),
    (DialectName.OLLAMA, {"messages": [{"role": "user", "content": "hi", "images": ["AA=="]}]}),
    (DialectName.OLLAMA, {"messages": [{"role": "assistant", "content": "", "tool_calls": [OLLAMA_CALL]}]}),
    (DialectName.OLLAMA, {"messages": [{"role": "tool", "content": "1", "tool_name": "f"}]}),
    (DialectName.OPENAI, {"max_completion_tokens": 9}),
    (DialectName.OPENAI, {"response_format": {"type": "json_object"}}),
    (DialectName.OPENAI, {"stream_options": {"include_usage": True}}),
    (DialectName.OPENAI, {"n": 2}),
    (DialectName.OPENAI, {"tool_choice": "required"}),
    (DialectName.OPENAI, {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
    (DialectName.OPENAI, {"messages": [{"role": "developer", "content": "x"}]}),
    (DialectName.OPENAI, {"messages": [{"role": "assistant", "content": None, "tool_calls": [OPENAI_CALL]}]}),
    (DialectName.OPENAI, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}),
    (DialectName.ANTHROPIC, {"stop_sequences": ["x"]}),
    (DialectName.ANTHROPIC, {"anthropic_version": "bedrock-2023-05-31"}),
    (DialectName.ANTHROPIC, {"system": "be kind", "max_tokens": 9}),
    (DialectName.ANTHROPIC, {"system": [{"type": "text", "text": "be kind"}]}),
    (DialectName.ANTHROPIC, {"tools": [{"name": "f", "input_schema": SCHEMA}]}),
    (DialectName.ANTHROPIC, {"tool_choice": {"type": "any"}}),
    (DialectName.ANTHROPIC, {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}),
    (DialectName.CLOUDFLARE, {"lora": "mine"}),
]


def of(**body: object) -> BodyFormat:
    return body_format(json.dumps({"model": "m", **body}).encode())


@pytest.mark.parametrize(("dialect", "mark"), MARKS, ids=str)
def test_what_only_one_format_has_says_which_it_is(dialect: DialectName, mark: dict[str, Any]) -> None:
    assert of(**{"messages": HI, **mark}).said is dialect


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"stream": False},
        {"max_tokens": 9, "temperature": 0.5, "top_p": 1, "seed": 3, "top_k": 4},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]},
        {"options": None, "stop": None},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
        {"messages": "nothing like it", "tools": 3},
    ],
    ids=str,
)
def test_what_several_formats_have_says_nothing(more: dict[str, Any]) -> None:
    assert of(**{"messages": HI, **more}).said is None


def test_a_body_with_fields_of_two_formats_is_ollamas() -> None:
    assert of(messages=HI, n=2, system="x").said is DialectName.OLLAMA


def test_input_alone_is_openais_responses() -> None:
    assert of(input="hi").said is DialectName.OPENAI_RESPONSES
    assert of(input="hi", messages=HI).said is None


def test_a_prompt_goes_to_the_endpoint_that_takes_one() -> None:
    shape = of(prompt="hi", stream=False)
    assert (shape.said, shape.is_prompt, shape.stream) == (None, True, b"false")
    assert endpoint_in(DialectName.OLLAMA, is_prompt=True) is Endpoint.OLLAMA_GENERATE
    assert endpoint_in(DialectName.OPENAI, is_prompt=True) is Endpoint.OPENAI_COMPLETIONS


@pytest.mark.parametrize("body", [b"", b"[]", b'"x"', b"[" * 9_999, b'{"messages":[{"content":[[1]]}],"tools":[1]}'])
def test_what_is_no_request_says_nothing(body: bytes) -> None:
    assert body_format(body).said is None


def test_a_servers_own_format_is_that_of_its_chat_endpoint_whatever_else_it_speaks() -> None:
    ollama = frozenset({Endpoint.OLLAMA_CHAT, Endpoint.OPENAI_CHAT, Endpoint.ANTHROPIC_MESSAGES, Endpoint.NATIVE})
    assert own_format(ollama) is DialectName.OLLAMA
    assert own_format(ollama - {Endpoint.OLLAMA_CHAT}) is DialectName.OPENAI
    assert own_format(cloudflare.CloudflareServer("http://x/run", "").endpoints()) is DialectName.CLOUDFLARE
    assert own_format(frozenset({Endpoint.NATIVE})) is None
