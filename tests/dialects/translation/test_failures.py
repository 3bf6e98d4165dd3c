"""An error keeps its meaning: the caller's SDK does what it would do at a server of its own kind."""

from typing import Any

import msgspec
import pytest

from tests.dialects.translation import sdk_models
from tests.dialects.translation.calling import (
    CHAT,
    MESSAGES,
    NOW,
    OLLAMA,
    RESPONSES,
    RUN,
    delta,
    frames,
    named,
    translation_of,
)

TOO_LONG = {
    CHAT: {"error": {"message": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.", "type": "invalid_request_error", "code": "context_length_exceeded"}},
    MESSAGES: {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9000 tokens > 8192 maximum"}},
    OLLAMA: {"error": "the input length exceeds the context length"},
}  # fmt: skip
LLAMA_CPP = {
    "error": {
        "code": 400,
        "message": "request (9000 tokens) exceeds the available context size (8192 tokens)",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 9000,
        "n_ctx": 8192,
    }
}


def told(caller: Any, target: Any, status: int, body: Any) -> Any:
    translation = translation_of(caller, target, **({"input": "hi"} if caller is RESPONSES else {}))
    return msgspec.json.decode(translation.error(status, msgspec.json.encode(body), "req_1"))


@pytest.mark.parametrize(
    "body",
    [
        TOO_LONG[CHAT],
        LLAMA_CPP,
        {"object": "error", "message": "maximum context length is 8192 tokens, you asked 9000"},
    ],
)
def test_a_prompt_that_is_too_long_reads_so_to_claude_code(body: Any) -> None:
    error = told(MESSAGES, CHAT, 400, body)
    assert error["error"]["type"] == "invalid_request_error"
    assert error["error"]["message"].startswith("prompt is too long: 9000 tokens > 8192 maximum")
    assert (error["type"], error["request_id"]) == ("error", "req_1")


# By their servers; where the two numbers are in it, both reach Anthropic's clients.
SENTENCES = {
    "text-generation-inference": "Input validation error: `inputs` must have less than 8192 tokens. Given: 9000",
    "vLLM": "This model's maximum context length is 8192 tokens. However, your prompt contains at least 9000 input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=9000)",
    "vLLM, of responses": "The engine prompt length 9000 exceeds the max_model_len 8192. Please reduce prompt.",
    "vLLM's engine": "The decoder prompt (length 9000) is longer than the maximum model length of 8192. Make sure that `max_model_len` is no smaller than the number of text tokens.",
    "SGLang": "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
    "SGLang's scheduler": "Input length (9000 tokens) exceeds the maximum allowed length (8192 tokens). Use a shorter input or enable --allow-auto-truncate.",
    "TensorRT-LLM": "Prompt length (9000) exceeds maximum input length (8192).",
    "TabbyAPI": "Prompt length 9000 exceeds the available context size of 8192 tokens",
    "FastChat": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens. Please reduce the length of the messages.",
    "LocalAI": "rpc error: code = Unknown desc = request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it",
}  # fmt: skip
WITHOUT_NUMBERS = {
    "mistral.rs": "Prompt sequence length is greater than 8192, perhaps consider using `truncate_sequence`?",
    "vLLM, by characters": "This model's maximum context length is 2048 tokens. However, your prompt contains 300055 characters (more than 26624 characters, which is the upper bound for 2048 input tokens). Please reduce the length of the input prompt.",
    "Cohere": "too many tokens: size limit exceeded by 713 tokens. Try using shorter or fewer inputs. The limit for this model is 288000 tokens.",
    "Groq": "Please reduce the length of the messages or completion.",
}  # fmt: skip


@pytest.mark.parametrize("status", [400, 413, 422, 500, 0])
@pytest.mark.parametrize("server", [*SENTENCES, *WITHOUT_NUMBERS])
def test_a_prompt_that_is_too_long_is_known_by_each_servers_sentence(server: str, status: int) -> None:
    body = {"message": SENTENCES.get(server) or WITHOUT_NUMBERS[server]}
    begins = "prompt is too long: 9000 tokens > 8192 maximum (" if server in SENTENCES else "prompt is too long ("
    assert told(MESSAGES, CHAT, status, body)["error"]["message"].startswith(begins)
    assert told(RESPONSES, CHAT, status, {"error": body})["error"]["code"] == "context_length_exceeded"


def test_a_prompt_that_is_too_long_for_github_is_known_by_its_code() -> None:
    body = {"error": {"code": "tokens_limit_reached", "message": "Request body too large for gpt-4o model. Max size: 8000 tokens."}}  # fmt: skip
    assert told(MESSAGES, CHAT, 413, body)["error"]["message"].startswith("prompt is too long (Request body")


@pytest.mark.parametrize("target", [MESSAGES, OLLAMA])
@pytest.mark.parametrize("caller", [CHAT, RESPONSES])
def test_a_prompt_that_is_too_long_reads_so_to_openais_clients(caller: Any, target: Any) -> None:
    if caller is target:
        return
    error = told(caller, target, 400, TOO_LONG[target])["error"]
    assert (error["code"], error["type"], error["param"]) == (
        "context_length_exceeded",
        "invalid_request_error",
        "messages",
    )


@pytest.mark.parametrize(
    ("status", "body", "anthropic", "openai"),
    [
        (429, {"error": {"message": "slow", "type": "tokens", "code": "rate_limit_exceeded"}}, "rate_limit_error", "rate_limit_exceeded"),
        (429, {"error": {"message": "pay", "code": "insufficient_quota"}}, "rate_limit_error", "insufficient_quota"),
        (529, {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, "overloaded_error", "server_is_overloaded"),
        (503, {"error": "busy"}, "overloaded_error", "server_is_overloaded"),
        (401, {"error": {"message": "key"}}, "authentication_error", "invalid_api_key"),
        (404, {"error": "model 'x' not found"}, "not_found_error", "model_not_found"),
        (413, {"error": {"message": "big"}}, "request_too_large", "request_too_large"),
        (500, {"error": {"message": "oh"}}, "api_error", None),
        (400, {"errors": [{"code": 5007, "message": "No such model"}], "success": False}, "invalid_request_error", None),
        (400, "what", "invalid_request_error", None),
    ],
)  # fmt: skip
def test_kinds_of_errors_keep_their_meaning(status: int, body: Any, anthropic: str, openai: str | None) -> None:
    assert told(MESSAGES, CHAT, status, body)["error"]["type"] == anthropic
    assert told(CHAT, MESSAGES, status, body)["error"]["code"] == openai
    assert told(OLLAMA, CHAT, status, body)["error"]
    assert told(RUN, CHAT, status, body)["success"] is False


@pytest.mark.parametrize(
    "body",
    [
        [{"error": {"code": 400, "message": "its own words", "status": "INVALID_ARGUMENT"}}],
        {"detail": [{"loc": ["body"], "msg": "its own words"}]},
        {"msg": "its own words", "code": 400},
        {"error": {"error": {"message": "its own words"}}},
        {"errors": ["its own words"]},
        {"reason": "its own words"},
    ],
    ids=repr,
)
@pytest.mark.parametrize("caller", [CHAT, MESSAGES, OLLAMA, RUN])
def test_a_servers_words_are_told_whatever_shape_it_gives_them(caller: Any, body: Any) -> None:
    target = MESSAGES if caller is CHAT else CHAT
    assert "its own words" in msgspec.json.encode(told(caller, target, 400, body)).decode()


def test_an_error_within_a_stream_ends_it_as_an_error_of_the_callers_format() -> None:
    raw = named(
        {"type": "message_start", "message": {"id": "msg_1", "model": "m"}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}},
    )
    out = _all(CHAT, MESSAGES, raw)
    assert sdk_models.sse(out)[-1][1]["error"]["code"] == "server_is_overloaded"
    assert b"[DONE]" not in out
    broken = frames(delta(content="Hi"), {"error": {"message": "busy", "code": "rate_limit_exceeded"}})
    name, data = sdk_models.sse(_all(MESSAGES, CHAT, broken))[-1]
    assert (name, data["error"]["type"]) == ("error", "rate_limit_error")
    error, failed = sdk_models.responses_events(_all(RESPONSES, CHAT, broken))[-2:]
    assert (error.type, error.code, error.message) == ("error", "rate_limit_exceeded", "busy")
    assert (failed.type, failed.response.status) == ("response.failed", "failed")
    assert (failed.response.error.code, failed.response.error.message) == ("rate_limit_exceeded", "busy")
    assert msgspec.json.decode(_all(OLLAMA, CHAT, broken).splitlines()[-1]) == {"error": "busy"}


def test_a_failed_response_is_an_error() -> None:
    response = {"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "slow"}}
    raw = named(
        {"type": "response.created", "response": {"id": "r"}}, {"type": "response.failed", "response": response}
    )
    assert sdk_models.sse(_all(MESSAGES, RESPONSES, raw))[-1][1]["error"] == {
        "type": "rate_limit_error",
        "message": "slow",
    }


def _all(caller: Any, target: Any, raw: bytes) -> bytes:
    translator = translation_of(caller, target, stream=True, **({"input": "hi"} if caller is RESPONSES else {})).answer(
        "r", NOW
    )
    return translator.feed(raw) + translator.finish()
