"""Parts of requests and answers that few clients and servers send: carried, left out by name, or refused by name.

Covers: `losses`, `anthropic.blocks`, `cloudflare.request_reader`, `completions.request_reader`.
"""

from typing import Any

import msgspec
import pytest

from masa_node.chat.errors import BrokenAnswer, NotTranslatable
from tests.dialects.translation import sdk_models
from tests.dialects.translation.calling import (
    CHAT,
    COMPLETIONS,
    GENERATE,
    HI,
    MESSAGES,
    OLLAMA,
    RESPONSES,
    RUN,
    call,
    delta,
    frames,
    lines,
    named,
    request,
    stream,
    translation_of,
    whole,
)
from tests.dialects.translation.test_requests import PNG

DONE = b"[DONE]"


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


@pytest.mark.parametrize(
    ("source", "target", "body", "field"),
    [
        (CHAT, MESSAGES, {"tools": [{"type": "web_search"}]}, "tools"),
        (CHAT, MESSAGES, {"tool_choice": "maybe"}, "tool_choice"),
        (CHAT, MESSAGES, {"tool_choice": {"type": "odd"}}, "tool_choice"),
        (CHAT, MESSAGES, {"response_format": {"type": "odd"}}, "response_format"),
        (CHAT, MESSAGES, {"messages": [{"role": "odd", "content": "x"}]}, "messages[].role"),
        (CHAT, MESSAGES, {"messages": [{"role": "assistant", "function_call": {"name": "f"}}]}, "function_call"),
        (CHAT, MESSAGES, {"messages": user({"type": "image_url", "image_url": {"url": "data:image/png,raw"}})}, "data URL"),
        (CHAT, RUN, {"n": 2}, "n"),
        (CHAT, RUN, {"logprobs": True}, "logprobs"),
        (CHAT, RUN, {"stop": "x"}, "stop"),
        (CHAT, RUN, {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"}, "tool_choice"),
        (CHAT, RESPONSES, {"n": 2}, "n"),
        (MESSAGES, CHAT, {"container": "c"}, "container"),
        (MESSAGES, CHAT, {"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
        (MESSAGES, CHAT, {"output_config": {"format": {"type": "odd"}}}, "output_config.format"),
        (MESSAGES, CHAT, {"tool_choice": {"type": "odd"}}, "tool_choice"),
        (MESSAGES, CHAT, {"messages": [{"role": "odd", "content": "x"}]}, "messages[].role"),
        (MESSAGES, CHAT, {"messages": user({"type": "image", "source": {"type": "file", "file_id": "f"}})}, "file_id"),
        (MESSAGES, CHAT, {"messages": user({"type": "document", "source": {"type": "content", "content": [{}]}})}, "document"),
        (MESSAGES, CHAT, {"messages": user({"type": "document", "source": {"type": "url", "url": "https://x"}})}, "document"),
        (MESSAGES, OLLAMA, {"messages": user({"type": "document", "source": {"type": "base64", "data": "AA=="}})}, "document"),
        (RESPONSES, CHAT, {"input": [{"role": "odd", "content": "x"}]}, "input[].role"),
        (RESPONSES, CHAT, {"input": [{"type": "item_reference", "id": "x"}]}, "input[].item_reference"),
        (RESPONSES, CHAT, {"input": user({"type": "input_image", "file_id": "x"})}, "file_id"),
        (RESPONSES, CHAT, {"input": user({"type": "input_audio"})}, "input[].content[].input_audio"),
        (RESPONSES, CHAT, {"input": "x", "text": {"format": {"type": "odd"}}}, "text.format"),
        (RESPONSES, CHAT, {"input": "x", "tool_choice": {"type": "mcp"}}, "tool_choice"),
        (OLLAMA, CHAT, {"messages": []}, "messages"),
        (OLLAMA, CHAT, {"messages": [{"role": "odd", "content": "x"}]}, "messages[].role"),
        (OLLAMA, CHAT, {"format": "xml"}, "format"),
        (OLLAMA, CHAT, {"tools": [{"type": "odd"}]}, "tools"),
        (GENERATE, CHAT, {"prompt": ""}, "prompt"),
        (GENERATE, CHAT, {"prompt": "x", "raw": True}, "raw"),
        (GENERATE, CHAT, {"prompt": "x", "context": [1]}, "context"),
        (COMPLETIONS, CHAT, {"prompt": "x", "suffix": "y"}, "suffix"),
        (COMPLETIONS, CHAT, {"prompt": "x", "best_of": 2}, "best_of"),
        (COMPLETIONS, CHAT, {"prompt": ["x", "y"]}, "prompt"),
        (RUN, CHAT, {"raw": True}, "raw"),
    ],
)  # fmt: skip
def test_what_has_no_slot_is_refused_by_name(source: Any, target: Any, body: dict[str, Any], field: str) -> None:
    with pytest.raises(NotTranslatable) as refused:
        request(source, target, **body)
    assert refused.value.message.startswith(f"`{field}` cannot be translated")


def test_tools_and_schemas_of_cloudflares_clients_are_carried() -> None:
    schema = {"type": "object", "properties": {}}
    tools = [{"name": "a", "description": "d", "parameters": schema}, {"type": "function", "function": {"name": "b"}}]
    body, dropped = request(
        RUN, CHAT, tools=tools, response_format={"type": "json_schema", "json_schema": schema}, lora="x"
    )
    assert [tool["function"]["name"] for tool in body["tools"]] == ["a", "b"]
    assert (body["response_format"]["json_schema"]["schema"], dropped) == (schema, ["lora"])
    back, dropped = request(
        CHAT, RUN, tools=body["tools"], tool_choice="auto", parallel_tool_calls=False, reasoning_effort="low", min_p=0.1
    )
    assert [tool["name"] for tool in back["tools"]] == ["a", "b"]
    assert dropped == ["parallel_tool_calls", "min_p", "reasoning_effort"]
    assert "tools" not in request(CHAT, RUN, tools=body["tools"], tool_choice="none", stream=True)[0]


def test_files_in_every_form_are_carried() -> None:
    parts = [
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
        {"type": "input_file", "filename": "b.pdf", "file_data": "AA=="},
        {"type": "input_file", "file_url": "https://x/c.pdf"},
        {"type": "input_text", "text": "look", "prompt_cache_breakpoint": {"mode": "explicit"}},
    ]
    body, dropped = request(RESPONSES, MESSAGES, input=user(*parts))
    assert [block["type"] for block in body["messages"][0]["content"]] == ["document", "document", "document", "text"]
    assert dropped == ["prompt_cache_breakpoint"]
    back, _ = request(MESSAGES, RESPONSES, max_tokens=9, messages=body["messages"])
    assert [part["type"] for part in back["input"][0]["content"]] == [
        "input_file",
        "input_file",
        "input_file",
        "input_text",
    ]
    raw = user({"type": "file", "file": {"file_data": "AA=="}})
    assert request(CHAT, MESSAGES, messages=raw)[0]["messages"][0]["content"][0]["source"]["data"] == "AA=="


def test_plain_documents_and_search_results_are_read_as_text() -> None:
    parts = [
        {
            "type": "document",
            "title": "T",
            "context": "c",
            "source": {"type": "text", "media_type": "text/plain", "data": "words"},
        },
        {
            "type": "search_result",
            "title": "S",
            "source": "https://s",
            "content": [{"type": "text", "text": "found"}],
            "citations": {"enabled": True},
        },
    ]
    for target, key in ((CHAT, "messages"), (OLLAMA, "messages"), (RESPONSES, "input")):
        body, dropped = request(MESSAGES, target, max_tokens=9, messages=user(*parts))
        text = str(body[key])
        assert "words" in text
        assert "found" in text
        assert "https://s" in text
        assert set(dropped) == {"context", "citations"}
    body, _ = request(MESSAGES, MESSAGES, max_tokens=9, messages=user(parts[0]))
    assert body["messages"][0]["content"][0]["title"] == "T"


def test_what_anthropics_own_tools_left_is_left_out_by_name() -> None:
    blocks = [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "text", "text": "So."},
    ]
    body, dropped = request(MESSAGES, CHAT, max_tokens=9, messages=[*HI, {"role": "assistant", "content": blocks}])
    assert (body["messages"][-1]["content"], dropped) == ("So.", ["server_tool_use", "web_search_tool_result"])
    blocks = [
        {"type": "mcp_tool_listing", "mcp_server_name": "s", "tools": []},
        {"type": "mcp_tool_use", "id": "s", "name": "f", "server_name": "s", "input": {}},
        {"type": "mcp_tool_result", "tool_use_id": "s", "is_error": False, "content": [{"type": "text", "text": "4"}]},
        {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}, "trigger": None},
        {"type": "text", "text": "So."},
    ]
    body, dropped = request(MESSAGES, CHAT, max_tokens=9, messages=[*HI, {"role": "assistant", "content": blocks}])
    assert body["messages"][-1]["content"] == "So."
    assert {"mcp_tool_listing", "mcp_tool_use", "mcp_tool_result", "fallback"} <= set(dropped)
    tools = [
        {"name": "f", "input_schema": {}, "defer_loading": True},
        {"type": "web_search_20250305", "name": "web_search"},
    ]
    _, dropped = request(MESSAGES, CHAT, max_tokens=9, tools=tools)
    assert dropped == ["defer_loading", "web_search_20250305"]
    with pytest.raises(NotTranslatable):
        request(MESSAGES, CHAT, max_tokens=9, tools=tools, tool_choice={"type": "tool", "name": "web_search"})


def test_free_form_tools_and_their_calls_are_carried_from_chat() -> None:
    tools = [
        {
            "type": "custom",
            "custom": {"name": "patch", "format": {"type": "text"}},
            "cache_control": {"type": "ephemeral"},
        }
    ]
    called = {
        "role": "assistant",
        "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "patch", "input": "+x"}}],
    }
    body, dropped = request(
        CHAT, MESSAGES, tools=tools, tool_choice={"type": "custom", "custom": {"name": "patch"}}, messages=[*HI, called]
    )
    assert body["messages"][1]["content"][0]["input"] == {"input": "+x"}
    assert (body["tool_choice"], set(dropped)) == ({"type": "tool", "name": "patch"}, {"format"})


PATCH_TOOL = {
    "tools": [{"type": "custom", "custom": {"name": "patch"}}, {"type": "function", "function": {"name": "f"}}]
}


def test_a_call_of_a_free_form_tool_comes_to_chat_clients_as_one() -> None:
    """Its client looks for `custom`, and has no function of that name."""
    called = [{"type": "tool_use", "id": id_, "name": name, "input": {}} for id_, name in (("a", "patch"), ("b", "f"))]
    called[0]["input"] = {"input": "+x"}
    answer = {"id": "msg_1", "model": "m", "content": called, "stop_reason": "tool_use", "usage": {}}
    calls = sdk_models.whole(CHAT, whole(CHAT, MESSAGES, answer, **PATCH_TOOL)).choices[0].message.tool_calls
    assert [(call.id, call.type) for call in calls] == [("a", "custom"), ("b", "function")]
    assert (calls[0].custom.name, calls[0].custom.input) == ("patch", "+x")
    body, _ = request(
        CHAT, MESSAGES, **PATCH_TOOL, messages=[*HI, {"role": "assistant", "tool_calls": [calls[0].model_dump()]}]
    )
    assert body["messages"][1]["content"] == called[:1]


def test_such_a_call_is_streamed_as_one_too() -> None:
    pieces = frames(
        delta(tool_calls=[call(0, '{"inp', "patch", "a"), call(1, "{}", "f", "b")]),
        delta(tool_calls=[call(0, 'ut":"+x"}')]),
        delta("tool_calls"),
        b"[DONE]",
    )
    events = sdk_models.sse(stream(CHAT, RUN, pieces, **PATCH_TOOL))
    found = [each for _, data in events[:-1] for each in data["choices"][0]["delta"].get("tool_calls", ())]
    assert found[0] == {"index": 0, "id": "a", "type": "custom", "custom": {"name": "patch", "input": ""}}
    assert found[-1] == {"index": 0, "custom": {"input": "+x"}}
    assert [each["type"] for each in found if "type" in each] == ["custom", "function"]


def test_names_sounds_and_refusals_in_messages() -> None:
    messages = [
        {"role": "user", "name": "u", "content": "hi"},
        {"role": "assistant", "audio": {"id": "a"}, "content": [{"type": "refusal", "refusal": "No."}]},
    ]
    body, dropped = request(CHAT, MESSAGES, messages=messages)
    assert (body["messages"][1]["content"], dropped) == ("No.", ["name", "audio"])
    said = [{"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}]
    body, _ = request(RESPONSES, CHAT, input=[*HI, *said])
    assert body["messages"][1]["refusal"] == "No."
    assert request(RESPONSES, RESPONSES, input=said)[0]["input"][0]["content"] == [
        {"type": "refusal", "refusal": "No."}
    ]


def test_settings_that_few_use() -> None:
    body, dropped = request(RESPONSES, MESSAGES, input="x", tools=[{"type": "function", "name": "f", "output_schema": {"a": 1}}, {"type": "function", "name": "g"}],
        tool_choice={"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}, include=["web_search_call.results"], reasoning={"effort": "none"})  # fmt: skip
    assert ([tool["name"] for tool in body["tools"]], body["tool_choice"]) == (["g"], {"type": "any"})
    assert set(dropped) == {"output_schema", "include"}
    body, _ = request(
        RESPONSES,
        CHAT,
        input="x",
        tools=[{"type": "function", "name": "f"}],
        tool_choice={"type": "function", "name": "f"},
        text={"format": {"type": "json_object"}},
    )
    assert (body["tool_choice"]["function"]["name"], body["response_format"]) == ("f", {"type": "json_object"})
    form = {"type": "json_schema", "json_schema": {"name": "a b", "description": "d", "schema": {"type": "object"}}}
    assert request(CHAT, CHAT, response_format=form)[0]["response_format"]["json_schema"]["name"] == "a_b"
    body, _ = request(CHAT, RESPONSES, tools=[{"type": "function", "function": {"name": "f", "description": "d"}}], tool_choice="required", parallel_tool_calls=True,
        response_format=form, logprobs=True, top_logprobs=2, reasoning_effort="low", messages=user({"type": "image_url", "image_url": f"data:image/png;base64,{PNG}"}))  # fmt: skip
    assert (body["tool_choice"], body["text"]["format"]["type"], body["top_logprobs"]) == ("required", "json_schema", 2)
    assert set(body["include"]) == {"message.output_text.logprobs", "reasoning.encrypted_content"}
    _, dropped = request(OLLAMA, RESPONSES, think=True, format="json", options={"seed": 1})
    assert dropped == ["options.seed", "think"]
    body, _ = request(CHAT, OLLAMA, logprobs=True, top_logprobs=2, response_format={"type": "json_object"})
    assert (body["logprobs"], body["top_logprobs"], body["format"]) == (True, 2, "json")
    assert request(MESSAGES, OLLAMA, max_tokens=9, thinking={"type": "disabled"})[0]["think"] is False
    assert request(OLLAMA, MESSAGES, think="high", model="claude-3")[0]["thinking"]["budget_tokens"] == 16_384
    for limit, budget in ((1_000, None), (5_000, 4_999)):
        body, _ = request(
            CHAT, MESSAGES, model="claude-sonnet-4-5", max_tokens=limit, reasoning_effort="high", temperature=0.5
        )
        assert body.get("thinking", {}).get("budget_tokens") == budget


def test_completions_stream_and_fail_in_their_own_shape() -> None:
    raw = frames(
        delta(content="Hi"),
        delta("length"),
        {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
        DONE,
    )
    events = sdk_models.sse(stream(COMPLETIONS, CHAT, raw, prompt="x", stream_options={"include_usage": True}))
    assert [event[1]["choices"][0]["text"] for event in events[:2]] == ["Hi", ""]
    assert (events[1][1]["choices"][0]["finish_reason"], events[2][1]["usage"]["total_tokens"]) == ("length", 3)
    broken = stream(COMPLETIONS, CHAT, frames(delta(content="Hi"), {"error": {"message": "no"}}), prompt="x")
    assert b"[DONE]" not in broken
    for caller in (RUN, GENERATE):
        body = {"prompt": "x"}
        assert b"no" in stream(caller, CHAT, frames(delta(content="Hi"), {"error": {"message": "no"}}), **body)


def test_answers_of_odd_servers_are_read() -> None:
    for content in (
        [{"type": "text", "text": "Hi"}, {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}],
        "Hi",
    ):
        raw = frames(
            delta(content=content), {"choices": [{"index": 0, "delta": {}, "finish_reason": {"type": "stop"}}]}, DONE
        )
        assert sdk_models.anthropic_message(stream(MESSAGES, CHAT, raw)).content[0].text == "Hi"
    legacy = frames(delta(function_call={"name": "f", "arguments": "{}"}), delta("function_call"), DONE)
    assert sdk_models.anthropic_message(stream(MESSAGES, CHAT, legacy)).stop_reason == "tool_use"
    thought = {
        "choices": [
            {
                "index": 0,
                "message": {
                    "content": "x",
                    "reasoning": "Hm.",
                    "tool_calls": [{"id": "c", "custom": {"name": "p", "input": "+"}}],
                },
                "finish_reason": "stop",
            }
        ]
    }
    message = sdk_models.whole(MESSAGES, whole(MESSAGES, CHAT, thought))
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    text = {"choices": [{"text": "Hi", "finish_reason": "stop"}]}
    assert sdk_models.whole(MESSAGES, whole(MESSAGES, CHAT, text)).content[0].text == "Hi"
    objects = frames(
        delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": {"a": 1}}}]),
        delta("tool_calls"),
        DONE,
    )
    assert sdk_models.anthropic_message(stream(MESSAGES, CHAT, objects)).content[0].input == {"a": 1}
    for result in (
        {"response": 7},
        "7",
        {"choices": [{"index": 0, "message": {"content": "7"}, "finish_reason": "stop"}]},
    ):
        assert (
            sdk_models.whole(MESSAGES, whole(MESSAGES, RUN, {"success": True, "result": result})).content[0].text == "7"
        )
    chunks = frames(delta(content="Hi"), delta("stop"), DONE)
    assert sdk_models.anthropic_message(stream(MESSAGES, RUN, chunks)).content[0].text == "Hi"


@pytest.mark.parametrize(("target", "raw"), [
    (MESSAGES, named({"type": "content_block_delta", "delta": 7})), (OLLAMA, lines({"message": 7})), (RESPONSES, named({"type": "response.output_text.delta", "delta": [7]})),
])  # fmt: skip
def test_parts_that_cannot_be_read_cut_the_answer(target: Any, raw: bytes) -> None:
    with pytest.raises(BrokenAnswer):
        stream(CHAT, target, raw)
    with pytest.raises(BrokenAnswer):
        translation_of(CHAT, target).answer("r", 1).whole(b"7")


def test_responses_in_their_rarer_events() -> None:
    item = {
        "type": "message",
        "content": [
            {"type": "output_text", "text": "Hi", "annotations": [{"url": "https://x", "title": "X"}]},
            {"type": "refusal", "refusal": "No."},
        ],
    }
    raw = named(
        {"type": "response.created", "response": {"id": "resp_1", "model": "m", "created_at": 1.5}},
        {"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "A"},
        {"type": "response.reasoning_summary_part.added", "output_index": 0},
        {
            "type": "response.output_item.added",
            "output_index": 1,
            "item": {"type": "function_call", "call_id": "c", "name": "f"},
        },
        {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{}"},
        {"type": "response.function_call_arguments.done", "output_index": 1, "arguments": "{}"},
        {"type": "response.output_item.done", "output_index": 2, "item": item},
        {
            "type": "response.output_item.done",
            "output_index": 3,
            "item": {"type": "custom_tool_call", "call_id": "d", "name": "p", "input": "+"},
        },
        {"type": "response.output_text.annotation.added", "annotation": {"url": "https://y", "title": "Y"}},
        {"type": "response.refusal.delta", "output_index": 4, "delta": "!"},
        {"type": "response.odd.delta", "output_index": 5, "delta": "?"},
        {
            "type": "response.incomplete",
            "response": {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
        },
    )
    message = sdk_models.anthropic_message(stream(MESSAGES, RESPONSES, raw))
    assert message.stop_reason == "refusal"
    assert [block.type for block in message.content] == ["thinking", "tool_use", "text", "tool_use", "text"]
    done = raw.replace(b"response.incomplete", b"response.done")
    assert stream(MESSAGES, RESPONSES, done) == stream(MESSAGES, RESPONSES, raw)
    cancelled = named({"type": "response.cancelled", "response": {"status": "cancelled"}})
    assert b"event: error" in stream(MESSAGES, RESPONSES, cancelled)
    assert msgspec.json.decode(whole(OLLAMA, RESPONSES, {"output": [item]}))["message"]["content"]
