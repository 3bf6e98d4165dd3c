"""What other layers of this kind got wrong, as their trackers tell: each as the fact that it is right here.

Covers: `losses`, `wire`, `anthropic.body`, `ollama.body`, `openai_chat.body`, `openai_responses.body`,
`openai_responses.items`.
"""

from typing import Any

import msgspec
import pytest

from masa_node.chat.errors import NotTranslatable
from masa_node.dialects.translation.translator import translate
from tests.dialects.translation.calling import (
    CHAT,
    GENERATE,
    HI,
    MESSAGES,
    OLLAMA,
    RESPONSES,
    RUN,
    request,
    translation_of,
)
from tests.dialects.translation.test_requests import PNG

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOLS = [{"type": "function", "function": {"name": "weather", "description": "w", "parameters": SCHEMA}}]
MESSAGES_TOOLS = [{"name": "weather", "description": "w", "input_schema": SCHEMA}]


def chat_call(id_: str, name: str = "weather", arguments: str = '{"city":"Rome"}') -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_results_of_parallel_calls_are_one_message_at_anthropic() -> None:
    body, _ = request(
        CHAT,
        MESSAGES,
        tools=CHAT_TOOLS,
        messages=[
            *HI,
            {"role": "assistant", "content": None, "tool_calls": [chat_call("call_a"), chat_call("call_b")]},
            {"role": "tool", "tool_call_id": "call_a", "content": "sun"},
            {"role": "tool", "tool_call_id": "call_b", "content": "rain"},
            {"role": "user", "content": "so?"},
        ],
    )
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert [block["id"] for block in body["messages"][1]["content"]] == ["call_a", "call_b"]
    assert body["messages"][1]["content"][0]["input"] == {"city": "Rome"}
    assert body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "call_a", "content": "sun"},
        {"type": "tool_result", "tool_use_id": "call_b", "content": "rain"},
        {"type": "text", "text": "so?"},
    ]


def test_each_result_of_anthropic_is_a_message_of_its_own_before_the_users_words() -> None:
    body, _ = request(
        MESSAGES,
        CHAT,
        max_tokens=9,
        tools=MESSAGES_TOOLS,
        messages=[
            *HI,
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Looking."},
                    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}},
                    {"type": "tool_use", "id": "toolu_2", "name": "weather", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sun"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_2",
                        "content": [{"type": "text", "text": "no city"}],
                        "is_error": True,
                    },
                    {"type": "text", "text": "so?"},
                ],
            },
        ],
    )
    assert body["messages"][1] == {
        "role": "assistant",
        "content": "Looking.",
        "tool_calls": [chat_call("toolu_1"), chat_call("toolu_2", arguments="{}")],
    }
    assert body["messages"][2:] == [
        {"role": "tool", "tool_call_id": "toolu_1", "content": "sun"},
        {"role": "tool", "tool_call_id": "toolu_2", "content": "Error: no city"},
        {"role": "user", "content": "so?"},
    ]


def test_a_picture_in_a_result_reaches_a_chat_model_behind_the_results() -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    messages = [
        *HI,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "shot", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [picture]}]},
    ]
    body, _ = request(MESSAGES, CHAT, max_tokens=9, messages=messages)
    assert body["messages"][-2] == {"role": "tool", "tool_call_id": "t1", "content": ""}
    assert body["messages"][-1]["content"][1] == {
        "type": "image_url",
        "image_url": {"url": f"data:image/png;base64,{PNG}"},
    }
    ollama, _ = request(MESSAGES, OLLAMA, max_tokens=9, messages=messages)
    assert ollama["messages"][-1] == {
        "role": "tool",
        "content": "",
        "images": [PNG],
        "tool_name": "shot",
        "tool_call_id": "t1",
    }


def test_results_of_parallel_calls_name_their_tools_at_ollama() -> None:
    body, _ = request(
        CHAT,
        OLLAMA,
        messages=[
            *HI,
            {"role": "assistant", "content": "", "tool_calls": [chat_call("a", "one"), chat_call("b", "two")]},
            {"role": "tool", "tool_call_id": "b", "content": "2"},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
        ],
    )
    assert [(each["tool_name"], each["tool_call_id"], each["content"]) for each in body["messages"][2:]] == [
        ("one", "a", "1"),
        ("two", "b", "2"),
    ]
    assert body["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"city": "Rome"}


def test_ollamas_calls_without_ids_get_some_that_their_results_share() -> None:
    body, _ = request(
        OLLAMA,
        CHAT,
        messages=[
            *HI,
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"function": {"name": "one", "arguments": {"n": 1}}},
                    {"function": {"name": "two", "arguments": {}}},
                ],
            },
            {"role": "tool", "content": "second", "tool_name": "two"},
            {"role": "tool", "content": "first", "tool_name": "one"},
        ],
    )
    one, two = body["messages"][1]["tool_calls"]
    assert one["id"] != two["id"]
    assert (body["messages"][2]["tool_call_id"], body["messages"][3]["tool_call_id"]) == (two["id"], one["id"])


