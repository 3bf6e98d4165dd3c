"""What single vendors refuse, or say in words of their own, as users of gateways told, with the number of the thread.

Covers: `openai_chat.vendors`, `openai_chat.request_writer`, `ollama.request_writer`, `anthropic.request_writer`,
`cloudflare.request_writer`, `failures`, `formats`, `events`.
"""

import re
from typing import Any

import msgspec
import pytest

from masa_node.chat.errors import BrokenAnswer
from masa_node.dialects.translation.formats import targets_for
from tests.dialects.translation import sdk_models
from tests.dialects.translation.calling import (
    CHAT,
    HI,
    MESSAGES,
    OLLAMA,
    RESPONSES,
    RUN,
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

ASK = {"max_tokens": 9}
LATER = {"role": "system", "content": "Available agents: one."}
SAID = [*HI, {"role": "assistant", "content": "hello"}, {"role": "user", "content": "go"}]


def use(id_: str, name: str = "f") -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": name, "input": {}}


def result(id_: str, content: Any = "4") -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id_, "content": content}


def calling(*ids: str) -> list[dict[str, Any]]:
    """A round of calls and their results, as Claude Code sends it."""
    results = {"role": "user", "content": [result(id_) for id_ in ids]}
    return [*HI, {"role": "assistant", "content": [use(id_) for id_ in ids]}, results]


@pytest.mark.parametrize("target", [CHAT, OLLAMA, RUN])
def test_a_system_text_in_the_midst_is_the_users_where_templates_take_none(target: Any) -> None:
    """Ollama 17774, vLLM 41114, Rapid-MLX 1543, opencode 42909: `System message must be at the beginning.`"""
    turns = [*SAID, LATER, {"role": "assistant", "content": "well"}, *HI]
    body, _ = request(MESSAGES, target, **ASK, model="qwen3.8:27b", system="You are", messages=turns)
    said = [(message["role"], message["content"]) for message in body["messages"]]
    told = [("user", f"go\n\n{LATER['content']}")]
    if target is OLLAMA:  # which puts them together itself
        told = [("user", "go"), ("user", LATER["content"])]
    assert [role for role, _ in said[:3]] == ["system", "user", "assistant"]
    assert said[3:] == [*told, ("assistant", "well"), ("user", "hi")]


def test_openais_own_models_know_a_system_text_in_the_midst() -> None:
    body, _ = request(MESSAGES, CHAT, **ASK, model="gpt-5.2", messages=[*SAID, LATER, *HI])
    assert LATER in body["messages"]


@pytest.mark.parametrize("target", [CHAT, OLLAMA, RUN])
def test_system_texts_at_the_beginning_are_one(target: Any) -> None:
    """Opencode 42909: Qwen 3.8 refuses a second one even there."""
    turns = [{"role": "system", "content": "a"}, {"role": "developer", "content": "b"}, *HI]
    source, body = (RESPONSES, {"input": turns}) if target is CHAT else (CHAT, {"messages": turns})
    assert request(source, target, **body)[0]["messages"] == [{"role": "system", "content": "a\n\nb"}, *HI]


def test_a_tool_that_is_not_strict_does_not_say_so() -> None:
    """llama_index 19121: vLLM refuses the field; Codex sends it with every tool."""
    tool = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
    for strict, sent in ((False, {}), (True, {"strict": True})):
        body, dropped = request(RESPONSES, CHAT, input="hi", tools=[{**tool, "strict": strict}])
        assert body["tools"][0]["function"].items() >= sent.items()
        assert ("strict" in body["tools"][0]["function"], dropped) == (strict, [])


@pytest.mark.parametrize("model", ["deepseek-reasoner", "deepseek-v4-pro", "deepseek-ai/DeepSeek-V4-Flash"])
def test_a_call_that_lost_its_thought_does_not_end_a_session_with_deepseek(model: str) -> None:
    """claude-code-router 1050 and 1378, 9router 355 and 1093: `reasoning_content` must be passed back."""
    body, dropped = request(MESSAGES, CHAT, **ASK, model=model, messages=[*calling("a"), *SAID])
    said = [message for message in body["messages"] if message["role"] == "assistant"]
    assert [message.get("reasoning_content") for message in said] == ["", None]
    assert dropped == []
    body, _ = request(MESSAGES, CHAT, **ASK, model="deepseek-chat", messages=calling("a"))
    assert "reasoning_content" not in body["messages"][1]


