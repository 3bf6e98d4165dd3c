"""The exchanges of `tests/vectors/wire`: real servers' bytes, and those written from vendors' documentation."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from masa_node.chat.answer import Usage
from masa_node.chat.request import DIALECT_OF_ENDPOINT, ENDPOINT_PATHS, DialectName, Endpoint
from masa_node.dialects.dialect import Dialect
from masa_node.dialects.registry import DIALECTS

WIRE = Path(__file__).parents[1] / "vectors" / "wire"
RECORDED = (
    "anthropic_on_llama_server",
    "anthropic_on_ollama",
    "ollama_native",
    "openai_on_llama_server",
    "openai_on_ollama",
)
ENDPOINT_OF_PATH = {path: endpoint for endpoint, paths in ENDPOINT_PATHS.items() for path in paths}
DIALECT_OF_PATH = {path: DIALECT_OF_ENDPOINT[endpoint] for path, endpoint in ENDPOINT_OF_PATH.items()}
MESSAGE_OF_STREAM_ERROR = "boom"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stream:
    """A streamed answer, frame by frame; `raw_tail` and `chunk_sizes` are what was seen on the wire, if it was."""

    name: str
    dialect: Dialect
    frames: tuple[bytes, ...]
    usage: Usage
    raw_tail: bytes = b""
    chunk_sizes: tuple[int, ...] = ()

    @property
    def raw(self) -> bytes:
        return b"".join(self.frames)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Body:
    """A whole body: an answer or an error of the LLM, or a request."""

    name: str
    dialect: Dialect
    raw: bytes
    json: Json
    status: int = 200
    endpoint: Endpoint = Endpoint.NATIVE

    def __str__(self) -> str:
        return self.name


def load(name: str) -> Json:
    loaded: Json = json.loads((WIRE / f"{name}.json").read_text())
    return loaded


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def sse(data: bytes, event: str = "") -> bytes:
    return (f"event: {event}\n".encode() if event else b"") + b"data: " + data + b"\n\n"


def cases() -> Iterator[tuple[str, Json, Json]]:
    """Name, request and response of everything that was recorded at a chat endpoint."""
    for file in RECORDED:
        for name, case in load(file)["cases"].items():
            yield f"{file}.{name}", case["request"], case["response"]


def streams() -> list[Stream]:
    return [*_recorded_streams(), *_authored_streams()]


def whole_answers() -> list[Body]:
    recorded = [body for body in _bodies() if body.status == 200]
    cloudflare = load("cloudflare_workers_ai")
    authored = [
        _body(f"cloudflare.{name}", DialectName.CLOUDFLARE, cloudflare[name]["response"]["json"], 200)
        for name in ("run_messages", "run_prompt", "run_tools")
    ]
    openai = _body("cloudflare.openai_chat", DialectName.OPENAI, cloudflare["openai_chat"]["response"]["json"], 200)
    return [*recorded, *authored, openai]


def error_bodies() -> list[Body]:
    recorded = [body for body in _bodies() if body.status != 200]
    return [
        *recorded,
        _body("openai_authored", DialectName.OPENAI, load("openai_authored")["errors"]["shape"], 400),
        _body("anthropic_authored", DialectName.ANTHROPIC, load("anthropic_authored")["error"], 404),
        _body("cloudflare", DialectName.CLOUDFLARE, load("cloudflare_workers_ai")["errors"]["envelope"], 400),
    ]


def error_frames() -> list[tuple[Dialect, bytes]]:
    """An error in the middle of a stream, in each dialect, as its vendor documents it."""
    openai = load("openai_authored")
    mid_stream: str = openai["errors"]["mid_stream"]
    name, data = load("anthropic_authored")["mid_stream_error"]
    responses = openai["responses_error_event"]
    return [
        (DIALECTS[DialectName.OPENAI], mid_stream[: mid_stream.index("\n\n") + 2].encode()),
        (DIALECTS[DialectName.OPENAI], sse(compact(responses["data"]), responses["event"])),
        (DIALECTS[DialectName.OPENAI_RESPONSES], sse(compact(responses["data"]), responses["event"])),
        (DIALECTS[DialectName.OPENAI], b'error: {"code":500,"message":"boom","type":"server_error"}\n\n'),
        (DIALECTS[DialectName.ANTHROPIC], sse(compact(data), name)),
        (DIALECTS[DialectName.OLLAMA], b'{"error":"boom"}\n'),
        (DIALECTS[DialectName.CLOUDFLARE], b'data: {"errors":[{"code":3040,"message":"boom"}],"success":false}\n\n'),
    ]


def requests() -> list[Body]:
    """Every request body that was recorded at an endpoint of ours and names a model."""
    return [
        Body(name, DIALECTS[DialectName.OPENAI], compact(request["json"]), request["json"], endpoint=endpoint)
        for name, request, _ in cases()
        if (endpoint := ENDPOINT_OF_PATH.get(request["path"])) is not None and "json" in request
    ]


def _recorded_streams() -> Iterator[Stream]:
    for name, request, response in cases():
        dialect = DIALECT_OF_PATH.get(request["path"])
        if dialect is None or not ("sse" in response or "ndjson" in response):
            continue
        if "sse" in response:
            frames = [sse(entry["data"].encode(), entry.get("event", "")) for entry in response["sse"]]
            said = [entry["json"] for entry in response["sse"] if "json" in entry]
        else:
            frames = [compact(entry) + b"\n" for entry in response["ndjson"]]
            said = response["ndjson"]
        tail, sizes = response["raw_tail"].encode(), tuple(response["chunk_sizes"])
        yield Stream(name, DIALECTS[dialect], tuple(frames), used(dialect, said), tail, sizes)


def _authored_streams() -> Iterator[Stream]:
    openai = load("openai_authored")
    for name in ("stream_include_usage", "tool_stream"):
        *said, _ = openai[name]["frames"]
        frames = [*(sse(compact(entry)) for entry in said), sse(b"[DONE]")]
        yield _stream(f"openai_authored.{name}", DialectName.OPENAI, frames, said)
    events = load("anthropic_authored")["stream"]
    frames = [sse(compact(data), event) for event, data in events]
    yield _stream("anthropic_authored.stream", DialectName.ANTHROPIC, frames, [data for _, data in events])
    raw: str = load("cloudflare_workers_ai")["run_stream"]["response"]["raw"]
    parts = raw.removesuffix("\n\n").split("\n\n")
    said = [json.loads(part.removeprefix("data: ")) for part in parts[:-1]]
    frames = [f"{part}\n\n".encode() for part in parts]
    yield _stream("cloudflare.run_stream", DialectName.CLOUDFLARE, frames, said)
    yield Stream("transformers", DIALECTS[DialectName.OPENAI], tuple(_like_transformers()), Usage())


def _like_transformers() -> Iterator[bytes]:
    """As recorded: no `[DONE]`; only a role at first; no `finish_reason` key in the middle. Not ASCII only."""
    yield sse(b'{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant"}}]}')
    for word in ("Grüße", " 🙂", " \\u2028"):
        text = f'{{"object":"chat.completion.chunk","choices":[{{"index":0,"delta":{{"content":"{word}"}}}}]}}'
        yield sse(text.encode())
    yield sse(b'{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}')


def _stream(name: str, dialect: DialectName, frames: list[bytes], said: list[Json]) -> Stream:
    return Stream(name, DIALECTS[dialect], tuple(frames), used(dialect, said))


_CACHES = ("cache_read_input_tokens", "cache_creation_input_tokens")  # Anthropic's, which are read, too


def used(dialect: DialectName, said: list[Json]) -> Usage:
    """The tokens that these JSON values name; of several the last."""
    usage = Usage()
    for value in said:
        if dialect is DialectName.OLLAMA:
            usage.input_tokens = value.get("prompt_eval_count", usage.input_tokens)
            usage.output_tokens = value.get("eval_count", usage.output_tokens)
            continue
        for holder in (value, value.get("message"), value.get("result"), value.get("response")):
            counts = (holder.get("usage") if isinstance(holder, dict) else None) or {}
            for given, made in (("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens")):
                if given in counts:
                    usage.input_tokens = counts[given] + sum(counts.get(name, 0) for name in _CACHES)
                usage.output_tokens = counts.get(made, usage.output_tokens)
    return usage


def _bodies() -> Iterator[Body]:
    for name, request, response in cases():
        dialect = DIALECT_OF_PATH.get(request["path"])
        if dialect is not None and request["method"] == "POST" and "json" in response:
            yield _body(name, dialect, response["json"], response["status"])


def _body(name: str, dialect: DialectName, value: Json, status: int) -> Body:
    return Body(name, DIALECTS[dialect], compact(value), value, status)
