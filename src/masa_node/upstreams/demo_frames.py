"""How `masa-demo` renders its words in each dialect, whole and streamed. Pure."""

from collections.abc import Generator
from datetime import UTC, datetime

import msgspec

from masa_node.chat.answer import Usage
from masa_node.chat.ask import Door

MODEL = "masa-demo"
CREATED_AT_UNIX_S = 1_700_000_000  # any fixed time: the same answer every time
_ID = "masa-demo-1"
RENDERED_DOORS = frozenset(
    {
        Door.NATIVE,
        Door.OPENAI_CHAT,
        Door.ANTHROPIC_MESSAGES,
        Door.OLLAMA_CHAT,
        Door.OLLAMA_GENERATE,
        Door.CLOUDFLARE_RUN,
    }
)

Json = dict[str, object]
Frames = Generator[bytes, None, None]


def whole(door: Door, text: str, usage: Usage) -> bytes:
    """A whole answer."""
    return msgspec.json.encode(_whole(door, text, usage))


def frames(door: Door, words: list[str], usage: Usage) -> Frames:
    """A streamed answer, frame by frame."""
    match door:
        case Door.ANTHROPIC_MESSAGES:
            return _anthropic_frames(words, usage)
        case Door.OLLAMA_CHAT | Door.OLLAMA_GENERATE:
            return _ollama_frames(door, words, usage)
        case Door.CLOUDFLARE_RUN:
            return _cloudflare_frames(words, usage)
        case _:
            return _openai_frames(words, usage)


def _whole(door: Door, text: str, usage: Usage) -> Json:
    match door:
        case Door.ANTHROPIC_MESSAGES:
            return {**_anthropic_message(usage), "content": [{"type": "text", "text": text}], "stop_reason": "end_turn"}
        case Door.OLLAMA_CHAT | Door.OLLAMA_GENERATE:
            return {**_ollama_part(door, text), **_ollama_end(usage)}
        case Door.CLOUDFLARE_RUN:
            result = {"response": text, "usage": _openai_usage(usage)}
            return {"result": result, "success": True, "errors": [], "messages": []}
        case _:
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            return {**_openai_head("chat.completion"), "choices": [choice], "usage": _openai_usage(usage)}


def _sse(data: Json, event: str = "") -> bytes:
    head = f"event: {event}\n".encode() if event else b""
    return head + b"data: " + msgspec.json.encode(data) + b"\n\n"


def _openai_head(kind: str) -> Json:
    return {"id": _ID, "object": kind, "created": CREATED_AT_UNIX_S, "model": MODEL}


def _openai_usage(usage: Usage) -> Json:
    given, made = usage.input_tokens or 0, usage.output_tokens or 0
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


def _openai_frames(words: list[str], usage: Usage) -> Frames:
    head = _openai_head("chat.completion.chunk")
    for at, word in enumerate(words):
        delta = {"role": "assistant", "content": word} if at == 0 else {"content": word}
        yield _sse({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield _sse({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": _openai_usage(usage)})
    yield b"data: [DONE]\n\n"


def _anthropic_message(usage: Usage) -> Json:
    return {
        "id": _ID,
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens},
    }


def _anthropic_frames(words: list[str], usage: Usage) -> Frames:
    yield _sse({"type": "message_start", "message": _anthropic_message(usage)}, "message_start")
    block = {"type": "text", "text": ""}
    yield _sse({"type": "content_block_start", "index": 0, "content_block": block}, "content_block_start")
    for word in words:
        delta = {"type": "text_delta", "text": word}
        yield _sse({"type": "content_block_delta", "index": 0, "delta": delta}, "content_block_delta")
    yield _sse({"type": "content_block_stop", "index": 0}, "content_block_stop")
    ending = {"stop_reason": "end_turn", "stop_sequence": None}
    yield _sse(
        {"type": "message_delta", "delta": ending, "usage": {"output_tokens": usage.output_tokens}}, "message_delta"
    )
    yield _sse({"type": "message_stop"}, "message_stop")


def _ollama_part(door: Door, text: str) -> Json:
    created = datetime.fromtimestamp(CREATED_AT_UNIX_S, UTC).isoformat().replace("+00:00", "Z")
    said: Json = (
        {"response": text} if door is Door.OLLAMA_GENERATE else {"message": {"role": "assistant", "content": text}}
    )
    return {"model": MODEL, "created_at": created, **said, "done": False}


def _ollama_end(usage: Usage) -> Json:
    return {
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": usage.input_tokens,
        "eval_count": usage.output_tokens,
    }


def _ollama_frames(door: Door, words: list[str], usage: Usage) -> Frames:
    for word in words:
        yield msgspec.json.encode(_ollama_part(door, word)) + b"\n"
    yield msgspec.json.encode({**_ollama_part(door, ""), **_ollama_end(usage)}) + b"\n"


def _cloudflare_frames(words: list[str], usage: Usage) -> Frames:
    for word in words:
        yield _sse({"response": word})
    yield _sse({"response": "", "usage": _openai_usage(usage)})
    yield b"data: [DONE]\n\n"
