"""What bridges between chat completions, responses and messages got wrong, as the fact that it is right here.

Covers: `openai_chat.answer_writer`, `openai_responses.answer_reader`, `openai_responses.answer_writer`, `tools`.
"""

from typing import Any

import msgspec
import pytest

from tests.dialects.translation import sdk_models
from tests.dialects.translation.calling import (
    CHAT,
    HI,
    MESSAGES,
    OLLAMA,
    RESPONSES,
    call,
    delta,
    frames,
    named,
    request,
    stream,
    whole,
)

ASK = {"max_tokens": 9}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": []}
CREATED = {"type": "response.created", "response": {"id": "resp_1", "model": "m", "status": "in_progress"}}
ONE = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": ""}
TWO = {"type": "function_call", "id": "fc_2", "call_id": "call_2", "name": "g", "arguments": ""}


def added(at: int, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": at, "item": item}


def done(at: int, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": at, "item": item}


def more(at: int, arguments: str) -> dict[str, Any]:
    return {"type": "response.function_call_arguments.delta", "output_index": at, "item_id": "x", "delta": arguments}


def completed(*output: Any) -> dict[str, Any]:
    return {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": [*output]}}


TWO_CALLS = named(
    CREATED, added(0, REASONING), done(0, REASONING), added(1, ONE), more(1, "{}"), added(2, TWO), more(2, "{}"),
    done(1, {**ONE, "arguments": "{}"}), done(2, {**TWO, "arguments": "{}"}), completed(),
)  # fmt: skip


def test_calls_are_counted_from_nought_and_apart_whatever_stands_before_them() -> None:
    """LiteLLM 21331, pipecat 4987: the place in the output is not the number of the call."""
    pieces = [
        piece
        for chunk in sdk_models.chat_chunks(stream(CHAT, RESPONSES, TWO_CALLS))
        for choice in chunk.choices
        for piece in choice.delta.tool_calls or ()
    ]
    begun = [(piece.index, piece.id, piece.function.name) for piece in pieces if piece.id]
    assert begun == [(0, "call_1", "f"), (1, "call_2", "g")]
    assert {piece.index for piece in pieces} == {0, 1}


def test_all_chunks_of_an_answer_have_one_id_and_the_first_alone_a_role() -> None:
    """LiteLLM 32607, open-webui 23917: clients put together what has the same id."""
    for raw, server in ((TWO_CALLS, RESPONSES), (frames_of_anthropic(), MESSAGES)):
        chunks = sdk_models.chat_chunks(stream(CHAT, server, raw))
        assert len({chunk.id for chunk in chunks}) == len({chunk.created for chunk in chunks}) == 1
        roles = [choice.delta.role for chunk in chunks for choice in chunk.choices]
        assert roles == ["assistant", *[None] * (len(roles) - 1)]


def frames_of_anthropic() -> bytes:
    return named(
        {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 3}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "4"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    )


@pytest.mark.parametrize("caller", [CHAT, MESSAGES, OLLAMA])
def test_a_call_that_the_last_event_gives_another_id_is_not_made_twice(caller: Any) -> None:
    """VLLM 47916: the whole response at the end has ids of its own for the calls that were told before."""
    other = {**ONE, "id": "fc_9", "call_id": "call_9", "arguments": '{"a":1}'}
    said = [CREATED, added(0, ONE), more(0, '{"a":1}'), done(0, {**ONE, "arguments": '{"a":1}'}), completed(other)]
    raw = stream(caller, RESPONSES, named(*said), **(ASK if caller is MESSAGES else {}))
    assert raw.count(b"call_1") == 1
    assert b"call_9" not in raw


def test_an_id_and_a_name_that_come_apart_are_of_one_call() -> None:
    """Pipecat 4987: neither begins another call."""
    raw = frames(
        delta(tool_calls=[call(0, "", None, "c1")]), delta(tool_calls=[call(0, "", "f")]),
        delta(tool_calls=[call(0, "{}")]), delta("tool_calls"), b"[DONE]",
    )  # fmt: skip
    message = sdk_models.anthropic_message(stream(MESSAGES, CHAT, raw, **ASK))
    assert [(block.id, block.name, block.input) for block in message.content] == [("c1", "f", {})]


def test_items_have_the_ids_of_their_kind_and_keep_them_to_the_end() -> None:
    """LiteLLM 37946 and 27671: OpenAI refuses history whose ids have another prefix, clients words of unknown items."""
    raw = frames(
        delta(reasoning_content="Hm."), delta(content="4"), delta(tool_calls=[call(0, "{}", "f", "c1")]),
        delta("tool_calls"), b"[DONE]",
    )  # fmt: skip
    events = [event for _, event in sdk_models.sse(stream(RESPONSES, CHAT, raw, input="hi"))]
    ids = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
    assert [id_.partition("_")[0] for id_ in ids] == ["rs", "msg", "fc"]
    assert [event["item"]["id"] for event in events if event["type"] == "response.output_item.done"] == ids
    assert [item["id"] for item in events[-1]["response"]["output"]] == ids
    for event in events:
        if "item_id" in event:
            assert event["item_id"] == ids[event["output_index"]]


def test_a_whole_response_with_calls_stopped_for_them() -> None:
    """CLIProxyAPI 2443: streamed it said so, whole it said `stop`."""
    answer = {"id": "resp_1", "status": "completed", "model": "m", "output": [{**ONE, "arguments": "{}"}]}
    body = msgspec.json.decode(whole(CHAT, RESPONSES, answer))
    assert body["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("caller", [MESSAGES, RESPONSES, OLLAMA, CHAT])
def test_words_on_a_block_of_a_call_stay_words(caller: Any) -> None:
    """SGLang 24293: its own messages endpoint tells them in the block of the call before."""
    use = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    raw = named(
        {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 3}}},
        {"type": "content_block_start", "index": 0, "content_block": use},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Done."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    )
    if caller is MESSAGES:
        return  # it is passed on as it is
    out = stream(caller, MESSAGES, raw, **({"input": "hi"} if caller is RESPONSES else {}))
    assert (out.count(b"toolu_1") > 0, b"Done." in out) == (True, True)
    if caller is RESPONSES:
        response = sdk_models.response_of(out)
        assert [item.type for item in response.output] == ["function_call", "message"]


@pytest.mark.parametrize("target", [CHAT, RESPONSES, MESSAGES, OLLAMA])
@pytest.mark.parametrize("kind", [None, "", []])
def test_a_schema_whose_type_is_nothing_has_one_and_no_second(target: Any, kind: Any) -> None:
    """cc-switch 3847: `schema must be a JSON Schema of type object, got type null`."""
    schema = {"type": kind, "properties": {"a": {"type": "string"}}}
    source = RESPONSES if target is CHAT else CHAT
    tool = {"type": "function", "name": "f", "parameters": schema}
    body = (
        {"input": "hi", "tools": [tool]} if source is RESPONSES else {"tools": [{"type": "function", "function": tool}]}
    )
    if source is CHAT:
        body["tools"] = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    sent, _ = request(source, target, **body)
    assert _schema_in(sent["tools"][0]) == {"type": "object", "properties": {"a": {"type": "string"}}}


def _schema_in(tool: dict[str, Any]) -> Any:
    inner = tool.get("function", tool)
    return inner.get("parameters", inner.get("input_schema"))


@pytest.mark.parametrize("target", [CHAT, RESPONSES])
def test_a_pattern_that_openai_cannot_read_is_left_out_by_name(target: Any) -> None:
    """claude-code-proxy 141: a tool of Claude Code has classes of Unicode in one, and OpenAI refused every request."""
    path = {"type": "string", "pattern": '^(?!__.*__$)[^\\p{Cc}"\\\\./[\\]]{1,200}$'}
    known = {"type": "string", "pattern": "^[a-z]+$"}
    properties = {"path": path, "pattern": known, "list": {"type": "array", "items": path}}
    schema = {"type": "object", "properties": properties}
    body, dropped = request(MESSAGES, target, **ASK, messages=HI, tools=[{"name": "f", "input_schema": schema}])
    text = {"type": "string"}
    assert _schema_in(body["tools"][0])["properties"] == {
        "path": text, "pattern": known, "list": {"type": "array", "items": text}
    }  # fmt: skip
    assert dropped == ["pattern"]
    kept = {"type": "object", "properties": {"path": known}}
    body, dropped = request(MESSAGES, target, **ASK, messages=HI, tools=[{"name": "f", "input_schema": kept}])
    assert (_schema_in(body["tools"][0]), dropped) == (kept, [])


def test_an_answer_begins_once_and_with_all_that_sdks_add_to() -> None:
    """cc-switch-cli 320, LiteLLM 33859 and 30761: a start without `content`, two of them, a chunk without a choice."""
    empty = {"id": "c", "model": "m", "choices": [], "prompt_filter_results": []}
    raw = stream(MESSAGES, CHAT, frames(empty, empty, delta(content="4"), delta("stop"), empty, b"[DONE]"), **ASK)
    starts = [event["message"] for _, event in sdk_models.sse(raw) if event["type"] == "message_start"]
    assert len(starts) == 1
    assert {"content": [], "stop_reason": None, "stop_sequence": None}.items() <= starts[0].items()
    assert sdk_models.anthropic_message(raw).content[0].text == "4"


def test_codex_is_told_all_counts_even_where_the_server_tells_none() -> None:
    """CodexPlusPlus 774: `failed to parse ResponseCompleted: missing field reasoning_tokens`, again and again."""
    raw = stream(RESPONSES, CHAT, frames(delta(content="4"), delta("stop"), b"[DONE]"), input="hi")
    usage = [event for _, event in sdk_models.sse(raw)][-1]["response"]["usage"]
    assert usage["output_tokens_details"]["reasoning_tokens"] == usage["input_tokens_details"]["cached_tokens"] == 0


def test_a_thought_that_only_its_items_end_tells_is_told() -> None:
    """LangChain 37625: no piece of the summary came before."""
    thought = {**REASONING, "summary": [{"type": "summary_text", "text": "Hm."}]}
    said = {"type": "message", "content": [{"type": "output_text", "text": "4"}]}
    raw = stream(CHAT, RESPONSES, named(CREATED, done(0, thought), done(1, said), completed(thought, said)))
    told = [choice.delta for chunk in sdk_models.chat_chunks(raw) for choice in chunk.choices]
    assert "".join((each.model_extra or {}).get("reasoning_content", "") for each in told) == "Hm."
    assert "".join(each.content or "" for each in told) == "4"


def without_indexes(*items: dict[str, Any], is_announced: bool, has_ids: bool) -> bytes:
    """These items as llama.cpp streams them: each in pieces, all of them ended behind the last."""
    events: list[dict[str, Any]] = [{"type": "response.created", "response": {"id": "r", "status": "in_progress"}}]
    done = [{"type": "response.output_item.done", "item": item} for item in items]
    for item in items if is_announced else ():
        bare = {name: value for name, value in item.items() if name not in ("arguments", "content")}
        of = {"item_id": item.get("id") or item.get("call_id")} if has_ids else {}
        kind = "function_call_arguments" if item["type"] == "function_call" else "output_text"
        text = item["arguments"] if "arguments" in item else item["content"][0]["text"]
        events += [
            {"type": "response.output_item.added", "item": bare},
            *({"type": f"response.{kind}.delta", **of, "delta": piece} for piece in (text[:3], text[3:])),
        ]
    return named(*events, *done, {"type": "response.completed", "response": {"id": "r", "status": "completed"}})


@pytest.mark.parametrize(("is_announced", "has_ids"), [(True, True), (True, False), (False, True)])
def test_items_of_responses_are_told_apart_without_their_indexes(*, is_announced: bool, has_ids: bool) -> None:
    """llama.cpp 20607: the arguments of all calls went to the first one."""
    items = [
        {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "let me"}]},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": '{"x":1}'},
        {"type": "function_call", "call_id": "b", "name": "g", "arguments": '{"y":2}'},
    ]
    raw = without_indexes(*items, is_announced=is_announced, has_ids=has_ids)
    message = sdk_models.anthropic_message(stream(MESSAGES, RESPONSES, raw, max_tokens=9))
    assert [block.model_dump().get("text") or (block.id, block.input) for block in message.content] == [
        *("let me", ("a", {"x": 1}), ("b", {"y": 2}))
    ]


def test_tokens_of_thoughts_are_counted_where_anthropic_tells_them() -> None:
    """Both ways: its `output_tokens_details.thinking_tokens` are OpenAI's `reasoning_tokens`."""
    usage = {"input_tokens": 3, "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 5}}
    answer = {"id": "msg_1", "model": "m", "content": [{"type": "text", "text": "4"}], "usage": usage}
    told = sdk_models.whole(CHAT, whole(CHAT, MESSAGES, answer)).usage
    assert told.completion_tokens_details.reasoning_tokens == 5
    counts = {"prompt_tokens": 3, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 5}}
    chunks = [delta(content="4"), delta("stop"), {"id": "c", "choices": [], "usage": counts}]
    message = sdk_models.anthropic_message(stream(MESSAGES, CHAT, frames(*chunks, b"[DONE]"), max_tokens=9))
    assert message.usage.output_tokens_details.thinking_tokens == 5


@pytest.mark.parametrize(
    ("finish", "arguments", "statuses"),
    [
        ("length", '{"a": [1', ["completed", "incomplete"]),
        ("length", '{"a": 1}', ["completed", "completed"]),
        ("length", None, ["incomplete"]),
        ("content_filter", None, ["incomplete"]),
        ("stop", None, ["completed"]),
    ],
)
def test_the_item_that_was_cut_is_not_said_to_be_whole(finish: str, arguments: str | None, statuses: list[str]) -> None:
    calls = [call(0, arguments, "f", "c")] if arguments else None
    chunks = [delta(content="so"), *([delta(tool_calls=calls)] if calls else ()), delta(finish), b"[DONE]"]
    streamed = sdk_models.response_of(stream(RESPONSES, CHAT, frames(*chunks), input="hi"))
    message = {"content": "so", **({"tool_calls": calls} if calls else {})}
    answer = {"id": "c", "choices": [{"index": 0, "finish_reason": finish, "message": message}]}
    for response in (streamed, sdk_models.whole(RESPONSES, whole(RESPONSES, CHAT, answer, input="hi"))):
        assert [item.status for item in response.output] == statuses