def test_ids_of_calls_are_such_as_mistral_takes() -> None:
    """Opencode 1680, gptel 1203, ironclaw 1241: nine letters and digits, and one's own ids stay what they are."""
    turns = calling("toolu_01A", "aB3xK9mP2")
    for model in ("mistral-large-latest", "mistralai/Devstral-Small", "open-mixtral-8x22b", "codestral"):
        body, _ = request(MESSAGES, CHAT, **ASK, model=model, messages=turns)
        ids = [call["id"] for call in body["messages"][1]["tool_calls"]]
        assert ids == [message["tool_call_id"] for message in body["messages"][2:]]
        assert [re.fullmatch(r"[a-zA-Z0-9]{9}", id_) is not None for id_ in ids] == [True, True]
        assert (ids[1], len(set(ids))) == ("aB3xK9mP2", 2)
    body, _ = request(MESSAGES, CHAT, **ASK, model="llama3.2", messages=turns)
    assert body["messages"][1]["tool_calls"][0]["id"] == "toolu_01A"


def roles_alternate(messages: list[dict[str, Any]]) -> bool:
    """What Mistral's and Gemma's templates ask: calls and results do not count, and the others take turns."""
    others = [
        message for message in messages if message["role"] not in ("system", "tool") and "tool_calls" not in message
    ]
    return all((message["role"] == "user") is (at % 2 == 0) for at, message in enumerate(others))


@pytest.mark.parametrize("target", [CHAT, RUN])
def test_what_codex_says_in_several_messages_is_one_where_templates_take_no_second(target: Any) -> None:
    """Of vLLM 6862, lemonade 1420, crush 279: `roles must alternate user/assistant`."""
    said = [
        "env",
        [{"type": "input_text", "text": "do"}],
        [{"type": "input_image", "image_url": "https://x/y.png"}],
        "",
    ]
    body, _ = request(RESPONSES, target, model="gemma-3", input=[{"role": "user", "content": each} for each in said])
    assert [message["role"] for message in body["messages"]] == ["user"]
    parts = body["messages"][0]["content"]
    assert [part.get("text", part["type"]) for part in parts] == ["env", "do", "image_url"]
    body, _ = request(RESPONSES, target, model="gemma-3", input=[*HI, *HI])
    assert body["messages"] == [{"role": "user", "content": "hi\n\nhi"}]
    assert len(request(RESPONSES, CHAT, model="gpt-5.2", input=[*HI, *HI])[0]["messages"]) == 2


@pytest.mark.parametrize("more", [[{"type": "text", "text": "Reminder."}], []])
def test_the_user_speaks_behind_a_result_where_mistral_wants_the_models_words(more: list[dict[str, Any]]) -> None:
    """Zed 37021, crush 279, hermes-agent 20154: `Unexpected role 'user' after role 'tool'`, in every later turn."""
    shown = [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}]
    turns = [*calling("a")[:2], {"role": "user", "content": [result("a", shown if not more else "4"), *more]}]
    for model in ("devstral-medium", "mistralai/Mistral-Small-4"):
        body, _ = request(MESSAGES, CHAT, **ASK, model=model, messages=turns)
        assert [message["role"] for message in body["messages"]] == ["user", "assistant", "tool", "assistant", "user"]
        assert body["messages"][3]["content"]
        assert roles_alternate(body["messages"])
    body, _ = request(MESSAGES, CHAT, **ASK, model="qwen3", messages=turns)
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "tool", "user"]


