"""What other layers of this kind got wrong for coding agents, as their trackers tell: each as the fact that it is right.

In brackets, where it was reported.

Covers: `translator`, `collecting`, `anthropic.answer_writer`, `openai_responses.answer_writer`.
"""

import json
from typing import Any

import pytest

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
    lines,
    named,
    request,
    stream,
    whole,
)
from tests.dialects.translation.test_known_faults_of_requests import CHAT_TOOLS, MESSAGES_TOOLS, chat_call
from tests.dialects.translation.test_requests import PNG

DONE = b"[DONE]"
ROME, OSLO = '{"city":"Rome"}', '{"city":"Oslo"}'
Blocks = list[tuple[str, str]]


def events(raw: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in raw.decode().splitlines() if line.startswith("data: {")]


def blocks(raw: bytes) -> tuple[Blocks, str]:
    """Kind and content of each block of a stream of Anthropic's, and why it stopped.

    Each piece has to belong to the block that is open, of its kind; each block ends before the next begins.
    """
    found: Blocks = []
    is_open, reason = False, ""
    pieces = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "tool_use"}
    for event in events(raw):
        match event:
            case {"type": "content_block_start", "index": index, "content_block": block}:
                assert not is_open
                assert index == len(found)
                found.append((block["type"], ""))
                is_open = True
            case {"type": "content_block_delta", "index": index, "delta": {"type": kind, **rest}}:
                assert is_open
                assert index == len(found) - 1
                block_kind, content = found[-1]
                if kind == "signature_delta":
                    assert block_kind == "thinking"
                    continue
                assert pieces[kind] == block_kind
                found[-1] = (block_kind, content + "".join(rest.values()))
            case {"type": "content_block_stop", "index": index}:
                assert is_open
                assert index == len(found) - 1
                is_open = False
            case {"type": "message_delta", "delta": {"stop_reason": reason}}:
                assert not is_open
            case _:
                pass
    assert not is_open
    return found, reason


THINK, SAY = delta(reasoning_content="Hm."), delta(content="Look:")
CALL = delta(tool_calls=[call(0, ROME, "weather", "a")])
STREAMS: dict[str, tuple[tuple[Any, ...], Blocks, str]] = {
    # cc-switch 5093: an empty reason is none
    "an empty reason in each chunk": (
        (delta("", reasoning_content="Hm."), delta("", content="Hi"), delta("", tool_calls=[call(0, ROME, "weather", "a")]), delta("tool_calls")),
        [("thinking", "Hm."), ("text", "Hi"), ("tool_use", ROME)],
        "tool_use",
    ),
    # workbuddy-gateway 3
    "the stub of an older call at the end": (
        (CALL, {"choices": [{"index": 0, "delta": {"function_call": {"name": "", "arguments": ""}}, "finish_reason": "tool_calls"}]}),
        [("tool_use", ROME)],
        "tool_use",
    ),
    # bifrost 3638, 6123
    "words before a call": ((SAY, CALL, delta("tool_calls")), [("text", "Look:"), ("tool_use", ROME)], "tool_use"),
    # litellm 34692
    "a call that ends with stop": ((CALL, delta("stop")), [("tool_use", ROME)], "tool_use"),
    # litellm 18238
    "words and a call in one chunk": (
        (delta(content="Look:", tool_calls=[call(0, "", "weather", "a")]), delta(tool_calls=[call(0, ROME)]), delta("tool_calls")),
        [("text", "Look:"), ("tool_use", ROME)],
        "tool_use",
    ),
    # claude-code-router 1725
    "a thought, words, and a thought again": (
        (THINK, SAY, THINK, delta(content="So."), delta("stop")),
        [("thinking", "Hm."), ("text", "Look:"), ("thinking", "Hm."), ("text", "So.")],
        "end_turn",
    ),
    "a thought, a call, and a thought again": (
        (THINK, CALL, THINK, delta("tool_calls")),
        [("thinking", "Hm."), ("tool_use", ROME), ("thinking", "Hm.")],
        "tool_use",
    ),
    # sglang 24293, 26795
    "a call, and words after it": (
        (CALL, SAY, delta("tool_calls")), [("tool_use", ROME), ("text", "Look:")], "tool_use"
    ),
    # sglang 26795: reasoning alone
    "a thought alone": ((THINK, delta("stop")), [("thinking", "Hm.")], "end_turn"),
    # async-openai 329: name, id and arguments all at once
    "a call in one piece": ((CALL, delta("tool_calls")), [("tool_use", ROME)], "tool_use"),
    # litellm 25836
    "a call whose arguments are an object": (
        (delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "weather", "arguments": {"city": "Rome"}}}]), delta("tool_calls")),
        [("tool_use", ROME)],
        "tool_use",
    ),
    # ollama 7881: no index, two chunks
    "calls without an index": (
        (delta(tool_calls=[{"id": "a", "function": {"name": "weather", "arguments": ROME}}]), delta(tool_calls=[{"id": "b", "function": {"name": "weather", "arguments": OSLO}}]), delta("tool_calls")),
        [("tool_use", ROME), ("tool_use", OSLO)],
        "tool_use",
    ),
    # ollama 15457: each call has the index 0
    "calls that share an index": (
        (CALL, delta(tool_calls=[call(0, OSLO, "weather", "b")]), delta("tool_calls")),
        [("tool_use", ROME), ("tool_use", OSLO)],
        "tool_use",
    ),
    # llama_index 22464: the same call twice is two calls
    "the same call twice": (
        (delta(tool_calls=[call(0, ROME, "weather", "a")]), delta(tool_calls=[call(1, ROME, "weather", "b")]), delta("tool_calls")),
        [("tool_use", ROME), ("tool_use", ROME)],
        "tool_use",
    ),
    # MiqroForge 1094: what was cut is no call to be carried out
    "arguments that the limit cut": (
        (delta(tool_calls=[call(0, '{"city":', "weather", "a")]), delta("length")), [("tool_use", '{"city":')], "max_tokens"
    ),
    "a call without arguments": (
        (delta(tool_calls=[call(0, "", "weather", "a")]), delta("tool_calls")), [("tool_use", "")], "tool_use"
    ),
    "a role and nothing in each chunk": (
        (delta(role="assistant", content=""), delta(role="assistant", content="Hi"), delta("stop", role="assistant", content="")),
        [("text", "Hi")],
        "end_turn",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("chunks", "content", "reason"), STREAMS.values(), ids=STREAMS)
