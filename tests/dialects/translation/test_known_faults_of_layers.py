"""What the trackers of other layers tell of, with the number of the thread: each as the fact that it is right here.

Covers: `wire`, `failures`, `anthropic.request_writer`, `ollama.request_writer`, `openai_chat.request_writer`,
`openai_chat.request_reader`, `openai_responses.items`, `openai_responses.output`.
"""

import json
from typing import Any

import msgspec
import pytest

from masa_node.chat.errors import BrokenAnswer, NotTranslatable
from masa_node.chat.request import Endpoint
from masa_node.dialects.translation.counting import counted
from tests.dialects.translation import gist, sdk_models
from tests.dialects.translation.calling import (
    CHAT,
    HI,
    MESSAGES,
    NOW,
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

DONE = b"[DONE]"
ASK = {"max_tokens": 9}
USED = {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}
RESULT = {"type": "tool_result", "tool_use_id": "a", "content": "1"}
ROUND = [*HI, {"role": "assistant", "content": [USED]}, {"role": "user", "content": [RESULT]}]


def chat_stream(caller: Any, *events: Any, **asked: Any) -> bytes:
    return stream(caller, CHAT, frames(*events, DONE), **(ASK if caller is MESSAGES else {}), **asked)


def message(*blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 3, "output_tokens": 2}
    return {
        "type": "message",
        "id": "msg_1",
        "model": "m",
        "role": "assistant",
        "content": list(blocks),
        "usage": usage,
    } | more


# ---- thoughts ----

SIGNED = {"type": "thinking", "thinking": "", "signature": "SIG"}


@pytest.mark.parametrize("caller", [CHAT, RESPONSES])
def test_a_thought_of_nothing_but_its_signature_comes_back(caller: Any) -> None:
    """openai-agents-python 4155, langchain4j 6244, adk-python 5437."""
    answer = msgspec.json.decode(whole(caller, MESSAGES, message(SIGNED, {"type": "text", "text": "hi"})))
    said = answer["output"] if caller is RESPONSES else [answer["choices"][0]["message"]]
    history = {"input" if caller is RESPONSES else "messages": [*HI, *said, *HI]}
    body, _ = request(caller, MESSAGES, **history)
    assert body["messages"][1]["content"] == [SIGNED, {"type": "text", "text": "hi"}]


def test_thoughts_come_in_blocks_of_their_own_from_the_first_word_on() -> None:
    """LiteLLM 25212, 29518, 32357: thoughts in a block of text, and the first word after them lost."""
    out = chat_stream(
        MESSAGES, delta(reasoning_content="hm"), delta(content="one"), delta(content=" two"), delta("stop")
    )
    assert [block.type for block in sdk_models.anthropic_message(out).content] == ["thinking", "text"]
    assert gist.of_stream(MESSAGES, out)[:2] == ("one two", "hm")
    assert out.count(b"event: message_start") == 1


@pytest.mark.parametrize("target", [CHAT, OLLAMA])
def test_thoughts_of_an_open_model_come_back_to_it_through_codex(target: Any) -> None:
    """cc-switch 2769, 6592: the model refuses a turn of calls without the thought that led to it."""
    out = chat_stream(
        RESPONSES, delta(reasoning_content="hm"), delta(tool_calls=[call(0, "{}", "f", "a")]), delta("tool_calls")
    )
    items = [item.model_dump(exclude_none=True) for item in sdk_models.response_of(out).output]
    result = {"type": "function_call_output", "call_id": "a", "output": "1"}
    body, dropped = request(RESPONSES, target, input=[*HI, *items, result])
    said = body["messages"][1]
    assert (said.get("reasoning_content", said.get("thinking")), len(said["tool_calls"])) == ("hm", 1)
    assert dropped == []


@pytest.mark.parametrize("target", [CHAT, RESPONSES, OLLAMA, RUN])
def test_a_thought_with_an_empty_signature_becomes_no_visible_text(target: Any) -> None:
    """LiteLLM 26916."""
    said = [{"type": "thinking", "thinking": "secret", "signature": ""}, {"type": "text", "text": "hi"}]
    body, _ = request(MESSAGES, target, **ASK, messages=[*HI, {"role": "assistant", "content": said}, *HI])
    visible = [each.get("content") for each in body.get("messages", body.get("input"))]
    assert "secret" not in json.dumps(visible)


def test_thoughts_that_mistrals_clients_send_back_are_thoughts() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    said = {"role": "assistant", "content": [thought, {"type": "text", "text": "hi"}]}
    body, _ = request(CHAT, OLLAMA, messages=[*HI, said, *HI])
    assert (body["messages"][1]["thinking"], body["messages"][1]["content"]) == ("hm", "hi")


# ---- calls and their results ----


@pytest.mark.parametrize("target", [CHAT, RESPONSES, OLLAMA])
def test_a_block_of_a_call_begins_with_an_input(target: Any) -> None:
    """cc-switch 2556: Claude Code crashes without; OmniRoute 686: one call, one block."""
    item = {"type": "function_call", "id": "i", "call_id": "a", "name": "f"}
    raw = {
        CHAT: frames(
            delta(tool_calls=[call(0, '{"x"', "f", "a")]), delta(tool_calls=[call(0, ":1}")]), delta("tool_calls"), DONE
        ),
        RESPONSES: named(
            {"type": "response.created", "response": {"id": "r"}},
            {"type": "response.output_item.added", "output_index": 0, "item": {**item, "arguments": ""}},
            {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": '{"x"'},
            {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": ":1}"},
            {"type": "response.output_item.done", "output_index": 0, "item": {**item, "arguments": '{"x":1}'}},
            {"type": "response.completed", "response": {"id": "r", "status": "completed"}},
        ),
        OLLAMA: lines(
            {"message": {"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]}},
            {"message": {"content": ""}, "done": True, "done_reason": "stop"},
        ),
    }[target]
    events = sdk_models.sse(stream(MESSAGES, target, raw, **ASK))
    begun = [data["content_block"] for name, data in events if name == "content_block_start"]
    assert [(block["type"], block["name"], block["input"]) for block in begun] == [("tool_use", "f", {})]
    assert gist.of_stream(MESSAGES, stream(MESSAGES, target, raw, **ASK)).calls == [("f", {"x": 1})]


@pytest.mark.parametrize("content", ["", [], None])
def test_a_result_that_says_nothing_is_no_empty_block_at_anthropic(content: Any) -> None:
    """Opencode 15372, trae-agent 231."""
    asked = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}],
    }
    body, _ = request(CHAT, MESSAGES, messages=[*HI, asked, {"role": "tool", "tool_call_id": "a", "content": content}])
    assert body["messages"][2]["content"] == [{"type": "tool_result", "tool_use_id": "a"}]


def test_words_of_results_are_input_at_responses() -> None:
    """LiteLLM 18212: as `output_text` they were refused."""
    result = {**RESULT, "content": [{"type": "text", "text": "1"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]}  # fmt: skip
    body, _ = request(MESSAGES, RESPONSES, **ASK, messages=[*ROUND[:2], {"role": "user", "content": [result]}])
    assert [part["type"] for part in body["input"][2]["output"]] == ["input_text", "input_image"]


@pytest.mark.parametrize("order", [["b", "a"], ["a", "b"]])
def test_results_of_parallel_calls_reach_ollama_in_the_order_of_the_calls(order: list[str]) -> None:
    """oh-my-pi 11179, colibri 118, ollama 11417: templates show no ids, so a model pairs them by their places."""
    calls = [{"id": id_, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id_ in ("a", "b")]
    results = [{"role": "tool", "tool_call_id": id_, "content": id_} for id_ in order]
    turns = [*HI, {"role": "assistant", "content": "", "tool_calls": calls}, *results, *HI]
    body, _ = request(CHAT, OLLAMA, messages=turns)
    assert [each["content"] for each in body["messages"][2:]] == ["a", "b", "hi"]
    blocks = [{"type": "tool_result", "tool_use_id": id_, "content": id_} for id_ in order]
    used = [{**USED, "id": id_} for id_ in ("a", "b")]
    said = {"role": "user", "content": [*blocks, {"type": "text", "text": "hi"}]}
    body, _ = request(MESSAGES, OLLAMA, **ASK, messages=[*HI, {"role": "assistant", "content": used}, said])
    assert [each["content"] for each in body["messages"][2:]] == ["a", "b", "hi"]


def test_ids_of_calls_and_of_their_results_stay_the_same_at_chat_servers() -> None:
    """CLIProxyAPI 3184: the ids of calls were rewritten, those of results were not."""
    calls = [{"type": "function_call", "call_id": f"tool_{n}", "name": "exec_command", "arguments": "{}"} for n in "xy"]
    results = [{"type": "function_call_output", "call_id": f"tool_{n}", "output": n} for n in "xy"]
    body, _ = request(RESPONSES, CHAT, input=[*HI, *calls, *results])
    assert [each["id"] for each in body["messages"][1]["tool_calls"]] == ["tool_x", "tool_y"]
    assert [each["tool_call_id"] for each in body["messages"][2:]] == ["tool_x", "tool_y"]


def test_an_assistant_that_only_calls_has_no_empty_text() -> None:
    """VLLM 38738: Mistral's template refuses an assistant's message with calls and an empty text."""
    body, _ = request(MESSAGES, CHAT, **ASK, messages=ROUND)
    assert body["messages"][1]["content"] is None


def test_calls_beside_each_other_are_neither_forbidden_nor_allowed_unasked() -> None:
    """cc-switch 5722."""
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    for choice in ({}, {"tool_choice": {"type": "auto"}}):
        assert "parallel_tool_calls" not in request(MESSAGES, RESPONSES, **ASK, tools=tools, **choice)[0]


def test_a_choice_of_no_tool_is_carried() -> None:
    """LiteLLM 24443."""
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    body, _ = request(MESSAGES, CHAT, **ASK, tools=tools, tool_choice={"type": "none"})
    assert body["tool_choice"] == "none"


def test_mistrals_word_for_a_call_that_has_to_be_made_is_read() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert request(CHAT, MESSAGES, tools=tools, tool_choice="any")[0]["tool_choice"] == {"type": "any"}


PATCH = "*** Begin Patch"


@pytest.mark.parametrize("arguments", [{"input": PATCH}, {"patch": PATCH}, {"text": PATCH}])
def test_a_free_form_tool_gets_its_text_whatever_a_model_calls_it(arguments: dict[str, str]) -> None:
    """sub2api 5659, ds4 745, codex-relay 38: Codex takes no call of `apply_patch` but with its plain text."""
    tool = {"type": "custom", "name": "apply_patch", "description": "edits", "format": {"type": "grammar"}}
    piece = call(0, json.dumps(arguments), "apply_patch", "a")
    out = chat_stream(RESPONSES, delta(tool_calls=[piece]), delta("tool_calls"), tools=[tool], input="hi")
    (item,) = sdk_models.response_of(out).output
    assert (item.type, item.input) == ("custom_tool_call", PATCH)
    assert b"response.custom_tool_call_input.done" in out


# ---- tools ----


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (b'{"properties":{"a":{}}}', b'{"type":"object","properties":{"a":{}}}'),
        (b"{}", b'{"type":"object","properties":{}}'),
        (b'{ "anyOf":[]}', b'{"type":"object","anyOf":[]}'),
        (b'{"type":"object"}', b'{"type":"object"}'),
        (b'{"type":"object","properties":null}', b'{"type":"object"}'),
        (b'{"z":1.0,"type":"object"}', b'{"z":1.0,"type":"object"}'),
    ],
)
def test_a_schema_has_the_type_that_anthropic_demands(schema: bytes, expected: bytes) -> None:
    """Opencodex 75, kilocode 12238, cantinarr 497 (which stays the server's to refuse)."""
    tool = {"type": "function", "function": {"name": "f", "parameters": msgspec.Raw(schema)}}
    assert b'"input_schema":' + expected + b"}" in translation_of(CHAT, MESSAGES, tools=[tool]).body


@pytest.mark.parametrize("target", [CHAT, RESPONSES])
@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (b'{"type":"object"}', b'{"properties":{},"type":"object"}'),
        (b'{"type":"object","properties":null}', b'{"properties":{},"type":"object"}'),
        (b'{"type":"object","additionalProperties":false}', b'{"properties":{},"type":"object","additionalProperties":false}'),
        (b'{"type": "object", "properties": {"a":{}}}', b'{"type": "object", "properties": {"a":{}}}'),
        (b'{"$ref":"#/x","type":"array"}', b'{"$ref":"#/x","type":"array"}'),
    ],
)  # fmt: skip
def test_a_schema_has_the_properties_that_openai_demands(target: Any, schema: bytes, expected: bytes) -> None:
    """codex-proxy 22: MCP tools without arguments."""
    tool = {"name": "f", "input_schema": msgspec.Raw(schema)}
    assert b'"parameters":' + expected in translation_of(MESSAGES, target, **ASK, tools=[tool]).body


