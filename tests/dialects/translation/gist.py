"""What an answer says, whatever its format: for comparing the same answer in two of them."""

from typing import Any, NamedTuple

import msgspec

from masa_node.chat.request import Endpoint
from tests.dialects.translation import sdk_models


class Gist(NamedTuple):
    """Visible text, thought, calls (name and arguments), whether it was cut by length, tokens in and out."""

    text: str
    thought: str
    calls: list[tuple[str, Any]]
    reason: str
    tokens: tuple[int, int] | None


_LENGTH = frozenset({"length", "max_tokens", "max_output_tokens", "MAX_TOKENS"})


def _reason(word: str | None, *, has_calls: bool) -> str:
    return "length" if word in _LENGTH else "tools" if has_calls else "end"


def of_whole(endpoint: Endpoint, body: bytes) -> Gist:
    """Of a complete body."""
    answer = sdk_models.whole(endpoint, body)
    match endpoint:
        case Endpoint.OPENAI_CHAT:
            return _of_chat(answer)
        case Endpoint.ANTHROPIC_MESSAGES:
            return _of_message(answer)
        case Endpoint.OPENAI_RESPONSES:
            return _of_response(answer)
        case Endpoint.OLLAMA_CHAT:
            return _of_lines([answer])
        case Endpoint.GEMINI_GENERATE | Endpoint.GEMINI_STREAM:
            return _of_chunks_of_gemini([answer])
        case _:
            return _of_run(answer["result"])


def of_stream(endpoint: Endpoint, stream: bytes) -> Gist:
    """Of a stream."""
    match endpoint:
        case Endpoint.OPENAI_CHAT:
            return _of_chunks(sdk_models.chat_chunks(stream))
        case Endpoint.ANTHROPIC_MESSAGES:
            return _of_message(sdk_models.anthropic_message(stream))
        case Endpoint.OPENAI_RESPONSES:
            return _of_response(sdk_models.response_of(stream))
        case Endpoint.OLLAMA_CHAT:
            return _of_lines(sdk_models.ollama_lines(stream))
        case Endpoint.GEMINI_GENERATE | Endpoint.GEMINI_STREAM:
            return _of_chunks_of_gemini(sdk_models.gemini_chunks(stream))
        case _:
            return _of_run_stream(stream)


def _of_chat(answer: Any) -> Gist:
    message = answer.choices[0].message
    calls = [(call.function.name, msgspec.json.decode(call.function.arguments)) for call in message.tool_calls or ()]
    tokens = (answer.usage.prompt_tokens, answer.usage.completion_tokens) if answer.usage else None
    thought = (message.model_extra or {}).get("reasoning_content") or ""
    reason = answer.choices[0].finish_reason
    assert (reason == "tool_calls") == bool(calls) or reason == "length"
    return Gist(message.content or "", thought, calls, _reason(reason, has_calls=bool(calls)), tokens)


def _of_chunks(chunks: list[Any]) -> Gist:
    text, thought, tokens, reason = "", "", None, None
    calls: dict[int, list[Any]] = {}
    for chunk in chunks:
        if chunk.usage:
            tokens = (chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
        for choice in chunk.choices:
            text += choice.delta.content or ""
            thought += (choice.delta.model_extra or {}).get("reasoning_content") or ""
            reason = choice.finish_reason or reason
            for call in choice.delta.tool_calls or ():
                known = calls.setdefault(call.index, ["", ""])
                known[0] += call.function.name or ""
                known[1] += call.function.arguments or ""
    read = [(name, msgspec.json.decode(arguments or "{}")) for name, arguments in calls.values()]
    return Gist(text, thought, read, _reason(reason, has_calls=bool(read)), tokens)


def _of_message(message: Any) -> Gist:
    text = "".join(block.text for block in message.content if block.type == "text")
    thought = "".join(block.thinking for block in message.content if block.type == "thinking")
    calls = [(block.name, block.input) for block in message.content if block.type == "tool_use"]
    assert (message.stop_reason == "tool_use") == bool(calls) or message.stop_reason == "max_tokens"
    tokens = (message.usage.input_tokens, message.usage.output_tokens)
    return Gist(text, thought, calls, _reason(message.stop_reason, has_calls=bool(calls)), tokens)


def _of_response(response: Any) -> Gist:
    thought = "".join(part.text for item in response.output if item.type == "reasoning" for part in item.summary)
    calls = [
        (item.name, msgspec.json.decode(item.arguments)) for item in response.output if item.type == "function_call"
    ]
    cut = response.incomplete_details.reason if response.incomplete_details else None
    tokens = (response.usage.input_tokens, response.usage.output_tokens)
    return Gist(response.output_text, thought, calls, _reason(cut, has_calls=bool(calls)), tokens)


def _of_lines(lines: list[Any]) -> Gist:
    text = "".join(line.message.content or "" for line in lines)
    thought = "".join(line.message.thinking or "" for line in lines)
    calls = [
        (call.function.name, dict(call.function.arguments)) for line in lines for call in line.message.tool_calls or ()
    ]
    last = lines[-1]
    tokens = (last.prompt_eval_count, last.eval_count) if last.eval_count is not None else None
    return Gist(text, thought, calls, _reason(last.done_reason, has_calls=bool(calls)), tokens)


def _of_chunks_of_gemini(chunks: list[Any]) -> Gist:
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
    calls = [(part.function_call.name, part.function_call.args) for part in parts if part.function_call]
    text = "".join(part.text or "" for part in parts if not part.thought)
    thought = "".join(part.text or "" for part in parts if part.thought)
    used, reason = chunks[-1].usage_metadata, chunks[-1].candidates[0].finish_reason
    tokens = (used.prompt_token_count, used.candidates_token_count) if used.candidates_token_count is not None else None
    return Gist(text, thought, calls, _reason(reason.value, has_calls=bool(calls)), tokens)


def _of_run(result: dict[str, Any]) -> Gist:
    calls = [(call["name"], call["arguments"]) for call in result.get("tool_calls", ())]
    usage = result.get("usage")
    tokens = (usage["prompt_tokens"], usage["completion_tokens"]) if usage else None
    return Gist(result["response"] or "", "", calls, _reason(None, has_calls=bool(calls)), tokens)


def _of_run_stream(stream: bytes) -> Gist:
    events = [data for _, data in sdk_models.sse(stream)]
    assert events.pop() == "[DONE]"
    merged: dict[str, Any] = {"response": "".join(event.get("response", "") for event in events)}
    merged["tool_calls"] = [call for event in events for call in event.get("tool_calls", ())]
    merged["usage"] = next((event["usage"] for event in events if "usage" in event), None)
    return _of_run(merged)