def test_claude_code_gets_each_block_whole_and_the_right_reason(
    chunks: tuple[Any, ...], content: Blocks, reason: str
) -> None:
    raw = stream(MESSAGES, CHAT, frames(*chunks, DONE), max_tokens=9)
    assert blocks(raw) == (content, reason)
    message = sdk_models.anthropic_message(raw) if reason != "max_tokens" else None
    assert message is None or [block.type for block in message.content] == [kind for kind, _ in content]


@pytest.mark.parametrize(("chunks", "content", "reason"), STREAMS.values(), ids=STREAMS)
def test_codex_gets_each_item_announced_ended_and_in_the_last_event(
    chunks: tuple[Any, ...], content: Blocks, reason: str
) -> None:
    """Codex fails on pieces of an item that was not announced, and on a last event without items (llm-rosetta 56)."""
    raw = stream(RESPONSES, CHAT, frames(*chunks, DONE))
    kinds = {"text": "message", "thinking": "reasoning", "tool_use": "function_call"}
    opened: dict[int, str] = {}
    done: list[str] = []
    for event in events(raw):
        at = event.get("output_index")
        if event["type"] == "response.output_item.added":
            opened[at] = event["item"]["type"]
        elif event["type"] == "response.output_item.done":
            assert opened.pop(at) == event["item"]["type"]
            done.append(event["item"]["type"])
        elif at is not None:
            assert at in opened
    assert not opened
    last = events(raw)[-1]
    assert last["type"] == ("response.incomplete" if reason == "max_tokens" else "response.completed")
    response = last["response"]
    assert response["id"]
    assert response["model"]
    assert sorted(item["type"] for item in response["output"]) == sorted(done)
    assert sorted(done) == sorted(kinds[kind] for kind, _ in content)
    calls = [item["arguments"] or "{}" for item in response["output"] if item["type"] == "function_call"]
    assert calls == [arguments or "{}" for kind, arguments in content if kind == "tool_use"]


