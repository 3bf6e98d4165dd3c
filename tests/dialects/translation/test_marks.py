"""Marks of what a server may keep in its cache: Anthropic's own, as OpenRouter and LiteLLM have chat clients give them.

Covers: `openai_chat.request_reader`, `anthropic.request_writer`, `losses`.
"""

from typing import Any

import pytest

from tests.dialects.translation.calling import CHAT, HI, MESSAGES, OLLAMA, RESPONSES, RUN, request

MARK = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
WORDS = {"type": "text", "text": "long"}
MARKED = {**WORDS, **MARK}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USE = {"type": "tool_use", "id": "c1", "name": "f", "input": {}}


def sent(*messages: Any, **more: Any) -> dict[str, Any]:
    body, dropped = request(CHAT, MESSAGES, messages=[*messages, *HI], **more)
    assert dropped == []
    return body


def test_marks_of_a_users_parts_reach_anthropic() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
    body = sent({"role": "user", "content": [MARKED, WORDS, {**picture, **MARK}]})
    content = body["messages"][0]["content"]
    assert content[:2] == [MARKED, WORDS]
    assert content[2] == {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}, **MARK}


def test_a_marked_text_alone_stays_a_block() -> None:
    assert sent({"role": "user", "content": [MARKED]}, {"role": "assistant", "content": "ok"})["messages"][0] == {
        "role": "user",
        "content": [MARKED],
    }


@pytest.mark.parametrize(
    ("content", "more"), [([MARKED], {}), ([WORDS], MARK), ("long", MARK)], ids=["a part", "its message", "plain text"]
)
def test_a_marked_system_text_keeps_its_mark_and_its_place(content: Any, more: Any) -> None:
    system = {"role": "system", "content": content, **more}
    body = sent({"role": "system", "content": "first"}, system, {"role": "developer", "content": "last"})
    assert body["system"] == [{"type": "text", "text": "first"}, MARKED, {"type": "text", "text": "last"}]


def test_system_texts_without_a_mark_are_one_text() -> None:
    assert sent({"role": "system", "content": "one"}, {"role": "system", "content": "two"})["system"] == "one\n\ntwo"


def test_the_mark_of_a_message_is_that_of_its_last_block() -> None:
    assistant = {"role": "assistant", "content": "Well.", "tool_calls": [CALL], **MARK}
    result = {"role": "tool", "tool_call_id": "c1", "content": "4", **MARK}
    said = sent({"role": "user", "content": "go"}, assistant, result)["messages"]
    assert said[1]["content"] == [{"type": "text", "text": "Well."}, {**USE, **MARK}]
    assert said[2]["content"][0] == {"type": "tool_result", "tool_use_id": "c1", "content": "4", **MARK}


def test_the_marks_of_a_result_and_of_a_call_are_theirs() -> None:
    assistant = {"role": "assistant", "content": None, "tool_calls": [{**CALL, **MARK}]}
    result = {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "4", **MARK}]}
    said = sent({"role": "user", "content": "go"}, assistant, result)["messages"]
    assert said[1]["content"] == [{**USE, **MARK}]
    assert said[2]["content"][0] == {"type": "tool_result", "tool_use_id": "c1", "content": "4", **MARK}


@pytest.mark.parametrize("place", ["tool", "function"])
def test_the_mark_of_a_tool_reaches_anthropic(place: str) -> None:
    function = {
        "name": "f",
        "parameters": {"type": "object", "properties": {}},
        **(MARK if place == "function" else {}),
    }
    tool = {"type": "function", "function": function, **(MARK if place == "tool" else {})}
    assert sent(tools=[tool])["tools"][0]["cache_control"] == MARK["cache_control"]


def test_the_mark_of_a_whole_request_reaches_anthropic() -> None:
    assert sent(**MARK)["cache_control"] == MARK["cache_control"]


@pytest.mark.parametrize("target", [OLLAMA, RESPONSES, RUN])
@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": [MARKED]}]},
        {"messages": [{"role": "user", "content": "x", **MARK}]},
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [{**CALL, **MARK}]}]},
        {"messages": HI, "tools": [{"type": "function", "function": {"name": "f"}, **MARK}]},
        {"messages": HI, "tools": [{"type": "function", "function": {"name": "f", **MARK}}]},
        {"messages": HI, **MARK},
    ],
)
def test_marks_are_left_out_by_name_for_servers_that_have_none(target: Any, body: Any) -> None:
    sent_body, dropped = request(CHAT, target, **body)
    assert dropped == ["cache_control"]
    assert "cache_control" not in str(sent_body)


def test_an_empty_mark_is_none() -> None:
    assert sent({"role": "user", "content": [{**WORDS, "cache_control": None}]})["messages"][0]["content"][0] == WORDS
