"""Thoughts go back to who had them, over any number of turns; to others they do not go, and nobody sees them as text."""

from typing import Any

import msgspec
import pytest

from tests.dialects.translation import sdk_models
from tests.dialects.translation.calling import (
    CHAT,
    COMPLETIONS,
    HI,
    MESSAGES,
    OLLAMA,
    RESPONSES,
    RUN,
    delta,
    frames,
    named,
    request,
    stream,
    translation_of,
    whole,
)

ANTHROPIC_ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [
        {"type": "thinking", "thinking": "Hm. ", "signature": "SIG=="},
        {"type": "redacted_thinking", "data": "HIDDEN"},
        {"type": "text", "text": "Four."},
    ],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 2},
}
SIGNED = [
    {"type": "thinking", "thinking": "Hm. ", "signature": "SIG=="},
    {"type": "redacted_thinking", "data": "HIDDEN"},
]


def test_anthropics_seals_come_back_through_a_chat_client_that_sends_the_message_back() -> None:
    answer = msgspec.json.decode(whole(CHAT, MESSAGES, ANTHROPIC_ANSWER))
    message = answer["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Four.", "Hm. ")
    body, dropped = request(CHAT, MESSAGES, messages=[*HI, message, *HI])
    assert body["messages"][1]["content"] == [*SIGNED, {"type": "text", "text": "Four."}]
    assert dropped == []


def test_anthropics_seals_come_back_through_a_responses_client() -> None:
    answer = sdk_models.whole(RESPONSES, whole(RESPONSES, MESSAGES, ANTHROPIC_ANSWER, input="hi"))
    assert answer.output_text == "Four."
    assert [item.type for item in answer.output] == ["reasoning", "reasoning", "message"]
    items = [item.model_dump(exclude_none=True) for item in answer.output]
    body, _ = request(RESPONSES, MESSAGES, input=[*HI, *items, *HI])
    assert body["messages"][1]["content"] == [*SIGNED, {"type": "text", "text": "Four."}]