def test_a_tool_without_a_schema_has_one_at_chat_servers() -> None:
    """CLIProxyAPI 5569: missing field `parameters`."""
    body, _ = request(RESPONSES, CHAT, input="hi", tools=[{"type": "function", "name": "f"}])
    assert body["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {}}


# ---- stops ----


@pytest.mark.parametrize("stop", ["\n", [" ", "end"], ["\n\n"]])
def test_a_stop_of_spaces_alone_is_refused_for_anthropic_by_its_name(stop: Any) -> None:
    """LiteLLM 3286, 7484 (which leaves it out), lm-evaluation-harness 2412."""
    with pytest.raises(NotTranslatable, match="`stop`"):
        request(CHAT, MESSAGES, stop=stop)


def test_a_single_stop_sequence_stays_a_list() -> None:
    """new-api 7175."""
    assert request(MESSAGES, CHAT, **ASK, stop_sequences=["end"])[0]["stop"] == ["end"]


@pytest.mark.parametrize("target", [RESPONSES, RUN])
def test_stop_sequences_that_a_server_does_not_have_are_refused(target: Any) -> None:
    """CLIProxyAPI 5301, which leaves them out."""
    with pytest.raises(NotTranslatable, match="`stop_sequences`"):
        request(MESSAGES, target, **ASK, stop_sequences=["end"])


def test_a_call_at_ollama_is_the_reason_to_stop_and_no_text_goes_before_it() -> None:
    """LiteLLM 34692, higress 3506."""
    raw = lines(
        {"message": {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}, "done": False},
        {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"},
    )  # fmt: skip
    answer = sdk_models.anthropic_message(stream(MESSAGES, OLLAMA, raw, **ASK))
    assert (answer.stop_reason, [block.type for block in answer.content]) == ("tool_use", ["tool_use"])


# ---- counts ----


def test_tokens_of_a_message_are_not_the_sum_of_what_its_events_say() -> None:
    """agent-framework 7143, new-api 1761."""
    raw = named(
        {"type": "message_start", "message": message(usage={"input_tokens": 9, "output_tokens": 1})},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "hi"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "max_tokens"},
            "usage": {"input_tokens": 9, "output_tokens": 5},
        },
        {"type": "message_stop"},
    )
    found = gist.of_stream(CHAT, stream(CHAT, MESSAGES, raw, stream_options={"include_usage": True}))
    assert (found.text, found.reason, found.tokens) == ("hi", "length", (9, 5))


