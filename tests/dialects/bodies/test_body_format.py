"""A body is taken for one format's by what only that format has, and for nobody's without such a mark."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from masa_node.chat.request import DialectName, Endpoint
from masa_node.dialects.bodies import body_format as formats
from masa_node.dialects.bodies import glance
from masa_node.dialects.bodies.body_format import (
    BODY_DEPTH,
    BodyFormat,
    body_format,
    endpoint_in,
    fewer_messages,
    own_format,
)
from masa_node.dialects.condensing import LARGE_BYTES, at_once, condensed
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


MANY = [{"role": "user", "content": 'the "images" } , { " of [a] \\ "developer"'}] * 3_000
PARTS = ["image_url", "input_audio", "file", "refusal", "tool_use", "tool_result", "thinking", "redacted_thinking"]
SAYING: list[dict[str, Any]] = [
    *(mark["messages"][0] for _, mark in MARKS if "messages" in mark),
    *({"role": "user", "content": [{"type": part}]} for part in (*PARTS, "document", "image")),
]


def shortened(body: bytes) -> bytes:
    return at_once(fewer_messages(body))


@pytest.mark.untraced
@pytest.mark.parametrize("message", SAYING, ids=str)
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("at", [0, 1_000, 3_000])
def test_of_many_messages_few_say_the_same(message: dict[str, Any], indent: int | None, at: int) -> None:
    written = [json.dumps(one, indent=indent).replace("\n", "\n    ") for one in (MANY[0], message)]
    all_written = [written[0]] * at + written[1:] + [written[0]] * (len(MANY) - at)  # each by itself takes long
    messages = (", " if indent is None else ",\n    ").join(all_written)
    for fields in ({"model": "m", "messages": [1], "stream": False}, {"messages": [1], "n": 2}):
        body = json.dumps(fields, indent=indent).replace("1", messages, 1).encode()
        few, format_of_all = shortened(body), body_format(body)
        assert len(few) < LARGE_BYTES < len(body)
        assert body_format(few) == format_of_all
        assert format_of_all.said is not None


@pytest.mark.parametrize(
    "body",
    [
        b"x" * 200_000,
        b'{"metadata":{"messages":[%s1]}}' % (b'{"a":0},' * 20_000),
        b'{"x":"messages":[%s1]}' % (b'{"a":0},' * 20_000),
        b'{"messages":[{"content":"%s"}]}' % (b'},{ \\"' * 30_000),
        b'{"messages":[%s{}]}' % (b"1," * 60_000),
        b'{"messages":[{"content":[%s{}]}]}' % (b'{"type":"image_url"},' * 6_000),
    ],
    ids=lambda body: f"{body[:30]!r}",
)
def test_what_has_no_messages_one_after_the_other_stays_as_it_is(body: bytes) -> None:
    assert shortened(body) is body


@pytest.mark.parametrize(
    "behind",
    [
        "5]",
        '{"content":"x"',
        ']],"x":1',
        '],"messages":[]',
        '],"messages":[{"images":[1]}]',
        '],"messages":null',
        '],"system":""',
    ],
)
def test_what_is_behind_the_messages_counts_as_ever(behind: str) -> None:
    many = json.dumps([*MANY, SAYING[-1], *MANY])[:-1]
    body = f'{{"model":"m","messages":{many},{{"role":"user"}}{behind}}}'.encode()
    assert len(shortened(body)) < LARGE_BYTES
    assert body_format(shortened(body)) == body_format(body)


TEXTS = st.sampled_from(["a", '},{"', '"images":', "\ud83d", "]", "[", "\\"]) | st.text(max_size=5)
VALUES = st.recursive(
    TEXTS | st.sampled_from([None, True, 1.5, float("nan"), "developer", "image"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "arguments", "x"]), inner),
    max_leaves=6,
)
NAMES = st.sampled_from(["role", "content", "images", "tool_name", "tool_calls", "x", "type", "function"])
MESSAGES = st.lists(st.sampled_from(SAYING) | st.dictionaries(NAMES, VALUES, max_size=4) | VALUES, max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    messages=st.lists(st.sampled_from(SAYING + MANY[:1]), min_size=4, max_size=12) | MESSAGES,
    before=st.dictionaries(st.sampled_from(["model", "x", "n", "messages"]), VALUES, max_size=2),
    behind=st.sampled_from(["", ',"system":1', ',"messages":[]', ',"messages":[{"images":[]},{}]', "]"]),
    layout=st.fixed_dictionaries({"ensure_ascii": st.booleans(), "indent": st.sampled_from([None, 1])}),
    broken=st.none()
    | st.none()
    | st.tuples(st.integers(0, 400), st.sampled_from(['"', "{", "}", "]", ",", "\\", "\\u0069"])),
)
def test_any_messages_say_the_same_when_most_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
    messages: list[object],
    before: dict[str, object],
    behind: str,
    layout: dict[str, Any],
    broken: tuple[int, str] | None,
) -> None:
    monkeypatch.setattr(formats, "LARGE_BYTES", 100)
    monkeypatch.setattr(formats, "_BATCH_BYTES", 60)
    text = json.dumps({**before, "messages": messages}, **layout)[:-1] + behind + "}"
    if broken is not None:
        text = text[: broken[0]] + broken[1] + text[broken[0] :]
    body = text.encode("utf-8", "surrogatepass")
    assert body_format(shortened(body)) == body_format(body)


def test_of_more_messages_than_are_looked_at_one_by_one_all_is_known() -> None:
    body = json.dumps({"messages": [*MANY * 10, SAYING[3]], "stream": False}).encode()
    assert at_once(condensed(body, BODY_DEPTH)) is None
    assert body_format(shortened(body)) == BodyFormat(DialectName.OPENAI, stream=b"false")


def test_it_is_the_same_without_a_library_that_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glance, "fast_search", lambda: None)
    body = json.dumps({"messages": [*MANY, SAYING[0], *MANY]}).encode()
    assert body_format(shortened(body)).said is DialectName.OLLAMA
