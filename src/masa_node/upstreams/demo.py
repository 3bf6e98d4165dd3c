"""`masa-demo`: a built-in model that needs no LLM. It plainly says what it is, and speaks every dialect."""

import asyncio
from collections import deque
from collections.abc import Generator
from datetime import UTC, datetime

import msgspec

from masa_node.chat.answer import Answer, StreamedAnswer, Usage, WholeAnswer
from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import DIALECT_OF_ENDPOINT, DialectName, Endpoint, Request
from masa_node.dialects.fields import TEXT, read
from masa_node.routing.provider import Sign, no_sign

# ---- demo frames ----

# How `masa-demo` renders its words in each dialect, whole and streamed. Pure.

MODEL = "masa-demo"
CREATED_AT_UNIX_S = 1_700_000_000  # any fixed time: the same answer every time
_ID = "masa-demo-1"
RENDERED_ENDPOINTS = frozenset(
    {
        Endpoint.NATIVE,
        Endpoint.OPENAI_CHAT,
        Endpoint.ANTHROPIC_MESSAGES,
        Endpoint.OLLAMA_CHAT,
        Endpoint.OLLAMA_GENERATE,
        Endpoint.CLOUDFLARE_RUN,
    }
)

Json = dict[str, object]
Frames = Generator[bytes, None, None]


def whole(endpoint: Endpoint, text: str, usage: Usage) -> bytes:
    """A whole answer."""
    return msgspec.json.encode(_whole(endpoint, text, usage))


def frames(endpoint: Endpoint, words: list[str], usage: Usage) -> Frames:
    """A streamed answer, frame by frame."""
    match endpoint:
        case Endpoint.ANTHROPIC_MESSAGES:
            return _anthropic_frames(words, usage)
        case Endpoint.OLLAMA_CHAT | Endpoint.OLLAMA_GENERATE:
            return _ollama_frames(endpoint, words, usage)
        case Endpoint.CLOUDFLARE_RUN:
            return _cloudflare_frames(words, usage)
        case _:
            return _openai_frames(words, usage)


def _whole(endpoint: Endpoint, text: str, usage: Usage) -> Json:
    match endpoint:
        case Endpoint.ANTHROPIC_MESSAGES:
            return {**_anthropic_message(usage), "content": [{"type": "text", "text": text}], "stop_reason": "end_turn"}
        case Endpoint.OLLAMA_CHAT | Endpoint.OLLAMA_GENERATE:
            return {**_ollama_part(endpoint, text), **_ollama_end(usage)}
        case Endpoint.CLOUDFLARE_RUN:
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


def _ollama_part(endpoint: Endpoint, text: str) -> Json:
    created = datetime.fromtimestamp(CREATED_AT_UNIX_S, UTC).isoformat().replace("+00:00", "Z")
    said: Json = (
        {"response": text}
        if endpoint is Endpoint.OLLAMA_GENERATE
        else {"message": {"role": "assistant", "content": text}}
    )
    return {"model": MODEL, "created_at": created, **said, "done": False}


def _ollama_end(usage: Usage) -> Json:
    return {
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": usage.input_tokens,
        "eval_count": usage.output_tokens,
    }


def _ollama_frames(endpoint: Endpoint, words: list[str], usage: Usage) -> Frames:
    for word in words:
        yield msgspec.json.encode(_ollama_part(endpoint, word)) + b"\n"
    yield msgspec.json.encode({**_ollama_part(endpoint, ""), **_ollama_end(usage)}) + b"\n"


def _cloudflare_frames(words: list[str], usage: Usage) -> Frames:
    for word in words:
        yield _sse({"response": word})
    yield _sse({"response": "", "usage": _openai_usage(usage)})
    yield b"data: [DONE]\n\n"


# ---- demo ----

# `masa-demo`: a built-in model that needs no LLM. It plainly says what it is, and speaks every dialect.
#
# It answers word by word, so that streaming, racing and cancelling can be seen without a download.