def test_cached_tokens_are_told_to_claude_code() -> None:
    """Higress 3766, copilot-api 210: its compaction needs the sum of both."""
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 7}}
    used = sdk_models.anthropic_message(
        chat_stream(MESSAGES, delta(content="hi"), {**delta("stop"), "usage": usage})
    ).usage
    assert (used.input_tokens, used.cache_read_input_tokens, used.output_tokens) == (3, 7, 2)


def test_an_estimate_counts_all_that_a_session_consists_of() -> None:
    """9router 2337 (calls and results), CLIProxyAPI 679 (system and tools), 4104 (nothing that was not sent)."""

    def tokens(**more: Any) -> int:
        body = msgspec.json.encode({"model": "m", "messages": HI, **more})
        answer, field = counted(body, Endpoint.ANTHROPIC_COUNT_TOKENS)
        return int(msgspec.json.decode(answer)[field])

    words = "many words " * 200
    assert tokens() < 20
    for more in (
        {"system": words},
        {"tools": [{"name": "f", "description": words, "input_schema": {"type": "object"}}]},
        {"messages": [*HI, {"role": "assistant", "content": [{**USED, "input": {"x": words}}]}]},
        {"messages": [*HI, {"role": "user", "content": [{**RESULT, "content": words}]}]},
    ):
        assert tokens(**more) > 200