def test_the_same_from_a_stream() -> None:
    events = named(
        {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 3}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm. "}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "SIG=="}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "redacted_thinking", "data": "HIDDEN"}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    )
    items = [
        item.model_dump(exclude_none=True)
        for item in sdk_models.response_of(stream(RESPONSES, MESSAGES, events, input="hi")).output
    ]
    assert request(RESPONSES, MESSAGES, input=[*HI, *items, *HI])[0]["messages"][1]["content"] == SIGNED
    chunks = sdk_models.chat_chunks(stream(CHAT, MESSAGES, events))
    blocks = [
        block for chunk in chunks for block in (chunk.choices[0].delta.model_extra or {}).get("thinking_blocks", ())
    ]
    message = {"role": "assistant", "content": "x", "thinking_blocks": blocks}
    assert request(CHAT, MESSAGES, messages=[*HI, message, *HI])[0]["messages"][1]["content"][:2] == SIGNED


def test_what_comes_one_after_another_in_a_list_is_put_together_by_openais_sdk() -> None:
    """It raises for a second chunk with a list whose entries have no index: `Expected list delta entry`."""
    thoughts = [{"type": "thinking", "thinking": word, "signature": word.upper()} for word in ("hm", "so")]
    cited = {"type": "char_location", "cited_text": "x", "document_title": "D"}
    events = named(
        *(
            event
            for at, block in enumerate(thoughts)
            for event in (
                {"type": "content_block_start", "index": at, "content_block": block},
                {"type": "content_block_stop", "index": at},
            )
        ),
        {"type": "content_block_start", "index": 2, "content_block": {"type": "text", "text": "Four."}},
        *[{"type": "content_block_delta", "index": 2, "delta": {"type": "citations_delta", "citation": cited}}] * 2,
        {"type": "message_stop"},
    )
    message = sdk_models.chat_message(stream(CHAT, MESSAGES, events))
    assert [each.url_citation.title for each in message.annotations] == ["D", "D"]
    sent_back = {name: value for name, value in message.to_dict().items() if name != "parsed"}
    body, dropped = request(CHAT, MESSAGES, messages=[*HI, sent_back, *HI])
    assert body["messages"][1]["content"] == [*thoughts, {"type": "text", "text": "Four."}]
    assert dropped == []


T1 = {"type": "thinking", "thinking": "hm", "signature": "S1"}
T2 = {"type": "thinking", "thinking": "", "signature": "S2"}
T3 = {"type": "redacted_thinking", "data": "S3"}
WORDS = {"type": "text", "text": "So \U0001f600."}


def used(id_: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": "f", "input": {}}


@pytest.mark.parametrize(
    "content",
    [
        [T1, WORDS, T2, used("a")],
        [T1, used("a"), T2, used("b")],
        [WORDS, T1, used("a"), T2, T3, used("b")],
        [T1, WORDS, T2, {"type": "text", "text": "And."}, T3, used("a"), used("b")],
        [T1, T2, WORDS, used("a")],
    ],
)
def test_thoughts_come_back_to_anthropic_where_they_were(content: list[dict[str, Any]]) -> None:
    """LiteLLM 23047, inspect_ai 4922, big-AGI 966: it refuses the session once one has moved."""
    message = {"id": "msg_1", "model": "m", "content": content, "stop_reason": "tool_use", "usage": {}}
    events: list[dict[str, Any]] = []
    for at, block in enumerate(content):
        events += [
            {"type": "content_block_start", "index": at, "content_block": block},
            {"type": "content_block_stop", "index": at},
        ]
    streamed = sdk_models.chat_message(stream(CHAT, MESSAGES, named(*events, {"type": "message_stop"})))
    made = sdk_models.whole(CHAT, whole(CHAT, MESSAGES, message)).choices[0].message
    for answer in (streamed, made):
        sent_back = {name: value for name, value in answer.to_dict().items() if name != "parsed"}
        body, _ = request(CHAT, MESSAGES, messages=[*HI, sent_back, *HI])
        assert body["messages"][1]["content"] == content


@pytest.mark.parametrize("after", [[-1, -1], [99, 99], [1, 0]])
def test_a_place_that_is_none_loses_nothing(after: list[int]) -> None:
    called = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    sent = {
        "role": "assistant",
        "content": "So.",
        "tool_calls": called,
        "thinking_blocks": [T1, {**T2, "after": after}],
    }
    body, dropped = request(CHAT, MESSAGES, messages=[*HI, sent, *HI])
    blocks = body["messages"][1]["content"]
    assert "".join(block["text"] for block in blocks if block["type"] == "text") == "So."
    assert [block for block in blocks if block["type"] == "thinking"] == [T1, T2]
    assert [block for block in blocks if block["type"] == "tool_use"] == [used("a")]
    assert dropped == []


def test_an_open_models_thoughts_come_back_to_it_through_claude_code() -> None:
    answer = stream(
        MESSAGES,
        CHAT,
        frames(delta(reasoning_content="Hm."), delta(content="Four."), delta("stop"), b"[DONE]"),
        max_tokens=9,
    )
    message = sdk_models.anthropic_message(answer)
    assert [block.type for block in message.content] == ["thinking", "text"]
    sent_back = [block.model_dump(exclude_none=True) for block in message.content]
    body, dropped = request(
        MESSAGES, CHAT, max_tokens=9, messages=[*HI, {"role": "assistant", "content": sent_back}, *HI]
    )
    assert body["messages"][1] == {"role": "assistant", "content": "Four.", "reasoning_content": "Hm."}
    assert dropped == []
    body, _ = request(MESSAGES, OLLAMA, max_tokens=9, messages=[*HI, {"role": "assistant", "content": sent_back}, *HI])
    assert body["messages"][1]["thinking"] == "Hm."


def test_thoughts_of_another_maker_are_left_out_by_name_and_never_become_text() -> None:
    assistant = {"role": "assistant", "content": [*SIGNED, {"type": "text", "text": "Four."}]}
    for target in (CHAT, OLLAMA, RESPONSES):
        body, dropped = request(MESSAGES, target, max_tokens=9, messages=[*HI, assistant, *HI])
        assert dropped == ["thinking"]
        assert b"Hm." not in msgspec.json.encode(body)
    body, dropped = request(
        OLLAMA, MESSAGES, messages=[*HI, {"role": "assistant", "content": "Four.", "thinking": "Hm."}, *HI]
    )
    assert (body["messages"][1], dropped) == ({"role": "assistant", "content": "Four."}, ["thinking"])
    body, dropped = request(
        CHAT, MESSAGES, messages=[*HI, {"role": "assistant", "content": "4", "reasoning_content": "Hm."}, *HI]
    )
    assert (body["messages"][1], dropped) == ({"role": "assistant", "content": "4"}, ["reasoning_content"])


def test_openais_hidden_reasoning_comes_back_to_it_through_claude_code() -> None:
    output = [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "Hm."}],
            "encrypted_content": "ENC",
        },
        {"type": "message", "content": [{"type": "output_text", "text": "Four."}]},
    ]
    response = {
        "id": "resp_1",
        "status": "completed",
        "model": "m",
        "output": output,
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    message = sdk_models.whole(MESSAGES, whole(MESSAGES, RESPONSES, response, max_tokens=9))
    assert [block.type for block in message.content] == ["thinking", "text"]
    sent_back = [block.model_dump(exclude_none=True) for block in message.content]
    body, _ = request(
        MESSAGES, RESPONSES, max_tokens=9, messages=[*HI, {"role": "assistant", "content": sent_back}, *HI]
    )
    assert body["input"][1] == output[0]


SIGNATURE = {"google": {"thought_signature": "EtQB+/="}}
GEMINIS_CALL = {
    "id": "function-call-1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
    "extra_content": SIGNATURE,
}
GEMINIS_ANSWER = {
    "id": "c",
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": "Well.",
                "extra_content": {"google": {"thought_signature": "words"}},
                "tool_calls": [GEMINIS_CALL, {**GEMINIS_CALL, "id": "function-call-2", "extra_content": None}],
            },
        }
    ],
}