def test_mistral_gets_no_thoughts_in_a_field_that_it_has_not() -> None:
    """Crush 1590, LiteLLM 30835: `reasoning_content: Extra inputs are not permitted`."""
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "masa.open.shown."}
    turns = [*HI, {"role": "assistant", "content": [thought, {"type": "text", "text": "Four."}]}, *HI]
    body, dropped = request(MESSAGES, CHAT, **ASK, model="magistral-medium-latest", messages=turns)
    assert (body["messages"][1], dropped) == ({"role": "assistant", "content": "Four."}, ["thinking"])
    cut = [*HI, {"role": "assistant", "content": [thought]}, *HI]  # it refuses a message without words as well
    body, _ = request(MESSAGES, CHAT, **ASK, model="magistral-medium-latest", messages=cut)
    assert body["messages"][1]["content"]


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
@pytest.mark.parametrize("source", [MESSAGES, RESPONSES])
def test_a_thought_goes_back_in_the_field_in_which_it_came(source: Any, field: str) -> None:
    """Of bifrost 6949, jan 8136, opencode 48774: Groq's and Cerebras's `property 'reasoning_content' is unsupported`."""
    nothing = {"reasoning": None} if field == "reasoning_content" else {}
    chunks = [delta(**{field: "H"}), delta(**{field: "m."}), delta(content="4", **nothing), delta("stop"), b"[DONE]"]
    message = {"role": "assistant", "content": "4", field: "Hm."}
    answer = {"id": "c", "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
    if source is MESSAGES:
        said: list[Any] = [
            sdk_models.anthropic_message(stream(MESSAGES, CHAT, frames(*chunks), **ASK)).content,
            sdk_models.whole(MESSAGES, whole(MESSAGES, CHAT, answer, **ASK)).content,
        ]
    else:
        said = [
            sdk_models.response_of(stream(RESPONSES, CHAT, frames(*chunks), input="hi")).output,
            sdk_models.whole(RESPONSES, whole(RESPONSES, CHAT, answer, input="hi")).output,
        ]
    for parts in said:
        sent_back = [part.model_dump(exclude_none=True) for part in parts]
        if source is MESSAGES:
            body, dropped = request(
                MESSAGES, CHAT, **ASK, messages=[*HI, {"role": "assistant", "content": sent_back}, *HI]
            )
        else:
            body, dropped = request(RESPONSES, CHAT, input=[*HI, *sent_back, *HI])
        assert (body["messages"][1], dropped) == (message, [])


def test_such_a_thought_loses_nothing_with_ollamas_clients() -> None:
    translator = translation_of(OLLAMA, CHAT, stream=True).answer("r1", 0)
    told = translator.feed(frames(delta(reasoning="Hm."), delta(content="4"), delta("stop"), b"[DONE]"))
    assert [line.message.thinking for line in sdk_models.ollama_lines(told)] == ["Hm.", None, None]
    assert not translator.left_out


def test_gpt_oss_is_asked_as_an_open_model() -> None:
    """Its template passes over a system text in the midst, and it knows three efforts (Ollama 17252)."""
    later = {"output_config": {"effort": "xhigh"}, "messages": [*SAID, LATER]}
    body, _ = request(MESSAGES, CHAT, **ASK, model="openai/gpt-oss-120b", **later)
    assert body["messages"][-1] == {"role": "user", "content": f"go\n\n{LATER['content']}"}
    assert (body["reasoning_effort"], body["max_tokens"]) == ("high", 9)
    body, _ = request(MESSAGES, CHAT, **ASK, model="gpt-5.2", **later)
    assert (body["reasoning_effort"], body["max_completion_tokens"]) == ("xhigh", 9)


def test_results_stand_right_behind_their_calls_whatever_came_between() -> None:
    """cc-switch 7439: `must be followed by tool messages`, of a picture or of a developer's words between two."""
    call = {"type": "function_call", "name": "f", "arguments": "{}"}
    picture = [{"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}]
    out = {"type": "function_call_output"}
    items = [
        *HI, {**call, "call_id": "a"}, {**call, "call_id": "b"}, {**out, "call_id": "a", "output": picture},
        {"type": "message", "role": "developer", "content": "resized"}, {**out, "call_id": "b", "output": "2"}, *HI,
    ]  # fmt: skip
    body, _ = request(RESPONSES, CHAT, input=items)
    told = [(message["role"], message.get("tool_call_id")) for message in body["messages"]]
    assert told == [("user", None), ("assistant", None), ("tool", "a"), ("tool", "b"), ("user", None)]
    assert [part["type"] for part in body["messages"][4]["content"]] == ["text", "image_url", "text", "text"]


def test_pictures_of_ollamas_clients_do_not_part_results() -> None:
    calls = [{"id": id_, "function": {"name": "f", "arguments": {}}} for id_ in ("a", "b")]
    turns = [
        *HI, {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "a", "content": "1", "images": [PNG]},
        {"role": "tool", "tool_call_id": "b", "content": "2", "images": [PNG]},
    ]  # fmt: skip
    body, _ = request(OLLAMA, CHAT, messages=turns)
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "tool", "tool", "user"]


@pytest.mark.parametrize(("last", "said"), [("system", "Now sum up."), ("developer", "Now sum up."), ("user", "")])
def test_whoever_speaks_behind_the_model_is_answered_by_anthropic(last: str, said: str) -> None:
    """Else the model's last words would be the last of the request, and it would go on with them."""
    turns = [{"role": "system", "content": "s"}, *HI, {"role": "assistant", "content": "hello "}]
    body, _ = request(CHAT, MESSAGES, messages=[*turns, {"role": last, "content": said}])
    assert body["messages"][1:] == [
        {"role": "assistant", "content": "hello "},
        {"role": "user", "content": said or "."},
    ]
    assert body["system"] == "s"
    body, _ = request(CHAT, MESSAGES, messages=turns)
    assert body["messages"][1:] == [{"role": "assistant", "content": "hello"}]


CHOSEN = {"temperature": 0.2, "top_k": 3}


@pytest.mark.parametrize(
    "model", ["claude-opus-4-7", "claude-opus-5", "claude-sonnet-5", "anthropic/claude-fable-5", "claude-haiku-4-10"]
)
def test_newer_claudes_are_not_told_how_to_choose_tokens(model: str) -> None:
    """Of pi 7961, models.dev 3961, dust 28308: `temperature is deprecated for this model`."""
    body, dropped = request(CHAT, MESSAGES, model=model, **CHOSEN)
    assert CHOSEN.keys().isdisjoint(body)
    assert dropped == ["temperature", "top_k"]


@pytest.mark.parametrize(
    "model",
    [
        "claude-3-5-sonnet-20241022", "claude-opus-4-6", "claude-sonnet-4-20250514", "claude-haiku-4-5-20251001",
        "claude-opus-4@20250514", "claude-sonnet-4-0", "claude-2.1", "claude-instant-1", "qwen3", "glm-5",
    ],
)  # fmt: skip
def test_other_models_are(model: str) -> None:
    body, dropped = request(CHAT, MESSAGES, model=model, **CHOSEN)
    assert (body.items() >= CHOSEN.items(), dropped) == (True, [])


def test_codex_sees_a_summary_of_what_claude_thinks() -> None:
    """Of claude-code 49268, stdapi.ai 285: models after 4.6 give only a signature unless they are asked."""
    asked = {"input": "hi", "model": "claude-opus-5"}
    body, dropped = request(RESPONSES, MESSAGES, **asked, reasoning={"effort": "high", "summary": "auto"})
    assert (body["thinking"], dropped) == ({"type": "adaptive", "display": "summarized"}, [])
    body, _ = request(RESPONSES, MESSAGES, **asked, reasoning={"effort": "high"})
    assert body["thinking"] == {"type": "adaptive"}
    body, _ = request(RESPONSES, MESSAGES, **asked, reasoning={"summary": "auto"})
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert request(RESPONSES, CHAT, **asked, reasoning={"summary": "auto"})[1] == ["reasoning.summary"]


@pytest.mark.parametrize(
    ("model", "effort", "is_told"),
    [
        ("o3-mini", None, False), ("gpt-5", None, False), ("openai/gpt-5-mini", None, False), ("gpt-5-codex", None, False),
        ("gpt-5-chat-latest", None, True), ("gpt-5.2", None, True), ("gpt-5.2", "none", True), ("gpt-5.2", "low", False),
        ("gpt-5.6-sol", None, False), ("gpt-6", "none", True), ("gpt-4o", None, True), ("gpt-oss-20b", "high", True),
        ("qwen3", "low", True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("target", [CHAT, RESPONSES])
def test_openais_models_that_think_are_not_told_how_to_choose_tokens(
    target: Any, model: str, effort: str | None, *, is_told: bool
) -> None:
    """LangChain 35423, ragas 2418, vane 1173: `'temperature' does not support 0.2 with this model`."""
    more = {} if effort is None else {"think": effort}
    body, dropped = request(OLLAMA, target, model=model, options={"temperature": 0.2, "top_p": 0.5}, **more)
    assert ({"temperature", "top_p"} <= body.keys(), {"temperature", "top_p"}.isdisjoint(body)) == (
        is_told,
        not is_told,
    )
    assert dropped == ([] if is_told else ["options.temperature", "options.top_p"])


def test_ollamas_clients_see_what_claude_thinks_where_they_ask_it_to() -> None:
    for think in (True, "high"):
        body, _ = request(OLLAMA, MESSAGES, model="claude-opus-5", think=think)
        assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert "thinking" not in request(OLLAMA, MESSAGES, model="claude-opus-5", think=False)[0]


def test_two_results_of_one_call_are_one() -> None:
    """LiteLLM 16711: `each tool_use must have a single result`."""
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tool = {"role": "tool", "tool_call_id": "a"}
    turns = [
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {**tool, "content": "1"},
        {**tool, "content": "2"},
    ]
    body, _ = request(CHAT, MESSAGES, messages=[*turns, *HI])
    texts = [{"type": "text", "text": "1"}, {"type": "text", "text": "2"}]
    assert body["messages"][2]["content"] == [result("a", texts), {"type": "text", "text": "hi"}]
    twice = [*calling("a")[:2], {"role": "user", "content": [result("a", "1"), result("a", "2")]}]
    body, _ = request(MESSAGES, CHAT, **ASK, messages=twice)
    assert body["messages"][2:] == [{**tool, "content": "1\n2"}]


def test_a_conversation_that_an_answer_begins_has_a_user_before_it_at_anthropic() -> None:
    """SillyTavern and others begin with a greeting: `first message must use the "user" role`."""
    greeting = {"role": "assistant", "content": "Welcome!"}
    body, _ = request(CHAT, MESSAGES, messages=[{"role": "system", "content": "s"}, greeting, *HI])
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][0]["content"]


def test_tools_that_a_search_has_found_are_named_to_the_model() -> None:
    """Claude Code's search of tools answers with references: without their names, its result would be empty."""
    found = [{"type": "tool_reference", "tool_name": "mcp__a__b"}, {"type": "tool_reference", "tool_name": "mcp__c"}]
    turns = [*calling("a")[:2], {"role": "user", "content": [result("a", found)]}]
    body, dropped = request(MESSAGES, CHAT, **ASK, messages=turns)
    assert body["messages"][2] == {"role": "tool", "tool_call_id": "a", "content": "mcp__a__b\nmcp__c"}
    assert dropped == []


def test_a_model_of_cloudflares_that_waits_for_it_is_told_that_it_may_call() -> None:
    """cloudflare/ai 404: mistral-small calls no tool where `tool_choice` is not given."""
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert request(CHAT, RUN, tools=tools, tool_choice="auto")[0]["tool_choice"] == "auto"
    assert "tool_choice" not in request(CHAT, RUN, tools=tools)[0]


@pytest.mark.parametrize("choice", ["auto", "none"])
@pytest.mark.parametrize("target", [CHAT, MESSAGES, OLLAMA, RUN])
def test_a_choice_among_no_tools_is_not_sent(target: Any, choice: str) -> None:
    """cockpit-tools 1727: Codex compacts so, and xAI answers `no tools were specified`, again and again."""
    body, _ = request(RESPONSES, target, input="hi", tool_choice=choice, parallel_tool_calls=True, tools=[])
    assert {"tool_choice", "parallel_tool_calls", "tools"}.isdisjoint(body)


@pytest.mark.parametrize(
    "message",
    [
        # Anthropic, and Copilot without the marks (copilot-api 83)
        "input length and max_tokens exceed context limit: 2000 + 32000 > 16384, decrease input length or max_tokens and try again",
        # OpenAI, and vLLM up to 0.8
        "This model's maximum context length is 16384 tokens. However, you requested 34000 tokens (2000 in the messages, 32000 in the completion). Please reduce the length of the messages or completion.",
        # vLLM
        "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is 16384 tokens and your request has 2000 input tokens (32000 > 16384 - 2000).",
        "This model's maximum context length is 16384 tokens. However, you requested 32000 output tokens and your prompt contains at least 2000 input tokens, for a total of at least 34000 tokens.",
        # SGLang
        "Requested token count exceeds the model's maximum context length of 16384 tokens. You requested a total of 34000 tokens: 2000 tokens from the input messages and 32000 tokens for the completion.",
        # text-generation-inference
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 16384. Given: 2000 `inputs` tokens and 32000 `max_new_tokens`",
    ],
)  # fmt: skip
def test_claude_code_asks_for_less_where_only_its_limit_is_too_large(message: str) -> None:
    """It knows this sentence of Anthropic's and lowers `max_tokens`; told that the prompt is too long, it cuts that."""
    failed = {"error": {"message": message, "type": "BadRequestError", "code": 400}}
    told = translation_of(MESSAGES, CHAT, **ASK).error(400, msgspec.json.encode(failed), "r1")
    error = msgspec.json.decode(told)["error"]
    assert error["message"].startswith("input length and `max_tokens` exceed context limit: 2000 + 32000 > 16384, ")
    assert error["type"] == "invalid_request_error"
    told = translation_of(RESPONSES, CHAT, input="hi").error(400, msgspec.json.encode(failed), "r1")
    assert msgspec.json.decode(told)["error"]["code"] == "context_length_exceeded"


def test_a_prompt_that_is_itself_too_long_is_no_matter_of_the_limit() -> None:
    message = "This model's maximum context length is 16384 tokens. However, you requested 20100 tokens (20000 in the messages, 100 in the completion)."
    told = translation_of(MESSAGES, CHAT, **ASK).error(400, msgspec.json.encode({"error": {"message": message}}), "r1")
    assert msgspec.json.decode(told)["error"]["message"].startswith("prompt is too long: 20000 tokens > 16384 maximum")


@pytest.mark.parametrize("model", ["gpt-5.4", "openai/gpt-5.6-terra", "gpt-6"])
def test_models_that_take_no_tools_in_chat_completions_are_asked_through_responses(model: str) -> None:
    """openai-openapi 541, crush 2913, leviath 333: `Please use /v1/responses instead`."""
    assert targets_for(MESSAGES, model)[0] is RESPONSES
    assert set(targets_for(MESSAGES, model)) == set(targets_for(MESSAGES))
    for other in ("gpt-5.2", "gpt-4o", "gpt-oss-20b", "qwen3", ""):
        assert targets_for(MESSAGES, other)[0] is CHAT


@pytest.mark.parametrize("is_stream", [True, False])
def test_thoughts_of_copilot_come_back_to_it(*, is_stream: bool) -> None:
    """copilot-api 163, 167 and 238: `reasoning_text`, and `reasoning_opaque` which it wants back."""
    said = {"reasoning_text": "Hm.", "reasoning_opaque": "OP"}
    if is_stream:
        chunks = [delta(reasoning_text="H"), delta(reasoning_text="m."), delta(reasoning_opaque="OP")]
        raw = stream(MESSAGES, CHAT, frames(*chunks, delta(content="4"), delta("stop"), b"[DONE]"), **ASK)
        message = sdk_models.anthropic_message(raw)
    else:
        answer = {"id": "c", "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "4", **said}}]}
        message = sdk_models.whole(MESSAGES, whole(MESSAGES, CHAT, answer, **ASK))
    assert [block.type for block in message.content] == ["thinking", "text"]
    content = [block.model_dump(exclude_none=True) for block in message.content]
    body, dropped = request(MESSAGES, CHAT, **ASK, messages=[*HI, {"role": "assistant", "content": content}, *HI])
    assert (body["messages"][1], dropped) == ({"role": "assistant", "content": "4", **said}, [])


def ended(target: Any, reason: Any, **more: Any) -> tuple[bytes, bytes]:
    """An answer of one word that stops for this reason: as a stream, and whole."""
    if target is MESSAGES:
        stop = {"stop_reason": reason}
        block = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "la"}}
        events = named(block, {"type": "message_delta", "delta": stop}, {"type": "message_stop"})
        return events, msgspec.json.encode({"content": [{"type": "text", "text": "la"}], **stop})
    if target is OLLAMA:
        line = {"message": {"content": "la"}, "done": True, "done_reason": reason}
        return lines(line), msgspec.json.encode(line)
    choice = {"index": 0, "finish_reason": reason, **more}
    chunks = frames(delta(content="la"), {"choices": [{"delta": {}, **choice}]}, b"[DONE]")
    return chunks, msgspec.json.encode({"choices": [{"message": {"content": "la"}, **choice}]})


@pytest.mark.parametrize("target", [CHAT, MESSAGES, OLLAMA])
@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        *((word, "length") for word in ("model_length", "model_context_window_exceeded", "MAX_TOKENS")),
        *((word, "content_filter") for word in ("sensitive", "SAFETY", "IMAGE_RECITATION", "refusal")),
        *((word, "stop") for word in ("eos", "end_turn", "STOP")),
    ],
)
def test_why_an_answer_stopped_is_told_whatever_word_a_vendor_has_for_it(
    target: Any, reason: str, expected: str
) -> None:
    """Pi 978 and 1509, genkit 6259, inspect_ai 514, Vibe-Trading 308: all were a good end."""
    streamed, body = ended(target, reason)
    caller = RESPONSES if target is CHAT else CHAT
    said = {"length": "max_output_tokens"}.get(expected, expected) if target is CHAT else expected
    given = translation_of(caller, target).answer("r1", 1).whole(body)
    if caller is CHAT:
        assert msgspec.json.decode(given)["choices"][0]["finish_reason"] == said
        assert b'"finish_reason":"%b"' % said.encode() in stream(CHAT, target, streamed)
    else:
        details = msgspec.json.decode(given)["incomplete_details"]
        assert (details or {"reason": "stop"})["reason"] == said
        assert (b'"incomplete_details":{"reason":"%b"}' % said.encode() in stream(caller, target, streamed)) is bool(
            details
        )


@pytest.mark.parametrize("target", [CHAT, MESSAGES, OLLAMA])
@pytest.mark.parametrize("reason", ["error", "network_error", "insufficient_system_resource", "abort"])
def test_an_answer_that_broke_off_is_no_good_one(target: Any, reason: str) -> None:
    """Houston 1211, bifrost 5425: the reason is all that tells of it, beside the words that came."""
    streamed, body = ended(target, reason)
    caller = MESSAGES if target is not MESSAGES else CHAT
    told = stream(caller, target, streamed, **ASK)
    assert (b"la" in told, reason.encode() in told, b"message_stop" in told, b"[DONE]" in told) == (
        True,
        True,
        False,
        False,
    )
    with pytest.raises(BrokenAnswer, match=f"`{reason}`"):
        translation_of(caller, target, **ASK).answer("r1", 1).whole(body)


@pytest.mark.parametrize("reason", ["error", {"type": "abort"}, "function_call_filter: MALFORMED_FUNCTION_CALL"])
def test_what_a_choice_tells_of_its_error_is_told(reason: Any) -> None:
    """Genkit 6259: OpenRouter has committed a 200 when a provider fails, and puts the error into the choice."""
    streamed, body = ended(CHAT, reason, error={"code": 502, "message": "Provider died"})
    assert b'"message":"Provider died"' in stream(MESSAGES, CHAT, streamed, **ASK)
    with pytest.raises(BrokenAnswer, match="Provider died"):
        translation_of(MESSAGES, CHAT, **ASK).answer("r1", 1).whole(body)


def test_an_error_beside_a_good_end_is_none() -> None:
    streamed, _ = ended(CHAT, "stop", error={"code": 502, "message": "Provider died"})
    assert b"message_stop" in stream(MESSAGES, CHAT, streamed, **ASK)


def test_one_answer_is_one_though_its_pieces_are_counted() -> None:
    """Foundry-Local 263: each chunk has the next index, and all but the first word was lost."""
    counted = [{**delta(content=word)["choices"][0], "index": at} for at, word in enumerate(("la", "le", "lu"))]
    last = {**delta("stop")["choices"][0], "index": 3}
    raw = stream(MESSAGES, CHAT, frames(*({"choices": [each]} for each in (*counted, last)), b"[DONE]"), **ASK)
    message = sdk_models.anthropic_message(raw)
    assert [block.model_dump()["text"] for block in message.content] == ["lalelu"]


@pytest.mark.parametrize("order", [1, -1])
def test_words_and_calls_in_choices_of_their_own_are_one_answer(order: int) -> None:
    """copilot-api: so Copilot answers for Claude, and the calls were lost."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    choices = [
        {"index": 0, "finish_reason": "stop", "message": {"content": "la"}},
        {"index": 1, "finish_reason": "tool_calls", "message": {"content": None, "tool_calls": [call]}},
    ][::order]
    message = sdk_models.whole(MESSAGES, whole(MESSAGES, CHAT, {"choices": choices}, **ASK))
    assert sorted(block.type for block in message.content) == ["text", "tool_use"]
    assert message.stop_reason == "tool_use"


@pytest.mark.parametrize("reason", ["null", "", False])
def test_a_word_for_no_reason_ends_nothing(reason: Any) -> None:
    """AIShell 350 and ai00_server 90: `"null"` with each piece, which made a block of each word."""
    pieces = [delta(content=word) for word in ("la", "le")]
    for piece in pieces:
        piece["choices"][0]["finish_reason"] = reason
    message = sdk_models.anthropic_message(stream(MESSAGES, CHAT, frames(*pieces, delta("length"), b"[DONE]"), **ASK))
    assert ([block.model_dump()["text"] for block in message.content], message.stop_reason) == (["lale"], "max_tokens")


@pytest.mark.parametrize("is_stream", [True, False])
def test_thoughts_of_databricks_are_thoughts(*, is_stream: bool) -> None:
    """LiteLLM 36931, any-llm 281: a part of the content, which was lost."""
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm.", "signature": "S"}]}
    said = [thought, {"type": "text", "text": "4"}]
    if is_stream:
        chunks = [delta(content=[thought]), delta(content=[said[1]]), delta("stop")]
        message = sdk_models.anthropic_message(stream(MESSAGES, CHAT, frames(*chunks, b"[DONE]"), **ASK))
    else:
        answer = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": said}}]}
        message = sdk_models.whole(MESSAGES, whole(MESSAGES, CHAT, answer, **ASK))
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].thinking == "Hm."


def test_a_heartbeat_in_the_shape_of_a_chunk_names_no_model() -> None:
    """OMLX 1478: each stream began with one, whose model clients were told."""
    beat = {**delta(content=""), "id": "chatcmpl-keepalive", "model": "keepalive"}
    raw = frames(beat, delta(content="hi"), delta("stop"), b"[DONE]")
    message = sdk_models.anthropic_message(stream(MESSAGES, CHAT, raw, **ASK))
    assert (message.model, message.content[0].text) == ("m", "hi")