@pytest.mark.parametrize("target", [CHAT, OLLAMA, RUN])
def test_a_later_turn_begins_with_the_same_bytes_so_that_servers_find_them_in_their_cache(target: Any) -> None:
    """cc-switch 3934: the hits of a cache of prefixes fell from 90 to 75 %."""
    tools = [{"name": "f", "description": "d", "input_schema": {"type": "object"}}]
    turns = [*ROUND, {"role": "assistant", "content": "done"}, *HI]
    sent = [
        translation_of(MESSAGES, target, **ASK, system="be brief", tools=tools, messages=turns[:count]).body
        for count in (3, len(turns))
    ]
    until = sent[0].index(b"]", sent[0].rindex(b'"content":"1"'))
    assert sent[1].startswith(sent[0][:until])


# ---- errors ----


@pytest.mark.parametrize(
    "error",
    [
        {"message": "prompt token count of 74490 exceeds the limit of 72000", "code": "model_max_prompt_tokens_exceeded"},
        {"message": "prompt token count of 74490 exceeds the limit of 72000"},
        {"message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."},
        {"message": "This model's maximum prompt length is 131072 but the request contains 137197 tokens."},
        {"message": "Prompt exceeds max length", "code": "1261"},
        {"message": "Invalid request: Your request exceeded model token limit: 8192"},
        {"message": "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens and 512"},
    ],
    ids=lambda error: str(error["message"])[:40],
)  # fmt: skip
def test_a_prompt_that_is_too_long_is_known_by_every_servers_words(error: dict[str, str]) -> None:
    """copilot-api 210: Claude Code compacts only if it reads that the prompt is too long."""
    body = msgspec.json.encode({"error": error})
    told = msgspec.json.decode(translation_of(MESSAGES, CHAT, **ASK).error(400, body, "r"))["error"]
    assert (told["type"], told["message"][:18]) == ("invalid_request_error", "prompt is too long")
    told = msgspec.json.decode(translation_of(CHAT, MESSAGES).error(400, body, "r"))["error"]
    assert told["code"] == "context_length_exceeded"