def test_zero_is_not_the_same_as_not_given() -> None:
    body, _ = request(CHAT, MESSAGES, temperature=0, max_tokens=0)
    assert (body["temperature"], body["max_tokens"]) == (0, 0)
    body, _ = request(CHAT, MESSAGES)
    assert "temperature" not in body
    body, _ = request(MESSAGES, OLLAMA, max_tokens=5, temperature=0.0, top_k=0)
    assert body["options"] == {"num_predict": 5, "temperature": 0.0, "top_k": 0}
    body, dropped = request(
        CHAT, OLLAMA, seed=0, presence_penalty=0, frequency_penalty=0.5, stop="END", max_completion_tokens=3
    )
    assert body["options"] == {
        "num_predict": 3,
        "seed": 0,
        "presence_penalty": 0,
        "frequency_penalty": 0.5,
        "stop": ["END"],
    }
    assert dropped == []
    _, dropped = request(CHAT, MESSAGES, seed=0, presence_penalty=0)
    assert dropped == ["seed", "presence_penalty"]


def test_the_limit_of_tokens_has_the_name_that_the_model_takes() -> None:
    assert request(MESSAGES, CHAT, max_tokens=7)[0]["max_tokens"] == 7
    body, _ = request(MESSAGES, CHAT, max_tokens=7, model="gpt-5.2")
    assert body["max_completion_tokens"] == 7
    assert "max_tokens" not in body
    assert request(OLLAMA, CHAT, options={"num_predict": -1})[0].get("max_tokens") is None
    assert request(RESPONSES, MESSAGES, input="hi")[0]["max_tokens"] > 4_000


def test_system_texts_of_every_kind_are_carried() -> None:
    parts = [{"type": "text", "text": "one", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "two"}]
    body, dropped = request(MESSAGES, CHAT, max_tokens=9, system=parts)
    assert body["messages"][0] == {"role": "system", "content": "one\n\ntwo"}
    assert dropped == ["cache_control"]
    body, _ = request(CHAT, MESSAGES, messages=[{"role": "developer", "content": "be brief"}, *HI])
    assert (body["system"], body["messages"]) == ("be brief", HI)
    body, _ = request(CHAT, MESSAGES, messages=[{"role": "system", "content": "only this"}])
    assert body["messages"] == [{"role": "user", "content": "only this"}]
    body, _ = request(
        RESPONSES,
        CHAT,
        instructions="I",
        input=[{"role": "developer", "content": [{"type": "input_text", "text": "D"}]}, *HI],
    )
    assert body["messages"] == [{"role": "system", "content": "I\n\nD"}, *HI]


def test_empty_texts_do_not_reach_anthropic_which_refuses_them() -> None:
    body, _ = request(
        CHAT,
        MESSAGES,
        messages=[
            {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": "", "tool_calls": [chat_call("a", arguments="")]},
            {"role": "tool", "tool_call_id": "a", "content": ""},
        ],
    )
    assert body["messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "weather", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]},
    ]


def test_arguments_that_a_model_left_broken_do_not_end_the_conversation() -> None:
    body, _ = request(
        CHAT,
        MESSAGES,
        messages=[*HI, {"role": "assistant", "content": None, "tool_calls": [chat_call("a", arguments='{"ci')]}],
    )
    assert body["messages"][1]["content"][0]["input"] == {"invalid_json": '{"ci'}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "weather"}}, {"type": "tool", "name": "weather"}),
    ],
)
def test_which_tool_has_to_be_called_is_carried_both_ways(choice: Any, expected: dict[str, Any]) -> None:
    assert request(CHAT, MESSAGES, tools=CHAT_TOOLS, tool_choice=choice)[0]["tool_choice"] == expected
    assert request(MESSAGES, CHAT, max_tokens=9, tools=MESSAGES_TOOLS, tool_choice=expected)[0]["tool_choice"] == choice


def test_calls_beside_each_other_can_be_forbidden() -> None:
    body, _ = request(CHAT, MESSAGES, tools=CHAT_TOOLS, parallel_tool_calls=False)
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    body, _ = request(
        MESSAGES,
        CHAT,
        max_tokens=9,
        tools=MESSAGES_TOOLS,
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
    )
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ("required", False)


