"""Exchanges recorded from real LLM servers (`tests/vectors/wire/`), with the response's bytes put together again."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WIRE = Path(__file__).parents[1] / "vectors" / "wire"
_FILES = (
    "ollama_native",
    "openai_on_ollama",
    "anthropic_on_ollama",
    "openai_on_llama_server",
    "anthropic_on_llama_server",
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its response. `chunks` are the body's chunks as recorded; one where it had a Content-Length."""

    server: str
    name: str
    method: str
    path: str
    request: dict[str, Any] | None
    status: int
    content_type: str
    chunks: tuple[bytes, ...]
    is_chunked: bool

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def __str__(self) -> str:
        return f"{self.server}-{self.name}"


def exchanges() -> Iterator[Exchange]:
    """Every recorded exchange whose request has a JSON body."""
    for file in _FILES:
        cases = json.loads((WIRE / f"{file}.json").read_text("utf-8"))["cases"]
        for name, case in cases.items():
            if "json" in case["request"]:
                yield _exchange(file, name, case["request"], case["response"])


def _exchange(server: str, name: str, request: dict[str, Any], response: dict[str, Any]) -> Exchange:
    headers = {key.lower(): value for key, value in response["headers"]}
    sizes = response.get("chunk_sizes") or [int(headers["content-length"])]
    body = _body(response, sum(sizes))
    assert len(body) == sum(sizes), f"{server} {name}: the recorded body cannot be put together again"
    chunks: list[bytes] = []
    for size in sizes:
        chunks.append(body[:size])
        body = body[size:]
    return Exchange(
        server=server,
        name=name,
        method=request["method"],
        path=request["path"],
        request=request["json"],
        status=response["status"],
        content_type=headers["content-type"],
        chunks=tuple(chunks),
        is_chunked="chunk_sizes" in response,
    )


def _body(response: dict[str, Any], size: int) -> bytes:
    if "sse" in response:
        return b"".join(_event(event) for event in response["sse"])
    if "ndjson" in response:
        return b"".join(_compact(line) + b"\n" for line in response["ndjson"])
    if "text" in response:
        return str(response["text"]).encode()
    body = _compact(response["json"])
    if len(body) < size - 1:  # Go's encoder, which Ollama uses
        for sign in "<>&":
            body = body.replace(sign.encode(), f"\\u{ord(sign):04x}".encode())
    return body + b"\n" * (size - len(body))


def _event(event: dict[str, Any]) -> bytes:
    name = f"event: {event['event']}\n" if "event" in event else ""
    return f"{name}data: {event['data']}\n\n".encode()


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
