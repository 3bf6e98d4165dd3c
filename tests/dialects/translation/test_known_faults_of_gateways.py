"""What users of gateways told in the last year, with the number of the thread: each as the fact that it is right here.

Covers: `anthropic.request_reader`, `anthropic.request_writer`, `ollama.request_writer`, `openai_chat.answer_reader`,
`openai_responses.answer_reader`, `openai_responses.answer_writer`.
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
    RUN,
    call,
    delta,
    frames,
    named,
    request,
    stream,
    translation_of,
)

ASK = {"max_tokens": 9}
HEADER = "x-anthropic-billing-header: cc_version=2.1.177.01c; cc_entrypoint=sdk-cli; cch={};"


def _with_system(target: Any, system: Any) -> tuple[bytes, str]:
    translation = translation_of(MESSAGES, target, **ASK, system=system)
    return translation.body, dict(translation.headers).get("x-masa-dropped", "")


@pytest.mark.parametrize("target", [CHAT, RESPONSES, OLLAMA, RUN])
def test_the_header_in_claude_codes_prompt_does_not_keep_a_server_from_finding_it_in_its_cache(target: Any) -> None:
    """claude-code 68900, vLLM 36829, claude-code-router 1343: it differs with each request, before all else."""
    found = [
        _with_system(target, [{"type": "text", "text": HEADER.format(nonce)}, {"type": "text", "text": "You are"}])
        for nonce in ("36ee5", "0aaa9")
    ]
    assert found[0] == found[1]
    assert found[0][1] == "system.x-anthropic-billing-header"
    assert found[0][0] == _with_system(target, "You are")[0]
    assert found[0][0] == _with_system(target, HEADER.format("1") + "\nYou are")[0]


def test_a_prompt_that_only_speaks_of_such_a_header_is_left_as_it_is() -> None:
    body, dropped = request(MESSAGES, CHAT, **ASK, system="Strip x-anthropic-billing-header: it differs.", messages=HI)
    assert body["messages"][0]["content"] == "Strip x-anthropic-billing-header: it differs."
    assert not dropped


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens_details": {"cached_tokens": 60}},
        {"prompt_cache_hit_tokens": 60, "prompt_cache_miss_tokens": 40},  # DeepSeek
        {"cached_tokens": 60},  # Moonshot
    ],
)
@pytest.mark.parametrize("is_inside", [True, False])
def test_cached_tokens_are_counted_wherever_a_server_tells_them(usage: dict[str, Any], is_inside: bool) -> None:  # noqa: FBT001 - a row of a table
    told = {"prompt_tokens": 100, "completion_tokens": 2, **usage}
    last = delta("stop")
    if is_inside:  # Moonshot tells what was used with the choice
        last["choices"][0]["usage"] = told
    else:
        last["usage"] = told
    message = sdk_models.anthropic_message(stream(MESSAGES, CHAT, frames(delta(content="hi"), last, b"[DONE]"), **ASK))
    counts = message.usage
    assert (counts.input_tokens, counts.cache_read_input_tokens, counts.output_tokens) == (40, 60, 2)


def test_the_beginning_of_an_answer_that_is_given_does_not_end_with_a_space_at_anthropic() -> None:
    """It refuses one: vercel/ai 2124, crewAI 4430, opencode 1295."""
    given = {"role": "assistant", "content": "The answer is: \n"}
    body, _ = request(CHAT, MESSAGES, messages=[*HI, given])
    assert body["messages"][-1]["content"] == "The answer is:"
    body, _ = request(CHAT, MESSAGES, messages=[*HI, {"role": "assistant", "content": " "}])
    assert body["messages"] == HI
    body, _ = request(CHAT, MESSAGES, messages=[*HI, given, {"role": "assistant", "content": " "}])
    assert body["messages"][-1]["content"] == "The answer is:"
    body, _ = request(CHAT, MESSAGES, messages=[*HI, given, *HI])
    assert body["messages"][1]["content"] == "The answer is: \n"


@pytest.mark.parametrize(("model", "think"), [("gpt-oss:20b", "high"), ("llama3.2", None), ("qwen3:4b", None)])
def test_a_level_of_thinking_reaches_ollama_only_where_it_is_not_refused(model: str, think: str | None) -> None:
    """Ollama 12561: `think value "medium" is not supported for this model`, as Codex asks for it each time."""
    body, dropped = request(RESPONSES, OLLAMA, model=model, input="hi", reasoning={"effort": "xhigh"})
    assert (body.get("think"), dropped) == (think, [] if think else ["reasoning"])
    _, dropped = request(MESSAGES, OLLAMA, model=model, **ASK, output_config={"effort": "max"})
    assert dropped == ([] if think else ["output_config.effort"])


# ---- words and thoughts in the midst of a call: no fault that somebody told of, but arguments were lost ----

MIDST = [
    delta(content="a"),
    delta(tool_calls=[call(0, '{"k":', "f", "c1")]),
    delta(content="\n"),
    delta(content="b"),
    delta(content=" "),
    delta(reasoning_content="hm"),
    delta(tool_calls=[call(0, '"v"}')]),
    delta(content="\n"),
    delta(tool_calls=[call(1, '{"k":"w"}', "f", "c2")]),
    delta(content="\n"),
    delta(content="c"),
    delta("tool_calls"),
]
ARGUMENTS = [("c1", {"k": "v"}), ("c2", {"k": "w"})]


def test_words_in_the_midst_of_a_call_cost_responses_none_of_its_arguments() -> None:
    response = sdk_models.response_of(stream(RESPONSES, CHAT, frames(*MIDST, b"[DONE]"), input="hi"))
    calls = [item for item in response.output if item.type == "function_call"]
    assert [(item.call_id, msgspec.json.decode(item.arguments)) for item in calls] == ARGUMENTS
    assert response.output_text == "a\nb \n\nc"
    assert [item.summary[0].text for item in response.output if item.type == "reasoning"] == ["hm"]


def test_words_in_the_midst_of_a_call_keep_their_spaces_at_anthropic() -> None:
    message = sdk_models.anthropic_message(stream(MESSAGES, CHAT, frames(*MIDST, b"[DONE]"), **ASK))
    assert [(block.id, block.input) for block in message.content if block.type == "tool_use"] == ARGUMENTS
    texts = [block.text for block in message.content if block.type == "text"]
    assert "".join(texts) == "a\nb \nc"  # without the one between two calls
    assert [block.thinking for block in message.content if block.type == "thinking"] == ["hm"]


@pytest.mark.parametrize("told", ["nothing", "added", "done", "other place"])
def test_a_call_that_only_the_last_event_holds_is_made_although_words_came_before(told: str) -> None:
    item = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"k":"v"}'}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}
    place = 5 if told == "other place" else 1
    more = {
        "nothing": [],
        "added": [{"type": "response.output_item.added", "output_index": 1, "item": {**item, "call_id": None, "arguments": ""}}],
        "done": [{"type": "response.output_item.done", "output_index": 1, "item": item}],
        "other place": [{"type": "response.output_item.done", "output_index": place, "item": item}],
    }[told]  # fmt: skip
    raw = named(
        {"type": "response.created", "response": {"id": "resp_1", "model": "m", "status": "in_progress"}},
        {"type": "response.output_text.delta", "output_index": 0, "item_id": "msg_1", "delta": "a"},
        *more,
        {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": [message, item]}},
    )
    answer = sdk_models.anthropic_message(stream(MESSAGES, RESPONSES, raw, **ASK))
    assert [block.type for block in answer.content] == ["text", "tool_use"]
    assert (answer.content[1].input, answer.stop_reason) == ({"k": "v"}, "tool_use")