def test_only_the_allowed_tools_are_offered() -> None:
    tools = [*CHAT_TOOLS, {"type": "function", "function": {"name": "other"}}]
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "weather"}}]}
    body, _ = request(CHAT, MESSAGES, tools=tools, tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert ([tool["name"] for tool in body["tools"]], body["tool_choice"]) == (["weather"], {"type": "any"})


def test_ollama_is_offered_no_tools_where_none_may_be_called() -> None:
    assert "tools" not in request(CHAT, OLLAMA, tools=CHAT_TOOLS, tool_choice="none")[0]


def test_a_schema_is_carried_by_the_formats_own_field_and_never_by_a_tool() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA, "strict": True}}
    body, _ = request(CHAT, MESSAGES, response_format=form)
    closed = {**SCHEMA, "additionalProperties": False}
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": closed}}
    assert "tools" not in body
    assert request(CHAT, OLLAMA, response_format=form)[0]["format"] == SCHEMA
    assert request(CHAT, RUN, response_format=form)[0]["response_format"] == {
        "type": "json_schema",
        "json_schema": SCHEMA,
    }
    body, _ = request(MESSAGES, CHAT, max_tokens=9, output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    body, _ = request(
        RESPONSES, CHAT, input="hi", text={"format": {"type": "json_schema", "name": "c", "schema": SCHEMA}}
    )
    assert body["response_format"]["json_schema"] == {"name": "c", "schema": SCHEMA}
    assert request(GENERATE, CHAT, prompt="hi", format="json")[0]["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("target", "field", "body"),
    [
        (MESSAGES, "response_format", {"response_format": {"type": "json_object"}}),
        (MESSAGES, "n", {"n": 2}),
        (MESSAGES, "logprobs", {"logprobs": True}),
        (OLLAMA, "n", {"n": 2}),
        (OLLAMA, "tool_choice", {"tools": CHAT_TOOLS, "tool_choice": "required"}),
        (
            OLLAMA,
            "image_url",
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}
                ]
            },
        ),
        (RESPONSES, "stop", {"stop": ["x"]}),
        (MESSAGES, "modalities", {"modalities": ["text", "audio"]}),
        (MESSAGES, "web_search_options", {"web_search_options": {"search_context_size": "low"}}),
        (MESSAGES, "functions", {"functions": [{"name": "f"}]}),
        (
            MESSAGES,
            "messages[].content[].input_audio",
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
        ),
        (
            MESSAGES,
            "file_id",
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
        ),
    ],
)
def test_what_would_make_the_answer_wrong_is_refused_by_name(target: Any, field: str, body: dict[str, Any]) -> None:
    with pytest.raises(NotTranslatable, match="Nothing was sent") as refused:
        request(CHAT, target, **body)
    assert f"`{field}`" in refused.value.message


@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "store", "background", "prompt"])
def test_state_of_responses_is_refused_by_name(field: str) -> None:
    value: Any = {"id": "x"} if field == "prompt" else True if field in ("store", "background") else "resp_1"
    with pytest.raises(NotTranslatable) as refused:
        request(RESPONSES, CHAT, input="hi", **{field: value})
    assert f"`{field}`" in refused.value.message