def check_signatures(body: dict[str, object]) -> None:
    said = msgspec.convert(body["messages"], list[dict[str, object]])[1]
    first, second = msgspec.convert(said["tool_calls"], list[dict[str, object]])
    assert (first["extra_content"], first["id"]) == (SIGNATURE, "function-call-1")
    assert "extra_content" not in second
    assert said["extra_content"] == {"google": {"thought_signature": "words"}}
    assert said["content"] == "Well."


def test_geminis_signatures_of_calls_come_back_to_it_through_claude_code() -> None:
    """It refuses a call without its signature: securo 884, opencode 4832."""
    message = msgspec.json.decode(whole(MESSAGES, CHAT, GEMINIS_ANSWER, max_tokens=9))
    body, dropped = request(
        MESSAGES, CHAT, max_tokens=9, messages=[*HI, {"role": "assistant", "content": message["content"]}, *HI]
    )
    check_signatures(body)
    assert dropped == []


def test_the_same_through_codex() -> None:
    answer = sdk_models.whole(RESPONSES, whole(RESPONSES, CHAT, GEMINIS_ANSWER, input="hi"))
    items = [item.model_dump(exclude_none=True) for item in answer.output]
    body, _ = request(RESPONSES, CHAT, input=[*HI, *items, *HI])
    check_signatures(body)


def test_the_same_from_a_stream_of_gemini() -> None:
    said = GEMINIS_ANSWER["choices"][0]["message"]  # type: ignore[index]
    calls = [{**call, "index": index} for index, call in enumerate(said["tool_calls"])]
    raw = frames(
        delta(content="Well.", extra_content=said["extra_content"]),
        delta(tool_calls=[calls[0]]),
        delta(tool_calls=[calls[1]]),
        delta("stop"),
        b"[DONE]",
    )
    message = sdk_models.anthropic_message(stream(MESSAGES, CHAT, raw, max_tokens=9))
    assert message.stop_reason == "tool_use"
    content = [block.model_dump(exclude_none=True) for block in message.content]
    body, _ = request(MESSAGES, CHAT, max_tokens=9, messages=[*HI, {"role": "assistant", "content": content}, *HI])
    check_signatures(body)
    response = sdk_models.response_of(stream(RESPONSES, CHAT, raw, input="hi"))
    items = [item.model_dump(exclude_none=True) for item in response.output]
    check_signatures(request(RESPONSES, CHAT, input=[*HI, *items, *HI])[0])