DEFAULT_PIECES_PER_S = 50.0  # a small model on a laptop
MAX_ECHOED_CHARS = 200

_SSE = (("content-type", "text/event-stream"),)
_NDJSON = (("content-type", "application/x-ndjson"),)
_JSON = (("content-type", "application/json"),)


class _Message(msgspec.Struct):
    role: str = ""
    content: msgspec.Raw = msgspec.Raw(b"")


class _Body(msgspec.Struct):
    messages: msgspec.Raw = msgspec.Raw(b"")
    prompt: msgspec.Raw = msgspec.Raw(b"")


class _Part(msgspec.Struct):
    text: str = ""


_BODY = msgspec.json.Decoder(_Body)
_MESSAGES = msgspec.json.Decoder(list[_Message])
_PARTS = msgspec.json.Decoder(list[_Part])


class DemoModel:
    """The built-in model as a provider. `pieces_per_s` is how fast it talks, `node_name` where it says it is."""

    is_local = True
    is_hosted = False
    priority = 0
    is_trusted = True
    note = ""

    def __init__(self, name: str = "demo", pieces_per_s: float = DEFAULT_PIECES_PER_S, node_name: str = "") -> None:
        self.name = name
        self._where = f" on the node {node_name!r}" if node_name else ""
        self.location = f"{name} (built in)"
        self._pause_s = 1 / pieces_per_s

    @property
    def label(self) -> str:
        """Its name."""
        return "built-in demo"

    async def invalidated(self) -> None:
        """Never: there is nothing that could be down."""
        await asyncio.Event().wait()

    async def offers(self) -> list[ModelOffer]:
        """Its one model."""
        return [
            ModelOffer(
                MODEL,
                RENDERED_ENDPOINTS,
                owned_by="masa-node",
                created_at_unix_s=CREATED_AT_UNIX_S,
                context_tokens=4096,
            )
        ]

    async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
        """See `Provider`. Fails never; takes one pause to its first word."""
        del sign  # nobody waits for its first word long
        endpoint = Endpoint.OLLAMA_CHAT if request.endpoint is Endpoint.NATIVE else request.endpoint
        words = _words(request.body, self._where)
        usage = Usage(input_tokens=len(request.body) // 4, output_tokens=len(words))
        dialect = DIALECT_OF_ENDPOINT[endpoint]
        if not request.wants_stream:
            await asyncio.sleep(self._pause_s)
            return WholeAnswer(200, _JSON, whole(endpoint, "".join(words), usage), dialect, usage)
        first, *rest = frames(endpoint, words, usage)
        left = deque(rest)

        async def next_piece() -> bytes:
            await asyncio.sleep(self._pause_s)
            return left.popleft() if left else b""

        await asyncio.sleep(self._pause_s)
        headers = _NDJSON if dialect == DialectName.OLLAMA else _SSE
        return StreamedAnswer(
            200,
            headers,
            dialect,
            first,
            next_piece,
            close=left.clear,
            frames=lambda: 1 + len(rest) - len(left),
            usage=usage,
            is_whole=lambda: not left,
        )


def _words(body: bytes, where: str) -> list[str]:
    heard = " ".join(_heard(body).split())[:MAX_ECHOED_CHARS]
    text = f"Hello! I am {MODEL}, the model built into Masa Node{where}; I only repeat. You said: {heard}"
    first, *rest = text.split(" ")
    return [first, *(f" {word}" for word in rest)]


def _heard(body: bytes) -> str:
    """The caller's last words, as far as they are plain text."""
    fields = read(body, _BODY)
    if fields is None:
        return ""
    messages = read(fields.messages, _MESSAGES)
    content = messages[-1].content if messages else fields.prompt
    text = read(content, TEXT)
    if text is None:
        text = " ".join(part.text for part in read(content, _PARTS) or [])
    return text
