"""Short words for tests: translate a request, or a stream, between two endpoints."""

from typing import Any

import msgspec

from masa_node.chat.request import Endpoint
from masa_node.dialects.translation.translator import Translation, translate

CHAT, RESPONSES, MESSAGES = Endpoint.OPENAI_CHAT, Endpoint.OPENAI_RESPONSES, Endpoint.ANTHROPIC_MESSAGES
OLLAMA, GENERATE, RUN = Endpoint.OLLAMA_CHAT, Endpoint.OLLAMA_GENERATE, Endpoint.CLOUDFLARE_RUN
COMPLETIONS = Endpoint.OPENAI_COMPLETIONS
HI = [{"role": "user", "content": "hi"}]
NOW = 1_795_389_247


def request(source: Endpoint, target: Endpoint, **body: Any) -> tuple[dict[str, Any], list[str]]:
    """The body as the target takes it, and the names of what was left out."""
    translation = translation_of(source, target, **body)
    dropped = dict(translation.headers).get("x-masa-dropped", "")
    return msgspec.json.decode(translation.body), dropped.split(", ") if dropped else []


def translation_of(source: Endpoint, target: Endpoint, **body: Any) -> Translation:
    """The translation of a request; a bare one unless the test says more."""
    fields = {"model": "m", **({} if "prompt" in body or "input" in body else {"messages": HI}), **body}
    return translate(msgspec.json.encode(fields), "m", source, target)


def frames(*events: Any) -> bytes:
    """A stream of unnamed events, as OpenAI's chat has it."""
    return b"".join(
        b"data: " + (event if isinstance(event, bytes) else msgspec.json.encode(event)) + b"\n\n" for event in events
    )


def named(*events: dict[str, Any]) -> bytes:
    """A stream of named events, as Anthropic and responses have it."""
    return b"".join(
        b"event: " + event["type"].encode() + b"\ndata: " + msgspec.json.encode(event) + b"\n\n" for event in events
    )


def lines(*events: dict[str, Any]) -> bytes:
    """A stream of lines, as Ollama has it."""
    return b"".join(msgspec.json.encode(event) + b"\n" for event in events)


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """A chunk of chat completions."""
    return {"id": "chatcmpl-1", "model": "m", "choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def call(index: int, arguments: str, name: str | None = None, id_: str | None = None) -> dict[str, Any]:
    """A piece of a call in such a chunk."""
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return {"index": index, **({"id": id_} if id_ else {}), "function": function}


def stream(source: Endpoint, target: Endpoint, raw: bytes, **body: Any) -> bytes:
    """A whole stream of the target, in the caller's format."""
    translator = translation_of(source, target, **{"stream": True, **body}).answer("r1", NOW)
    return translator.feed(raw) + translator.finish()


def whole(source: Endpoint, target: Endpoint, answer: Any, **body: Any) -> bytes:
    """A complete body of the target, in the caller's format."""
    return translation_of(source, target, **body).answer("r1", NOW).whole(msgspec.json.encode(answer))
