"""`masa-demo`: a built-in model that needs no LLM. It plainly says what it is, and speaks every dialect.

It answers word by word, so that streaming, racing and cancelling can be seen without a download.
"""

import asyncio
from collections import deque

from masa_node.chat.answer import Answer, StreamedAnswer, Usage, WholeAnswer
from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import DIALECT_OF_ENDPOINT, DialectName, Endpoint, Request
from masa_node.dialects.bodies.body_format import BODY_DEPTH
from masa_node.dialects.fields import LIST, TEXT, read
from masa_node.dialects.translation.codecs import ANSWER_WRITERS
from masa_node.dialects.translation.conversation import Conversation
from masa_node.dialects.translation.events import (
    AnswerContext,
    Begun,
    Ended,
    Event,
    Finished,
    StopReason,
    TextPiece,
    Tokens,
    Used,
)
from masa_node.routing.provider import Sign, no_sign
from masa_node.routing.running.steps import readable
from masa_node.upstreams.servers.server import field
from masa_node.upstreams.spec import DEMO_MODEL

MODEL = DEMO_MODEL
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
DEFAULT_PIECES_PER_S = 50.0  # a small model on a laptop
MAX_ECHOED_CHARS = 200
_MAX_LOOKED_AT_CHARS = 4096  # a long text may begin with spaces

_SSE = (("content-type", "text/event-stream"),)
_NDJSON = (("content-type", "application/x-ndjson"),)
_JSON = (("content-type", "application/json"),)


class DemoModel:
    """The built-in model as a provider. `pieces_per_s` is how fast it talks, `node_name` where it says it is."""

    is_local = True
    is_hosted = False
    priority = 0
    is_trusted = True
    label = "built-in demo"
    note = ""

    def __init__(self, name: str = "demo", pieces_per_s: float = DEFAULT_PIECES_PER_S, node_name: str = "") -> None:
        self.name = name
        self._where = f" on the node {node_name!r}" if node_name else ""
        self.location = f"{name} (built in)"
        self.invalidation = asyncio.Event()  # never: there is nothing that could be down
        self._pause_s = 1 / pieces_per_s

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
        words = _words(await readable(request.body, BODY_DEPTH), self._where)
        usage = Usage(input_tokens=len(request.body) // 4, output_tokens=len(words))
        dialect = DIALECT_OF_ENDPOINT[endpoint]
        first, *rest = _pieces(endpoint, words, usage, request)
        await asyncio.sleep(self._pause_s)
        if not request.wants_stream:
            return WholeAnswer(200, _JSON, first, dialect, usage)
        left = deque(rest)

        async def next_piece() -> bytes:
            await asyncio.sleep(self._pause_s)
            return left.popleft() if left else b""

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


def _pieces(endpoint: Endpoint, words: list[str], usage: Usage, request: Request) -> list[bytes]:
    """The answer in the dialect of this endpoint: in one piece, or in one for each word and those that end it."""
    wants_usage = b'"include_usage"' in request.body
    conversation = Conversation(model=MODEL, turns=(), stream=request.wants_stream, with_usage=wants_usage)
    writer = ANSWER_WRITERS[endpoint](AnswerContext(conversation, _ID, CREATED_AT_UNIX_S))
    tokens = Tokens(usage.input_tokens, usage.output_tokens)
    begun: list[Event] = [Begun(tokens=tokens), TextPiece(words[0])]
    rest: list[Event] = [*map(TextPiece, words[1:]), Finished(StopReason.END), Used(tokens), Ended()]
    if not request.wants_stream:
        return [writer.whole([*begun, *rest])]
    return [b"".join(map(writer.write, begun)), *filter(None, map(writer.write, rest))]


def _words(body: bytes, where: str) -> list[str]:
    heard = " ".join(_heard(body)[:_MAX_LOOKED_AT_CHARS].split())[:MAX_ECHOED_CHARS]
    text = f"Hello! I am {MODEL}, the model built into Masa Node{where}; I only repeat. You said: {heard}"
    first, *rest = text.split(" ")
    return [first, *(f" {word}" for word in rest)]


def _heard(body: bytes) -> str:
    """The caller's last words, as far as they are plain text."""
    messages = read(field(body, "messages"), LIST)
    content = field(messages[-1], "content") if messages else field(body, "prompt")
    text = read(content, TEXT)
    if text is not None:
        return text
    return " ".join(read(field(part, "text"), TEXT) or "" for part in read(content, LIST) or [])
