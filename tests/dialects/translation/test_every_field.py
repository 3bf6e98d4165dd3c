"""Each field of each format, one by one: it reaches the server, its name is told, or the request is refused by it.

Covers: `losses`, `openai_chat.body`, `openai_responses.body`, `anthropic.body`, `ollama.body`.
"""

import re
from typing import Any

import msgspec
import pytest

from masa_node.chat.errors import NotTranslatable
from masa_node.chat.request import Endpoint
from masa_node.dialects.translation.translator import translate
from tests.dialects.translation.calling import CHAT, COMPLETIONS, GENERATE, HI, MESSAGES, OLLAMA, RESPONSES, RUN
from tests.dialects.translation.test_requests import PNG

TARGETS = (CHAT, RESPONSES, MESSAGES, OLLAMA, RUN)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
FUNCTION = {"name": "f", "description": "d", "parameters": SCHEMA}
TOOLS = {"model": "m", "messages": HI, "tools": [{"type": "function", "function": FUNCTION}]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
OF_CHAT = (
    {"stream": True}, {"max_tokens": 5}, {"max_completion_tokens": 5}, {"temperature": 0}, {"top_p": 0.5}, {"top_k": 3},
    {"min_p": 0.1}, {"seed": 0}, {"presence_penalty": 0.5}, {"frequency_penalty": 0.5}, {"stop": "x"}, {"n": 2},
    {"logprobs": True}, {"top_logprobs": 3}, {"reasoning_effort": "low"}, {"tool_choice": "none"},
    {"tool_choice": "required"}, {"tool_choice": {"type": "function", "function": {"name": "f"}}},
    {"parallel_tool_calls": False}, {"response_format": {"type": "json_object"}}, {"response_format": FORMAT},
    {"logit_bias": {"1": 2}}, {"metadata": {"a": "b"}}, {"user": "u"}, {"service_tier": "flex"}, {"verbosity": "low"},
    {"store": True}, {"prediction": {"type": "content", "content": "x"}}, {"modalities": ["text", "audio"]},
    {"web_search_options": {}}, {"unknown": 1}, {"stream_options": {"include_obfuscation": False}},
    {"function_call": "auto"}, {"functions": [FUNCTION]},
    {"tools": [{"type": "function", "function": {**FUNCTION, "strict": True}}]},
)  # fmt: skip
OF_MESSAGES = (
    {"stream": True}, {"max_tokens": 5}, {"temperature": 0}, {"top_p": 0.5}, {"top_k": 3}, {"stop_sequences": ["x"]},
    {"system": "s"}, {"thinking": {"type": "enabled", "budget_tokens": 2_000}}, {"output_config": {"effort": "low"}},
    {"thinking": {"type": "disabled"}}, {"thinking": {"type": "adaptive", "display": "omitted"}},
    {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, {"tool_choice": {"type": "any"}},
    {"output_format": {"type": "json_schema", "schema": SCHEMA}}, {"tool_choice": {"type": "none"}},
    {"tool_choice": {"type": "tool", "name": "f"}}, {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    {"metadata": {"user_id": "u"}}, {"service_tier": "auto"}, {"container": "c"}, {"mcp_servers": [{"type": "url"}]},
    {"thread": {"type": "create"}}, {"thread": {"type": "continue", "previous_message_id": "m"}}, {"compaction": {}},
    {"context_management": {"edits": [1]}}, {"cache_control": {"type": "ephemeral"}}, {"unknown": 1},
    {"tools": [{"name": "f", "description": "d", "input_schema": SCHEMA, "strict": True}]},
    {"tools": [{"name": "f", "description": "d", "input_schema": SCHEMA, "input_examples": [{"a": "b"}]}]},
)  # fmt: skip
OF_RESPONSES = (
    {"stream": True}, {"instructions": "s"}, {"max_output_tokens": 5}, {"temperature": 0}, {"top_p": 0.5},
    {"top_logprobs": 2}, {"include": ["message.output_text.logprobs"]}, {"include": ["file_search_call.results"]},
    {"tool_choice": "required"}, {"tool_choice": "none"}, {"tool_choice": {"type": "function", "name": "f"}},
    {"parallel_tool_calls": False}, {"text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}}},
    {"text": {"format": {"type": "json_object"}}}, {"text": {"verbosity": "low"}}, {"reasoning": {"effort": "low"}},
    {"reasoning": {"summary": "auto"}}, {"previous_response_id": "r"}, {"conversation": "c"}, {"prompt": {"id": "p"}},
    {"store": True}, {"background": True}, {"metadata": {"a": "b"}}, {"truncation": "auto"}, {"service_tier": "flex"},
    {"user": "u"}, {"max_tool_calls": 3}, {"prompt_cache_key": "k"}, {"unknown": 1}, {"presence_penalty": 0.5},
    {"tools": [{"type": "function", **FUNCTION, "strict": True}]}, {"input": [{**HI[0], "phase": "commentary"}]},
)  # fmt: skip
OF_OLLAMA = (
    {"stream": False}, {"format": "json"}, {"format": SCHEMA}, {"think": "low"}, {"keep_alive": "5m"},
    {"truncate": False}, {"shift": False}, {"logprobs": True}, {"top_logprobs": 2}, {"unknown": 1},
    *({"options": {name: value}} for name, value in {
        "num_predict": 5, "temperature": 0, "top_p": 0.5, "top_k": 2, "min_p": 0.1, "seed": 0, "presence_penalty": 0.5,
        "frequency_penalty": 0.5, "stop": ["x"], "num_ctx": 5, "repeat_penalty": 1.1, "mirostat": 1, "unknown": 1,
    }.items()),
    {"tools": [{"type": "function", "function": {**FUNCTION, "strict": True}}]},
)  # fmt: skip
OF_RUN = (
    {"stream": True}, {"max_tokens": 5}, {"temperature": 0}, {"top_p": 0.5}, {"top_k": 2}, {"seed": 0},
    {"repetition_penalty": 1.1}, {"presence_penalty": 0.5}, {"frequency_penalty": 0.5}, {"raw": True}, {"lora": "x"},
    {"response_format": {"type": "json_object"}}, {"functions": [{"name": "x", "code": "y"}]}, {"unknown": 1},
    {"tools": [{"type": "function", "function": {**FUNCTION, "strict": True}}]},
)  # fmt: skip
OF_PROMPTS = (
    {"max_tokens": 5}, {"temperature": 0}, {"seed": 0}, {"n": 2}, {"best_of": 2}, {"echo": True}, {"suffix": "x"},
    {"logprobs": 0}, {"stop": "x"}, {"logit_bias": {"1": 1}}, {"user": "u"}, {"prompt": ["a", "b"]}, {"prompt": [1, 2]},
)  # fmt: skip
OF_GENERATE = (
    {"system": "s"}, {"suffix": "s"}, {"template": "t"}, {"raw": True}, {"context": [1]}, {"images": [PNG]},
    {"keep_alive": 0},
)  # fmt: skip
CASES: list[tuple[Endpoint, dict[str, Any], tuple[dict[str, Any], ...]]] = [
    (CHAT, TOOLS, OF_CHAT),
    (MESSAGES, {**TOOLS, "max_tokens": 9, "tools": [{"name": "f", "input_schema": SCHEMA}]}, OF_MESSAGES),
    (RESPONSES, {"model": "m", "input": HI, "store": False, "tools": [{"type": "function", **FUNCTION}]}, OF_RESPONSES),
    (OLLAMA, TOOLS, OF_OLLAMA),
    (RUN, TOOLS, OF_RUN),
    (COMPLETIONS, {"model": "m", "prompt": "hi"}, OF_PROMPTS),
    (GENERATE, {"model": "m", "prompt": "hi"}, OF_GENERATE),
]


def _names_in(value: Any) -> set[str]:
    """The names of fields, and the types of parts, which stand for them."""
    if isinstance(value, dict):
        return set(value).union(*(_names_in(each) for each in value.values()))
    return set().union(*(_names_in(each) for each in value)) if isinstance(value, list) else {str(value)}


def _translated(body: dict[str, Any], source: Endpoint, target: Endpoint) -> tuple[bytes, set[str]]:
    translation = translate(msgspec.json.encode(body), "m", source, target)
    return translation.body, {name for name in dict(translation.headers).get("x-masa-dropped", "").split(", ") if name}


def _translated_or_refused(body: dict[str, Any], source: Endpoint, target: Endpoint) -> tuple[bytes, set[str]]:
    """The same; a refused body is empty, and its names are those of the refusal. Of a name with dots each part is one."""
    try:
        translated, names = _translated(body, source, target)
    except NotTranslatable as refused:
        translated, names = b"", {str(refused).split("`")[1]}
    return translated, names | {part for name in names for part in re.split(r"[.\[\]]+", name)}


@pytest.mark.parametrize(
    ("source", "base", "field"),
    [(source, base, field) for source, base, fields in CASES for field in fields],
    ids=[f"{source}-{msgspec.json.encode(field).decode()[:60]}" for source, _, fields in CASES for field in fields],
)
def test_no_field_is_left_out_in_silence(source: Endpoint, base: dict[str, Any], field: dict[str, Any]) -> None:
    names = _names_in(field)
    for target in TARGETS:
        if target is source:
            continue
        without, before = _translated(base, source, target)
        body, told = _translated_or_refused({**base, **field}, source, target)
        assert told & names if told - before else body != without, (target, told)


PICTURE = f"data:image/png;base64,{PNG}"


@pytest.mark.parametrize(
    ("source", "target", "part", "name"),
    [
        (CHAT, OLLAMA, {"type": "image_url", "image_url": {"url": "https://a.org/b.png"}}, "image_url"),
        (CHAT, OLLAMA, {"type": "file", "file": {"file_data": "data:application/pdf;base64,aaaa"}}, "file"),
        (RESPONSES, OLLAMA, {"type": "input_image", "image_url": "https://a.org/b.png"}, "input_image"),
        (RESPONSES, CHAT, {"type": "input_file", "file_url": "https://a.org/b.pdf"}, "input_file"),
        (MESSAGES, OLLAMA, {"type": "image", "source": {"type": "url", "url": "https://a.org/b.png"}}, "image"),
        (MESSAGES, RUN, {"type": "document", "source": {"type": "url", "url": "https://a.org/b.pdf"}}, "document"),
    ],
)
def test_a_refused_part_is_named_as_its_caller_names_it(source: Any, target: Any, part: Any, name: str) -> None:
    turn = [{"role": "user", "content": [part]}]
    body = {"model": "m", "max_tokens": 9, **({"input": turn} if source is RESPONSES else {"messages": turn})}
    with pytest.raises(NotTranslatable, match=f"^`{name}`"):
        translate(msgspec.json.encode(body), "m", source, target)


@pytest.mark.parametrize("target", [MESSAGES, OLLAMA])
@pytest.mark.parametrize(
    ("source", "part", "name"),
    [
        (CHAT, {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}}, "image_url.detail"),
        (RESPONSES, {"type": "input_image", "image_url": PICTURE, "detail": "low"}, "detail"),
    ],
)
def test_how_closely_a_picture_is_looked_at_is_left_out_by_name(
    source: Any, part: Any, name: str, target: Endpoint
) -> None:
    turn = [{"role": "user", "content": [part]}]
    body = {"model": "m", **({"input": turn} if source is RESPONSES else {"messages": turn})}
    for _ in range(2):  # the second time from what was kept
        assert _translated(body, source, target)[1] == {name}


@pytest.mark.parametrize(
    ("model", "effort", "sent"),
    [
        ("m", "max", "high"),
        ("m", "xhigh", "high"),
        ("m", "minimal", "low"),
        ("m", "none", "none"),
        ("gpt-5.1-codex-max", "xhigh", "xhigh"),
        ("gpt-5.5", "max", "xhigh"),
        ("openai/gpt-5", "minimal", "minimal"),
    ],
)
def test_an_effort_is_said_in_words_that_the_server_takes(model: str, effort: str, sent: str) -> None:
    """AIClient2API 598: servers of OpenAI's format refuse Anthropic's words."""
    body = {"model": model, "input": "hi", "reasoning": {"effort": effort}}
    chat = msgspec.json.decode(translate(msgspec.json.encode(body), model, RESPONSES, CHAT).body)
    assert chat["reasoning_effort"] == sent


def test_that_no_thinking_is_wanted_is_carried() -> None:
    asked = msgspec.json.encode({"model": "m", "messages": HI, "reasoning_effort": "none"})
    assert msgspec.json.decode(translate(asked, "m", CHAT, RESPONSES).body)["reasoning"] == {"effort": "none"}
    assert msgspec.json.decode(translate(asked, "m", CHAT, OLLAMA).body)["think"] is False
    assert "thinking" not in msgspec.json.decode(translate(asked, "m", CHAT, MESSAGES).body)


@pytest.mark.parametrize("target", [CHAT, RESPONSES, MESSAGES, OLLAMA, RUN])
@pytest.mark.parametrize(
    ("source", "choice"),
    [
        (CHAT, "required"),
        (CHAT, {"type": "function", "function": {"name": "f"}}),
        (MESSAGES, {"type": "any"}),
        (RESPONSES, "required"),
    ],
)
def test_a_call_that_has_to_be_made_of_no_tool_is_refused(source: Endpoint, choice: Any, target: Endpoint) -> None:
    if source is not target:
        body = {"model": "m", "max_tokens": 9, "messages": HI, "tool_choice": choice}
        asked = {"model": "m", "input": HI, "tool_choice": choice} if source is RESPONSES else body
        with pytest.raises(NotTranslatable, match=r"^`tool_choice`"):
            translate(msgspec.json.encode(asked), "m", source, target)


def test_a_picture_of_a_models_is_left_out_by_name() -> None:
    turns = [*HI, {"role": "assistant", "content": "see", "images": [PNG]}, *HI]
    for target in (CHAT, MESSAGES, RESPONSES):
        body, dropped = _translated({"model": "m", "messages": turns}, OLLAMA, target)
        assert (dropped, PNG.encode() in body) == ({"images"}, False)