def test_geminis_signatures_go_to_nobody_else() -> None:
    message = msgspec.json.decode(whole(MESSAGES, CHAT, GEMINIS_ANSWER, max_tokens=9))
    turns = [*HI, {"role": "assistant", "content": message["content"]}, *HI]
    for target in (RESPONSES, OLLAMA):
        body, dropped = request(MESSAGES, target, max_tokens=9, messages=turns)
        assert b"EtQB" not in msgspec.json.encode(body)
        assert dropped == ["thinking"]


def test_geminis_signatures_of_calls_come_back_to_it_through_clients_of_ollama_that_send_calls_back_whole() -> None:
    said = GEMINIS_ANSWER["choices"][0]["message"]  # type: ignore[index]
    calls = [{**call, "index": index} for index, call in enumerate(said["tool_calls"])]
    raw = frames(delta(content="Well."), *[delta(tool_calls=[call]) for call in calls], delta("stop"), b"[DONE]")
    told = [msgspec.json.decode(line)["message"] for line in stream(OLLAMA, CHAT, raw).splitlines()]
    streamed = {
        "role": "assistant",
        "content": "Well.",
        "tool_calls": [c for t in told for c in t.get("tool_calls", ())],
    }
    for message in (msgspec.json.decode(whole(OLLAMA, CHAT, GEMINIS_ANSWER))["message"], streamed):
        body, dropped = request(OLLAMA, CHAT, messages=[*HI, message, *HI])
        first, second = body["messages"][1]["tool_calls"]
        assert (first["extra_content"], first["id"], dropped) == (SIGNATURE, "function-call-1", [])
        assert "extra_content" not in second
        body, dropped = request(OLLAMA, MESSAGES, messages=[*HI, message, *HI])
        assert "extra_content" not in str(body)


def test_a_call_that_lost_its_signature_does_not_end_a_session_with_gemini() -> None:
    """It refuses a call of its own without one, and has a word for that: claude-code-router 1431, vercel/ai 15550."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {}}}
    turns = [*HI, {"role": "assistant", "content": "", "tool_calls": [call, call]}, {"role": "tool", "content": "4"}]
    for model in ("gemini-3-pro-preview", "models/gemini-3.1-flash", "gemini-4"):
        body, dropped = request(OLLAMA, CHAT, model=model, messages=turns)
        first, second = body["messages"][1]["tool_calls"]
        assert first["extra_content"] == {"google": {"thought_signature": "skip_thought_signature_validator"}}
        assert ("extra_content" not in second, dropped) == (True, ["thought_signature"])
    for model in ("gemini-2.5-pro", "gemma-3", "gpt-5"):
        body, dropped = request(OLLAMA, CHAT, model=model, messages=turns)
        assert ("extra_content" not in str(body), dropped) == (True, [])


def test_what_an_answer_cannot_carry_is_named_as_far_as_it_is_known() -> None:
    signed = whole_of(OLLAMA, MESSAGES, ANTHROPIC_ANSWER)
    assert signed == ["thinking.signature"]
    assert whole_of(RUN, MESSAGES, ANTHROPIC_ANSWER) == ["thinking", "thinking.signature"]
    assert whole_of(COMPLETIONS, MESSAGES, ANTHROPIC_ANSWER, prompt="hi") == ["thinking", "thinking.signature"]
    for client in (CHAT, RESPONSES):
        assert whole_of(client, MESSAGES, ANTHROPIC_ANSWER, **({"input": "hi"} if client is RESPONSES else {})) == []
    assert whole_of(OLLAMA, CHAT, GEMINIS_ANSWER) == ["thinking.signature"]  # that of the words
    translator = translation_of(OLLAMA, CHAT).answer("r1", 1)
    translator.feed(frames(delta(reasoning_details=[{"type": "reasoning.encrypted", "data": "x"}]), delta(content="4")))
    assert list(translator.left_out) == ["thinking.signature"]


def whole_of(client: Any, server: Any, answer: Any, **body: Any) -> list[str]:
    """What was left out of this answer."""
    translator = translation_of(client, server, **body).answer("r1", 1)
    translator.whole(msgspec.json.encode(answer))
    return list(translator.left_out)