def test_codex_may_say_that_nothing_is_stored_and_offer_tools_of_openais_own_beside_its_own() -> None:
    body, dropped = request(
        RESPONSES,
        CHAT,
        input=[{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        store=False,
        stream=True,
        include=["reasoning.encrypted_content"],
        prompt_cache_key="k",
        tools=[
            {"type": "function", "name": "shell", "parameters": SCHEMA, "strict": False},
            {"type": "web_search", "external_web_access": False},
            {
                "type": "custom",
                "name": "apply_patch",
                "description": "p",
                "format": {"type": "grammar", "syntax": "lark", "definition": "x"},
            },
        ],
        tool_choice="auto",
        parallel_tool_calls=False,
    )
    assert [tool["function"]["name"] for tool in body["tools"]] == ["shell", "apply_patch"]
    assert body["tools"][1]["function"]["parameters"]["required"] == ["input"]
    assert {"prompt_cache_key", "web_search", "format"} <= set(dropped)
    assert body["stream_options"] == {"include_usage": True}


def test_a_tool_of_the_servers_own_alone_is_refused() -> None:
    with pytest.raises(NotTranslatable, match="web_search_20250305"):
        request(MESSAGES, CHAT, max_tokens=9, tools=[{"type": "web_search_20250305", "name": "web_search"}])


def test_what_openais_own_tools_left_in_earlier_turns_is_left_out_by_name() -> None:
    items = [
        *HI,
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
        {"role": "assistant", "content": "So."},
        *HI,
    ]
    body, dropped = request(RESPONSES, CHAT, input=items)
    assert body["messages"] == [*HI, {"role": "assistant", "content": "So."}, *HI]
    assert "web_search_call" in dropped


def test_numbers_are_read_as_servers_read_them() -> None:
    body, _ = request(CHAT, MESSAGES, max_tokens=4096.0, temperature="0.5", top_k=3.0)
    assert (body["max_tokens"], body["temperature"], body["top_k"]) == (4096, 0.5, 3)
    with pytest.raises(NotTranslatable, match="Nothing was sent"):
        request(CHAT, MESSAGES, max_tokens="many")


def test_an_unknown_field_is_left_out_by_name_whatever_else_is_odd() -> None:
    body, dropped = request(MESSAGES, CHAT, max_tokens=9, brand_new={"a": [1]}, other=1)
    assert (body["max_tokens"], dropped) == (9, ["brand_new", "other"])
    body, dropped = request(MESSAGES, CHAT, max_tokens="9", brand_new=1, thinking={"type": "adaptive", "newer": 1})
    assert (body["max_tokens"], dropped) == (9, ["brand_new", "thinking.newer", "thinking"])


def test_a_model_in_the_path_is_the_model() -> None:
    translation = translate(b'{"messages":[{"role":"user","content":"hi"}]}', "@cf/m", RUN, CHAT)
    assert msgspec.json.decode(translation.body)["model"] == "@cf/m"


def test_nuances_and_unknown_fields_are_left_out_by_name() -> None:
    _, dropped = request(
        CHAT,
        MESSAGES,
        service_tier="flex",
        logit_bias={"1": 2},
        frequency_penalty=0.1,
        user="u",
        chat_template_kwargs={"a": 1},
    )
    assert set(dropped) == {"service_tier", "logit_bias", "frequency_penalty", "user", "chat_template_kwargs"}
    _, dropped = request(OLLAMA, CHAT, keep_alive="5m", options={"num_ctx": 9, "repeat_penalty": 1.1, "odd": 1})
    assert set(dropped) == {"keep_alive", "options.num_ctx", "options.repeat_penalty", "options.odd"}
    _, dropped = request(MESSAGES, CHAT, max_tokens=9, metadata={"user_id": "u"}, service_tier="auto", top_k=3)
    assert set(dropped) == {"metadata", "service_tier", "top_k"}


def test_the_names_of_what_was_left_out_are_bounded_and_fit_into_a_header() -> None:
    _, dropped = request(CHAT, MESSAGES, **{f"odd, {number}\n{'x' * 99}": 1 for number in range(1_000)})
    assert len(dropped) == 25
    assert dropped[-1] == "more"
    assert all(len(name) <= 64 and name.isprintable() for name in dropped)


def test_temperatures_beyond_anthropics_scale_are_its_highest() -> None:
    body, dropped = request(CHAT, MESSAGES, temperature=1.5, top_p=0.9)
    assert (body["temperature"], dropped) == (1, ["top_p", "temperature"])


def test_effort_becomes_thinking_and_thinking_never_breaks_a_turn_of_tools() -> None:
    body, _ = request(CHAT, MESSAGES, model="claude-opus-4-8", reasoning_effort="high")
    assert (body["thinking"], body["output_config"]) == ({"type": "adaptive"}, {"effort": "high"})
    body, _ = request(CHAT, MESSAGES, model="claude-sonnet-4-5", reasoning_effort="low")
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 1_024}
    assert body["max_tokens"] > 1_024
    turn = [
        *HI,
        {"role": "assistant", "tool_calls": [chat_call("a")]},
        {"role": "tool", "tool_call_id": "a", "content": "x"},
    ]
    body, dropped = request(CHAT, MESSAGES, model="claude-sonnet-4-5", reasoning_effort="low", messages=turn)
    assert ("thinking" in body, dropped) == (False, ["reasoning_effort"])
    body, dropped = request(CHAT, MESSAGES, tools=CHAT_TOOLS, tool_choice="required", reasoning_effort="low")
    assert ("thinking" in body, dropped) == (False, ["reasoning_effort"])


def test_a_server_that_does_not_think_is_not_asked_to_by_a_budget() -> None:
    body, dropped = request(MESSAGES, CHAT, max_tokens=9, thinking={"type": "enabled", "budget_tokens": 2_000})
    assert ("reasoning_effort" in body, dropped) == (False, ["thinking"])
    body, _ = request(MESSAGES, CHAT, max_tokens=9, thinking={"type": "adaptive"}, output_config={"effort": "medium"})
    assert body["reasoning_effort"] == "medium"


def test_urls_of_pictures_and_files_are_carried() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
    ]
    body, _ = request(CHAT, MESSAGES, messages=[{"role": "user", "content": parts}])
    assert body["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
            "title": "a.pdf",
        },
    ]
    back, _ = request(MESSAGES, CHAT, max_tokens=9, messages=body["messages"])
    assert back["messages"][0]["content"][1] == parts[1]


def test_numbers_and_order_in_a_schema_are_kept_byte_for_byte() -> None:
    schema = msgspec.Raw(b'{"z":1.0,"a":1e2,"type":"object","maximum":123456789012345678901234567890}')
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    assert bytes(schema) in translation_of(CHAT, MESSAGES, tools=[tool]).body