@pytest.mark.parametrize("position", ["with the reason", "behind it", "in each chunk"])
def test_tokens_are_told_wherever_the_server_tells_them(position: str) -> None:
    """Beside the reason (CLIProxyAPI 796), in a chunk without choices, or growing with each chunk."""
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    first, last = delta(content="Hi"), delta("stop")
    chunks: list[Any] = [first, last]
    if position == "behind it":
        chunks.append({"choices": [], "usage": usage})
    else:
        last["usage"] = usage
        if position == "in each chunk":
            first["usage"] = {**usage, "completion_tokens": 1}
    raw = frames(*chunks, DONE)
    told = next(
        event for event in events(stream(MESSAGES, CHAT, raw, max_tokens=9)) if event["type"] == "message_delta"
    )
    assert (told["usage"]["input_tokens"], told["usage"]["output_tokens"]) == (10, 5)
    response = events(stream(RESPONSES, CHAT, raw))[-1]["response"]
    assert (response["usage"]["input_tokens"], response["usage"]["output_tokens"]) == (10, 5)


@pytest.mark.parametrize("caller", [CHAT, RESPONSES, OLLAMA, RUN])
def test_a_reason_of_calls_without_any_call_is_an_ordinary_end(caller: Any) -> None:
    """Anthropic's own servers do so at times, and agents then wait for ever (pi 9681)."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip
    raw = whole(caller, MESSAGES, message)
    assert b'"tool_calls"' not in raw
    assert b"function_call" not in raw


def test_a_thought_has_its_seal_before_it_ends() -> None:
    """Strict clients refuse one without (wally 112)."""
    kinds = [event.get("delta", {}).get("type", event["type"]) for event in events(stream(MESSAGES, CHAT, frames(THINK, SAY, delta("stop"), DONE), max_tokens=9))]  # fmt: skip
    start = kinds.index("thinking_delta")
    assert kinds[start : start + 3] == ["thinking_delta", "signature_delta", "content_block_stop"]


def test_ollamas_calls_in_several_lines_are_several_calls() -> None:
    """Their index is inside the function, if there is one (open-webui 15823, llama_index 22464)."""
    head = {"model": "m", "created_at": "2026-11-22T23:14:02Z"}
    one = {"function": {"index": 0, "name": "weather", "arguments": {"city": "Rome"}}}
    two = {"function": {"index": 1, "name": "weather", "arguments": {"city": "Rome"}}}
    raw = lines(
        {**head, "message": {"role": "assistant", "content": "", "tool_calls": [one]}, "done": False},
        {**head, "message": {"role": "assistant", "content": "", "tool_calls": [two]}, "done": False},
        {**head, "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"},
    )
    assert blocks(stream(MESSAGES, OLLAMA, raw, max_tokens=9)) == ([("tool_use", ROME)] * 2, "tool_use")
    calls = [chunk["choices"][0]["delta"]["tool_calls"][0] for chunk in events(stream(CHAT, OLLAMA, raw)) if chunk["choices"] and "tool_calls" in chunk["choices"][0]["delta"]]  # fmt: skip
    ids = [piece["id"] for piece in calls if piece.get("id")]
    assert len(set(ids)) == 2


@pytest.mark.parametrize("id_", ["", None])
def test_a_call_without_an_id_gets_one(id_: str | None) -> None:
    """LM Studio gives an empty one (830)."""
    raw = frames(delta(tool_calls=[{"index": 0, "id": id_, "function": {"name": "weather", "arguments": ROME}}]), delta("tool_calls"), DONE)  # fmt: skip
    start = next(event for event in events(stream(MESSAGES, CHAT, raw, max_tokens=9)) if event["type"] == "content_block_start")  # fmt: skip
    assert start["content_block"]["id"]


CREATED = {"type": "response.created", "response": {"id": "resp_1", "model": "m", "output": []}}
ADDED = {"type": "response.output_item.added", "output_index": 0, "item": {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": ""}}  # fmt: skip
PIECES = [{"type": "response.function_call_arguments.delta", "output_index": 0, "item_id": "fc_1", "delta": each} for each in (ROME[:6], ROME[6:])]  # fmt: skip
ITEM = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": ROME}
ITEM_DONE = {"type": "response.output_item.done", "output_index": 0, "item": ITEM}
MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "Sunny.", "annotations": []}]}  # fmt: skip


def completed(*output: Any) -> dict[str, Any]:
    return {"type": "response.completed", "response": {"id": "resp_1", "model": "m", "status": "completed", "output": [*output], "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}}}  # fmt: skip


@pytest.mark.parametrize(
    "sent",
    [
        [ADDED, *PIECES, completed(ITEM)],  # never ended by itself (hermes-agent 92764)
        [ADDED, *PIECES, completed()],
        [ADDED, ITEM_DONE, completed()],  # its arguments at its end only
        [ADDED, *PIECES, ITEM_DONE, completed(ITEM)],  # and told thrice
        [ITEM_DONE, completed()],  # never announced
        [completed(ITEM)],  # told in the last event only (hermes-agent 5707)
    ],
)
def test_a_call_of_responses_is_neither_lost_nor_doubled_however_it_is_told(sent: list[Any]) -> None:
    assert blocks(stream(MESSAGES, RESPONSES, named(CREATED, *sent), max_tokens=9)) == (
        [("tool_use", ROME)],
        "tool_use",
    )


@pytest.mark.parametrize(
    "sent",
    [
        [completed(MESSAGE)],
        [{"type": "response.output_item.done", "output_index": 0, "item": MESSAGE}, completed(MESSAGE)],
        [{"type": "response.output_text.done", "output_index": 0, "content_index": 0, "item_id": "msg_1", "text": "Sunny."}, completed(MESSAGE)],
        [{"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "msg_1", "delta": "Sunny."}, completed()],
        [{"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "msg_1", "delta": "Sunny."}, completed(MESSAGE)],
    ],
)  # fmt: skip
def test_words_of_responses_are_neither_lost_nor_doubled_however_they_are_told(sent: list[Any]) -> None:
    assert blocks(stream(MESSAGES, RESPONSES, named(CREATED, *sent), max_tokens=9)) == (
        [("text", "Sunny.")],
        "end_turn",
    )


# ---- requests ----


@pytest.mark.parametrize("content", ["", [], None, [{"type": "text", "text": ""}]])
@pytest.mark.parametrize("target", [CHAT, RESPONSES, OLLAMA, RUN])
def test_a_result_without_content_is_an_empty_text(target: Any, content: Any) -> None:
    """Some servers refuse null, or a list without parts (opencode 17363)."""
    result = {"type": "tool_result", "tool_use_id": "toolu_1", **({} if content is None else {"content": content})}
    body, _ = request(MESSAGES, target, max_tokens=9, tools=MESSAGES_TOOLS, messages=[
        *HI,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}]},
        {"role": "user", "content": [result]},
    ])  # fmt: skip
    if target is RESPONSES:
        assert body["input"][-1]["output"] == ""
    else:
        assert body["messages"][-1]["content"] == ""


@pytest.mark.parametrize("content", ["sun", [{"type": "text", "text": "sun"}]])
@pytest.mark.parametrize("target", [MESSAGES, RESPONSES, OLLAMA])
def test_a_result_is_text_whether_it_came_as_text_or_in_parts(target: Any, content: Any) -> None:
    """Litellm 6422 and 18201."""
    body, _ = request(CHAT, target, tools=CHAT_TOOLS, messages=[
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [chat_call("call_a")]},
        {"role": "tool", "tool_call_id": "call_a", "content": content},
    ])  # fmt: skip
    last = body["input"][-1] if target is RESPONSES else body["messages"][-1]
    said = last["output"] if target is RESPONSES else last["content"]
    assert said == (
        [{"type": "tool_result", "tool_use_id": "call_a", "content": "sun"}] if target is MESSAGES else "sun"
    )


def test_rounds_of_calls_of_codex_stay_apart_and_their_parts_together() -> None:
    """Litellm 25618: words and calls of one turn are one message, those of two turns are two."""
    call_ = {"type": "function_call", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output", "output": "1"}
    body, _ = request(RESPONSES, CHAT, store=False, input=[
        {"role": "user", "content": "go"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "One."}]},
        {**call_, "call_id": "a"},
        {**call_, "call_id": "b"},
        {**result, "call_id": "a"},
        {**result, "call_id": "b"},
        {**call_, "call_id": "c"},
        {**result, "call_id": "c"},
    ])  # fmt: skip
    assert [message["role"] for message in body["messages"]] == [
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
        "tool",
    ]
    assert [[call["id"] for call in message.get("tool_calls", ())] for message in body["messages"]] == [
        [], ["a", "b"], [], [], ["c"], []
    ]  # fmt: skip
    assert body["messages"][1]["content"] == "One."


def test_a_reasoning_item_with_nothing_in_it_is_passed_over() -> None:
    """Litellm 13420."""
    body, _ = request(RESPONSES, CHAT, store=False, input=[
        {"role": "user", "content": "go"},
        {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": None, "content": None, "status": None},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "1"},
    ])  # fmt: skip
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "tool"]
    assert "reasoning_content" not in body["messages"][1]


def test_thoughts_sent_back_become_no_words_at_responses() -> None:
    """Litellm 24985, 26916."""
    body, dropped = request(MESSAGES, RESPONSES, max_tokens=9, messages=[
        *HI,
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Secret.", "signature": "EpIC"}, {"type": "text", "text": "Hi."}]},
        {"role": "user", "content": "so?"},
    ])  # fmt: skip
    assert "Secret." not in json.dumps(body)
    assert "thinking" in dropped


def test_thinking_is_asked_for_only_where_the_caller_did() -> None:
    """Ollama 15287."""
    assert "think" not in request(MESSAGES, OLLAMA, max_tokens=9)[0]
    assert request(MESSAGES, OLLAMA, max_tokens=9, thinking={"type": "disabled"})[0]["think"] is False


@pytest.mark.parametrize("target", [CHAT, MESSAGES])
def test_pictures_in_results_of_codex_reach_the_model(target: Any) -> None:
    output = [
        {"type": "input_text", "text": "see"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
    ]
    said = [
        {"role": "user", "content": "go"},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": output},
    ]
    body, _ = request(RESPONSES, target, store=False, input=said)
    assert json.dumps(body).count(PNG) == 1


@pytest.mark.parametrize("content", ["", []])
def test_an_assistant_that_said_nothing_does_not_break_the_next_turn_at_anthropic(content: Any) -> None:
    """Anthropic refuses empty blocks and messages (vercel/ai 5576, crewAI 4427)."""
    body, _ = request(CHAT, MESSAGES, messages=[*HI, {"role": "assistant", "content": content}, {"role": "user", "content": "so?"}])  # fmt: skip
    assert all(message["content"] for message in body["messages"])
    assert [message["role"] for message in body["messages"]] == ["user"]


@pytest.mark.parametrize("arguments", ["", "{}", " "])
def test_a_call_without_arguments_is_one_with_none(arguments: str) -> None:
    body, _ = request(CHAT, MESSAGES, messages=[*HI, {"role": "assistant", "content": None, "tool_calls": [chat_call("call_a", arguments=arguments)]}, {"role": "tool", "tool_call_id": "call_a", "content": "1"}])  # fmt: skip
    assert body["messages"][1]["content"][0]["input"] == {}


def test_ids_that_anthropic_refuses_still_match_their_results() -> None:
    id_ = "functions.weather:0"  # Kimi's
    body, _ = request(CHAT, MESSAGES, messages=[*HI, {"role": "assistant", "content": None, "tool_calls": [chat_call(id_)]}, {"role": "tool", "tool_call_id": id_, "content": "1"}])  # fmt: skip
    used, answered = body["messages"][1]["content"][0]["id"], body["messages"][2]["content"][0]["tool_use_id"]
    assert used == answered == "functions_weather_0"


@pytest.mark.parametrize("target", [CHAT, OLLAMA, RESPONSES, RUN])
def test_a_tool_without_a_description_and_with_a_bare_schema_is_offered(target: Any) -> None:
    body, _ = request(MESSAGES, target, max_tokens=9, tools=[{"name": "f", "input_schema": {"properties": {}}}])
    tool = body["tools"][0]
    tool = tool.get("function", tool)
    assert (tool["name"], tool["parameters"]) == ("f", {"type": "object", "properties": {}})


def test_marks_of_caching_are_left_out_by_name_wherever_they_stand() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    body, dropped = request(MESSAGES, CHAT, max_tokens=9, tools=[{**MESSAGES_TOOLS[0], **mark}], system=[{"type": "text", "text": "x", **mark}], messages=[
        {"role": "user", "content": [{"type": "text", "text": "go", **mark}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}, **mark}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "1", **mark}], **mark}]},
    ])  # fmt: skip
    assert "cache_control" not in json.dumps(body)
    assert dropped == ["cache_control"]