def test_an_answer_that_is_no_json_is_no_success_without_words() -> None:
    """Codexmate 84."""
    translator = translation_of(MESSAGES, CHAT, **ASK).answer("r1", NOW)
    with pytest.raises(BrokenAnswer):
        translator.whole(b"<html>busy</html>")


# ---- settings ----


def test_logprobs_reach_ollama_and_come_back() -> None:
    """Bifrost 6529: left out without a word."""
    body, _ = request(CHAT, OLLAMA, logprobs=True, top_logprobs=2)
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)
    rated = [{"token": "hi", "logprob": -0.5, "bytes": [104, 105], "top_logprobs": []}]
    line = {"model": "m", "message": {"role": "assistant", "content": "hi"}, "done": True, "logprobs": rated}
    answer = sdk_models.whole(CHAT, whole(CHAT, OLLAMA, line, logprobs=True))
    assert answer.choices[0].logprobs.content[0].logprob == -0.5


def test_an_answer_with_an_empty_list_of_blocks_is_one() -> None:
    """LiteLLM 3438."""
    assert (
        sdk_models.whole(CHAT, whole(CHAT, MESSAGES, message(stop_reason="end_turn"))).choices[0].message.content == ""
    )


def test_empty_words_before_a_call_reach_no_server_that_refuses_them() -> None:
    """vercel/ai 5576, opencode 6446, autogen 6083."""
    asked = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}],
    }
    body, _ = request(CHAT, MESSAGES, messages=[{"role": "user", "content": ""}, *HI, asked, {"role": "tool", "tool_call_id": "a", "content": "1"}])  # fmt: skip
    assert b'"text":""' not in msgspec.json.encode(body)
    assert [block["type"] for block in body["messages"][1]["content"]] == ["tool_use"]


def test_every_citation_of_a_stream_is_told_as_it_comes() -> None:
    """LiteLLM 20002: all but the first were only in the last event."""
    cited = [{"type": "url_citation", "url_citation": {"url": f"https://{n}.org", "title": n, "start_index": 0, "end_index": 1}} for n in "abc"]  # fmt: skip
    out = chat_stream(
        RESPONSES, *(delta(content=" x", annotations=[each]) for each in cited), delta("stop"), input="hi"
    )
    assert out.count(b"event: response.output_text.annotation.added") == 3
    (item,) = sdk_models.response_of(out).output
    assert [each.url for each in item.content[0].annotations] == ["https://a.org", "https://b.org", "https://c.org"]
