"""OpenRouter's `reasoning_details`: whatever is in them comes back to it as it was, over any client that can carry it.

Covers: `openai_chat.answer_thoughts`, `openai_chat.answer_reader`, `openai_chat.request_writer`.
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
    request,
    stream,
    whole,
)

TEXT = {"type": "reasoning.text", "text": "Hm. ", "signature": "SIG==", "format": "anthropic-claude-v1", "index": 0}
HIDDEN = {"type": "reasoning.encrypted", "data": "ENC", "id": "rs_1", "format": "openai-responses-v1", "index": 1}
SUMMARY = {"type": "reasoning.summary", "summary": "In short.", "format": "openai-responses-v1", "index": 0}
CALLS = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


def answer(*details: Any, **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": "Four.", "reasoning_details": [*details], **message}
    return {"id": "gen-1", "model": "m", "choices": [{"index": 0, "finish_reason": "stop", "message": said}]}


def sent_back(client: Any, raw: bytes, *, is_stream: bool) -> dict[str, Any]:
    """The assistant's message of the next turn, as the server gets it."""
    if client is MESSAGES:
        message = sdk_models.anthropic_message(raw) if is_stream else sdk_models.whole(MESSAGES, raw)
        content = [block.model_dump(exclude_none=True) for block in message.content]
        turns: dict[str, Any] = {"messages": [*HI, {"role": "assistant", "content": content}, *HI], "max_tokens": 9}
    else:
        response = sdk_models.response_of(raw) if is_stream else sdk_models.whole(RESPONSES, raw)
        turns = {"input": [*HI, *[item.model_dump(exclude_none=True) for item in response.output], *HI]}
    body, dropped = request(client, CHAT, **turns)
    assert dropped == []
    found: dict[str, Any] = body["messages"][1]
    return found


ASK: dict[Any, dict[str, Any]] = {MESSAGES: {"max_tokens": 9}, RESPONSES: {"input": "hi"}}


@pytest.mark.parametrize("client", [MESSAGES, RESPONSES])
@pytest.mark.parametrize("details", [[TEXT], [HIDDEN], [SUMMARY, HIDDEN], [TEXT, HIDDEN]])
def test_details_of_a_whole_answer_come_back(client: Any, details: list[Any]) -> None:
    thought = "".join(each.get("text", each.get("summary", "")) for each in details)
    for reasoning in ({"reasoning": thought or None}, {}):
        raw = whole(client, CHAT, answer(*details, **reasoning), **ASK[client])
        assert raw.count(b"Hm. ") == (2 if TEXT in details else 0)  # once to be seen, once in the seal
        said = sent_back(client, raw, is_stream=False)
        assert (said["content"], said["reasoning_details"]) == ("Four.", details)
        assert "reasoning_content" not in said


@pytest.mark.parametrize("client", [MESSAGES, RESPONSES])
def test_details_of_a_stream_come_back_put_together(client: Any) -> None:
    pieces = [{**TEXT, "text": text, "signature": None} for text in ("H", "m. ")]
    raw = frames(
        *[delta(reasoning=each["text"], reasoning_details=[each]) for each in pieces],
        delta(reasoning_details=[{**TEXT, "text": None}]),
        delta(reasoning_details=[HIDDEN]),
        delta(content="Four."),
        delta(tool_calls=[call(0, "{}", "f", "c1")]),
        delta("tool_calls"),
        b"[DONE]",
    )
    said = sent_back(client, stream(client, CHAT, raw, **ASK[client]), is_stream=True)
    assert said["reasoning_details"] == [TEXT, HIDDEN]
    assert (said["content"], said["tool_calls"]) == ("Four.", CALLS)


def test_a_thought_is_one_block_with_its_seal_before_the_words() -> None:
    raw = frames(delta(reasoning="Hm. ", reasoning_details=[TEXT]), delta(content="Four."), delta("stop"), b"[DONE]")
    message = sdk_models.anthropic_message(stream(MESSAGES, CHAT, raw, max_tokens=9))
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].thinking == "Hm. "


@pytest.mark.parametrize("client", [MESSAGES, RESPONSES])
def test_details_that_come_last_of_all_are_not_lost(client: Any) -> None:
    raw = frames(delta(content="Four."), delta(reasoning_details=[HIDDEN]), delta("stop"), b"[DONE]")
    assert sent_back(client, stream(client, CHAT, raw, **ASK[client]), is_stream=True)["reasoning_details"] == [HIDDEN]
    raw = frames(delta(content="Four."), delta(reasoning_details=[HIDDEN]), b"[DONE]")
    assert sent_back(client, stream(client, CHAT, raw, **ASK[client]), is_stream=True)["reasoning_details"] == [HIDDEN]


@pytest.mark.parametrize("details", [None, [], {}, "x", [1], [None], [[]]])
def test_details_of_another_shape_end_no_answer(details: Any) -> None:
    message = msgspec.json.decode(whole(MESSAGES, CHAT, answer(reasoning_details=details), max_tokens=9))
    assert message["content"][-1] == {"type": "text", "text": "Four."}


def test_details_go_to_no_other_maker_and_a_spoilt_seal_to_nobody() -> None:
    message = msgspec.json.decode(whole(MESSAGES, CHAT, answer(TEXT), max_tokens=9))
    turns = [*HI, {"role": "assistant", "content": message["content"]}, *HI]
    for target in (RESPONSES, OLLAMA):
        body, dropped = request(MESSAGES, target, max_tokens=9, messages=turns)
        assert b"SIG==" not in msgspec.json.encode(body)
        assert dropped == ["thinking"]
    block = {**message["content"][0], "signature": message["content"][0]["signature"][:-3]}
    turns[1] = {"role": "assistant", "content": [block, *message["content"][1:]]}
    body, dropped = request(MESSAGES, CHAT, max_tokens=9, messages=turns)
    assert body["messages"][1] == {"role": "assistant", "content": "Four."}
    assert dropped == ["thinking"]


def test_ollamas_clients_get_the_words_of_the_thought() -> None:
    raw = frames(delta(reasoning_details=[TEXT]), delta(content="Four."), delta("stop"), b"[DONE]")
    told = [msgspec.json.decode(line)["message"] for line in stream(OLLAMA, CHAT, raw).splitlines()]
    assert "".join(each.get("thinking", "") for each in told) == "Hm. "
