"""Sessions of coding agents, in the shape and size in which they are sent: every server's format takes them.

Covers: `cloudflare.request_writer`, `anthropic.request_writer`, `ollama.request_writer`,
`openai_chat.request_writer`, `openai_responses.request_writer`.
"""

import json
from typing import Any

import msgspec
import pytest
from anthropic.types import MessageParam, ToolUnionParam
from ollama._types import ChatRequest
from openai.types.chat import ChatCompletionFunctionToolParam, ChatCompletionMessageParam
from openai.types.responses import FunctionToolParam, ResponseInputItemParam
from pydantic import TypeAdapter

from masa_node.dialects.translation.translator import translate
from tests.dialects.translation.calling import CHAT, MESSAGES, OLLAMA, RESPONSES, RUN
from tests.dialects.translation.test_requests import PNG

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"file_path": {"type": "string", "description": "an absolute path"}, "limit": {"type": "number"}},
    "required": ["file_path"],
    "additionalProperties": False,
}
ROUNDS = 75
CACHED = {"cache_control": {"type": "ephemeral"}}


def claude_round(number: int) -> list[dict[str, Any]]:
    """One turn with two calls beside each other, a thought before them, and a picture in one of the results."""
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    calls = [
        {"type": "tool_use", "id": f"toolu_{number}_{at}", "name": f"tool_{at}", "input": {"file_path": "/x"}}
        for at in (0, 1)
    ]
    results = [
        {
            "type": "tool_result",
            "tool_use_id": f"toolu_{number}_0",
            "content": [{"type": "text", "text": "read"}, picture],
        },
        {
            "type": "tool_result",
            "tool_use_id": f"toolu_{number}_1",
            "content": "<tool_use_error>no</tool_use_error>",
            "is_error": True,
        },
    ]
    thought = {"type": "thinking", "thinking": "Hm.", "signature": f"EpID{number}"}
    return [
        {"role": "user", "content": [{"type": "text", "text": "<system-reminder>r</system-reminder>"}, {"type": "text", "text": "go on", **CACHED}]},
        {"role": "assistant", "content": [thought, {"type": "text", "text": "Reading."}, *calls]},
        {"role": "user", "content": results},
        {"role": "assistant", "content": [{"type": "text", "text": "Done."}]},
    ]  # fmt: skip


CLAUDE_CODE = {
    "model": "m",
    "max_tokens": 32_000,
    "stream": True,
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2"},
        {"type": "text", "text": "You are", **CACHED},
    ],
    "metadata": {"user_id": "user_1_account__session_2"},
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "medium"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "tools": [{"name": f"tool_{number}", "description": "d" * 300, "input_schema": SCHEMA} for number in range(135)],
    "messages": [
        *(message for number in range(ROUNDS) for message in claude_round(number)),
        {"role": "user", "content": "go on"},
    ],
}
CODEX = {
    "model": "m",
    "stream": True,
    "store": False,
    "instructions": "You are Codex.",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "<permissions>"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "<environment_context>"}]},
        *(
            item
            for number in range(ROUNDS)
            for item in (
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go on"}, {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"}]},
                {"type": "reasoning", "id": f"rs_{number}", "summary": [{"type": "summary_text", "text": "Hm."}], "content": None, "encrypted_content": "gAAA"},
                {"type": "function_call", "name": "tool_0", "arguments": '{"file_path":"/x"}', "call_id": f"call_{number}_0"},
                {"type": "custom_tool_call", "status": "completed", "name": "apply_patch", "input": "*** Begin", "call_id": f"call_{number}_1"},
                {"type": "function_call_output", "call_id": f"call_{number}_0", "output": "read"},
                {"type": "custom_tool_call_output", "call_id": f"call_{number}_1", "output": [{"type": "input_text", "text": "done"}]},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Done.", "annotations": []}]},
            )
        ),
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go on"}]},
    ],
    "tools": [
        *({"type": "function", "name": f"tool_{number}", "description": "d", "strict": False, "parameters": SCHEMA} for number in range(20)),
        {"type": "custom", "name": "apply_patch", "description": "p", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
        {"type": "web_search", "external_web_access": False},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0199",
    "text": {"verbosity": "low"},
    "client_metadata": {"a": "b"},
}  # fmt: skip
AGENTS = {"claude code": (MESSAGES, CLAUDE_CODE), "codex": (RESPONSES, CODEX)}


def takes(kind: Any, values: list[Any]) -> None:
    """The SDK's own type of a request takes each of these."""
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    for value in values:
        adapter.validate_python(value)


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("target", [CHAT, MESSAGES, OLLAMA, RESPONSES, RUN])
def test_a_long_session_is_taken_by_every_server(agent: str, target: Any) -> None:
    source, asked = AGENTS[agent]
    if source is target:
        return
    translation = translate(msgspec.json.encode(asked), "m", source, target)
    body = msgspec.json.decode(translation.body)
    match target:
        case _ if target is CHAT:
            takes(ChatCompletionMessageParam, body["messages"])
            takes(ChatCompletionFunctionToolParam, body["tools"])
        case _ if target is MESSAGES:
            takes(MessageParam, body["messages"])
            takes(ToolUnionParam, body["tools"])
        case _ if target is OLLAMA:
            ChatRequest.model_validate(body)
        case _ if target is RESPONSES:
            takes(ResponseInputItemParam, body["input"])
            takes(FunctionToolParam, body["tools"])
        case _:
            assert body["messages"]
    text = json.dumps(body)
    ids = [
        f"toolu_{number}_{at}" if agent == "claude code" else f"call_{number}_{at}"
        for number in range(ROUNDS)
        for at in (0, 1)
    ]
    assert all(text.count(f'"{id_}"') == 2 for id_ in ids)
    assert text.count(PNG) == ROUNDS
    assert "Hm." not in text
    dropped = dict(translation.headers)["x-masa-dropped"].split(", ")
    assert {"thinking", "metadata", "context_management", "cache_control"} <= set(dropped) or {
        "reasoning",
        "prompt_cache_key",
        "web_search",
    } <= set(dropped)
