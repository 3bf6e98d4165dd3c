"""Names of tools and schemas that a server would refuse are made such that it takes them, and mean the same."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.dialects.translation.losses import Losses
from masa_node.dialects.translation.tools import allowed_name, closed_schema, fits_strict
from tests.dialects.translation import sdk_models
from tests.dialects.translation.calling import (
    CHAT,
    HI,
    MESSAGES,
    OLLAMA,
    RESPONSES,
    RUN,
    call,
    delta,
    frames,
    named,
    request,
    stream,
    translation_of,
)

LONG = "mcp__plugin_atlassian-mcp-remote_atlassian__getConfluencePageFooterComments"
DOTTED = "default_api.get weather"
OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}}
CLOSED = {**OBJECT, "additionalProperties": False}


def raw(schema: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(schema))


@given(name=st.text(max_size=200))
def test_an_allowed_name_is_allowed_and_stays_as_it_is(name: str) -> None:
    allowed = allowed_name(name)
    assert len(allowed) <= 64
    assert not allowed or allowed.replace("-", "_").replace("_", "a").isascii()
    assert allowed_name(allowed) == allowed


def test_names_that_differ_stay_different() -> None:
    assert len({allowed_name(name) for name in (LONG, LONG + "s", "a.b", "a b", "a_b")}) == 5


ASK: dict[str, Any] = {
    "max_tokens": 9,
    "tools": [{"name": LONG, "input_schema": OBJECT}, {"name": "f", "input_schema": OBJECT}],
    "tool_choice": {"type": "tool", "name": LONG},
    "messages": [
        *HI,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": LONG, "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "1"}]},
    ],
}


def test_a_long_name_is_the_same_short_one_wherever_a_chat_server_reads_it_and_comes_back_as_it_was() -> None:
    """packit/ai-workflows 619: Claude Code puts the names of server and plugin before that of the tool."""
    body, _ = request(MESSAGES, CHAT, **ASK)
    short = body["tools"][0]["function"]["name"]
    assert len(short) == 64
    assert body["tool_choice"]["function"]["name"] == short
    assert body["messages"][1]["tool_calls"][0]["function"]["name"] == short
    assert body["tools"][1]["function"]["name"] == "f"
    raw_stream = frames(delta(tool_calls=[call(0, "{}", short, "c2")]), delta("tool_calls"), b"[DONE]")
    assert sdk_models.anthropic_message(stream(MESSAGES, CHAT, raw_stream, **ASK)).content[0].name == LONG
    message = {"content": None, "tool_calls": [{"id": "c2", "function": {"name": short, "arguments": "{}"}}]}
    whole = {"id": "c", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    translated = translation_of(MESSAGES, CHAT, **ASK).answer("r1", 0).whole(msgspec.json.encode(whole))
    assert sdk_models.whole(MESSAGES, translated).content[0].name == LONG


def test_a_name_that_no_vendor_allows_is_respelt_for_each_and_comes_back() -> None:
    tool = [{"type": "function", "function": {"name": DOTTED, "parameters": OBJECT}}]
    named_tool = {"type": "function", "function": {"name": DOTTED}}
    short = allowed_name(DOTTED)
    body, _ = request(CHAT, MESSAGES, tools=tool, tool_choice=named_tool)
    assert (body["tools"][0]["name"], body["tool_choice"]["name"]) == (short, short)
    body, _ = request(CHAT, RESPONSES, tools=tool, tool_choice=named_tool)
    assert (body["tools"][0]["name"], body["tool_choice"]["name"]) == (short, short)
    assert request(CHAT, RUN, tools=tool)[0]["tools"][0]["name"] == short
    assert request(CHAT, OLLAMA, tools=tool)[0]["tools"][0]["function"]["name"] == DOTTED  # it takes any
    started = {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": short, "input": {}}}  # fmt: skip
    out = stream(CHAT, MESSAGES, named(started, {"type": "message_stop"}), tools=tool)
    calls = [each for chunk in sdk_models.chat_chunks(out) for each in chunk.choices[0].delta.tool_calls or ()]
    assert calls[0].function.name == DOTTED


def test_a_schema_of_an_answer_is_closed_for_anthropic_which_takes_no_other() -> None:
    inner = {"type": "object", "properties": {"properties": OBJECT, "type": {"type": ["object", "null"]}}}
    asked = {"$defs": {"x": OBJECT}, **inner, "anyOf": [{"items": OBJECT}, True], "enum": [{"type": "object"}]}
    body, _ = request(OLLAMA, MESSAGES, format=asked)
    sent = body["output_config"]["format"]["schema"]
    assert sent["additionalProperties"] is sent["$defs"]["x"]["additionalProperties"] is False
    assert sent["properties"] == {
        "properties": CLOSED,
        "type": {"type": ["object", "null"], "additionalProperties": False},
    }
    assert sent["anyOf"] == [{"items": CLOSED}, True]
    assert sent["enum"] == [{"type": "object"}]


@pytest.mark.parametrize("schema", [CLOSED, {"type": "object", "additionalProperties": True}, {"type": "string"}, True])
def test_a_schema_in_which_nothing_is_missing_keeps_its_bytes(schema: Any) -> None:
    given_bytes = msgspec.Raw(b" " + msgspec.json.encode(schema))
    losses = Losses()
    assert closed_schema(given_bytes, losses) is given_bytes
    assert losses.names == []


BOUNDED = {
    **CLOSED,
    "properties": {
        "minimum": {"type": "integer", "minimum": 0, "maximum": 9, "description": "How many."},
        "tags": {"type": "array", "minItems": 2, "items": {"type": "string", "maxLength": 4}},
        "one": {"type": "array", "minItems": 1},
    },
}


def test_bounds_that_anthropic_refuses_are_said_in_words_as_its_sdks_do() -> None:
    """Of laravel/ai 715, req_llm 302 and 707: `For 'integer' type, property 'minimum' is not supported`."""
    said = {
        "minimum": {"type": "integer", "description": "How many.\n\n{minimum: 0, maximum: 9}"},
        "tags": {
            "type": "array",
            "description": "{minItems: 2}",
            "items": {"type": "string", "description": "{maxLength: 4}"},
        },
        "one": {"type": "array", "minItems": 1},
    }
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": BOUNDED}}
    tool = {"type": "function", "function": {"name": "f", "parameters": BOUNDED}}
    strict = {"type": "function", "function": {**tool["function"], "name": "g", "strict": True}}
    body, dropped = request(CHAT, MESSAGES, response_format=form, tools=[tool, strict], reasoning_effort="low")
    assert body["output_config"]["format"]["schema"]["properties"] == said
    assert [tool["input_schema"]["properties"] for tool in body["tools"]] == [BOUNDED["properties"], said]
    assert sorted(dropped) == ["maxLength", "maximum", "minItems", "minimum"]
    assert request(CHAT, OLLAMA, response_format=form)[0]["format"] == BOUNDED


@pytest.mark.parametrize(
    ("source", "form", "name"),
    [
        (CHAT, {"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.description"),
        (RESPONSES, {"text": {"format": {"type": "json_schema"}}}, "text.format.description"),
    ],
)
def test_what_an_answer_is_for_is_carried_or_named(source: Any, form: Any, name: str) -> None:
    inner = {"name": "a", "schema": CLOSED, "description": "A cat."}
    for each in (form.get("response_format", {}).get("json_schema"), form.get("text", {}).get("format")):
        if each is not None:
            each.update(inner)
    asked = form if source is CHAT else {**form, "input": "hi"}
    sent, _ = request(source, RESPONSES, **asked)
    assert sent["text"]["format"]["description"] == "A cat."
    sent, _ = request(source, CHAT, **asked)
    assert sent["response_format"]["json_schema"]["description"] == "A cat."
    for target in (MESSAGES, OLLAMA, RUN):
        assert request(source, target, **asked)[1] == [name]


STRICT = {**CLOSED, "required": ["a"]}


@pytest.mark.parametrize(
    ("schema", "fits"),
    [
        (STRICT, True),
        (CLOSED, False),
        ({**OBJECT, "required": ["a"]}, False),
        ({**STRICT, "$defs": {"x": OBJECT}}, False),
        ({"type": "array", "items": STRICT}, True),
        ({**STRICT, "required": [["a"], {"a": 1}]}, False),
        ({**STRICT, "required": ["a", ["b"]]}, True),
    ],
)
def test_openai_is_told_to_be_strict_only_about_what_it_can_be_strict_about(schema: Any, fits: bool) -> None:  # noqa: FBT001 - a row of a table
    """Anthropic is strict about objects that may lack a field; OpenAI refuses those."""
    assert fits_strict(raw(schema)) is fits
    form = {"format": {"type": "json_schema", "schema": schema}}
    body, dropped = request(
        MESSAGES, CHAT, max_tokens=9, output_config=form, tools=[{"name": "f", "input_schema": schema, "strict": True}]
    )
    assert ("strict" in body["response_format"]["json_schema"]) is fits
    assert ("strict" in body["tools"][0]["function"]) is fits
    assert dropped == ([] if fits else ["strict"])
