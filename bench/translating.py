"""What a translation costs, pair by pair: `python -m bench.translating`. No node, no network, one core.

Requests are an agent's: a third of the bytes are tools, the rest are rounds of words, calls and results. `first` is one
of which nothing was seen before, `next` the same with one round more. Pieces are single words of a stream.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from masa_node.chat.request import Endpoint
from masa_node.dialects.translation.translator import ANSWER_WRITERS, REQUEST_READERS, REQUEST_WRITERS, translate

CALLERS = [each for each in REQUEST_READERS if each is not Endpoint.ANTHROPIC_COUNT_TOKENS]
SERVERS = list(REQUEST_WRITERS)
PROMPTS = (Endpoint.OPENAI_COMPLETIONS, Endpoint.OLLAMA_GENERATE)
TOOL_BYTES, ROUND_BYTES = 1_000, 2_000
TOOLS_SHARE = 3
REPEATS = 15
PIECES = 2_000
Json = dict[str, Any]


def session(endpoint: Endpoint, size: int, seed: int, more: int = 0) -> bytes:
    """An agent's request of about so many bytes; another seed makes another one in every message and tool."""
    if endpoint in PROMPTS:
        return json.dumps({"model": "m", "prompt": f"{seed} " + "words " * (size // 6)}).encode()
    tools = [_tool(endpoint, f"tool_{seed}_{number}") for number in range(size // TOOLS_SHARE // TOOL_BYTES)]
    rounds = range((size - size // TOOLS_SHARE) // ROUND_BYTES + more)
    said = [message for number in rounds for message in _round(endpoint, f"{seed}_{number}")]
    body: Json = {"model": "m", "stream": True, "tools": tools}
    if endpoint is Endpoint.ANTHROPIC_MESSAGES:
        body["max_tokens"] = 32_000
    body["input" if endpoint is Endpoint.OPENAI_RESPONSES else "messages"] = said
    return json.dumps(body, separators=(",", ":")).encode()


def _tool(endpoint: Endpoint, name: str) -> Json:
    fields = {f"field_{at}": {"type": "string", "description": "what it is " * 6} for at in range(8)}
    schema = {"type": "object", "properties": fields, "required": ["field_0"]}
    words = {"name": name, "description": "What it is for. " * 12}
    if endpoint is Endpoint.ANTHROPIC_MESSAGES:
        return {**words, "input_schema": schema}
    if endpoint is Endpoint.OPENAI_RESPONSES:
        return {"type": "function", **words, "parameters": schema, "strict": False}
    return {"type": "function", "function": {**words, "parameters": schema}}


def _round(endpoint: Endpoint, mark: str) -> list[Json]:
    id_, name, given = f"call_{mark}", "tool_0", {"field_0": "/some/path/to/a/file.py"}
    asked, said, result = f"{mark} " + "Go on. " * 40, "I look at the file. " * 20, "a line of the file\n" * 60
    arguments: Any = json.dumps(given)
    if endpoint is Endpoint.ANTHROPIC_MESSAGES:
        call: Json = {"type": "tool_use", "id": id_, "name": name, "input": given}
        answer = {"type": "tool_result", "tool_use_id": id_, "content": [{"type": "text", "text": result}]}
        return [
            {"role": "user", "content": [{"type": "text", "text": asked}]},
            {"role": "assistant", "content": [{"type": "text", "text": said}, call]},
            {"role": "user", "content": [answer]},
        ]
    if endpoint is Endpoint.OPENAI_RESPONSES:
        return [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": asked}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": said}]},
            {"type": "function_call", "call_id": id_, "name": name, "arguments": arguments},
            {"type": "function_call_output", "call_id": id_, "output": result},
        ]
    function = {"name": name, "arguments": given if endpoint is Endpoint.OLLAMA_CHAT else arguments}
    kind = {} if endpoint is Endpoint.OLLAMA_CHAT else {"type": "function"}
    return [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": said, "tool_calls": [{"id": id_, **kind, "function": function}]},
        {"role": "tool", "tool_call_id": id_, "content": result},
    ]


def pieces(endpoint: Endpoint) -> tuple[list[bytes], list[bytes]]:
    """How a stream of this server begins, and its words, a frame each."""

    def event(name: str, **fields: object) -> bytes:
        return f"event: {name}\n".encode() + b"data: " + json.dumps({"type": name, **fields}).encode() + b"\n\n"

    def data(**fields: object) -> bytes:
        return b"data: " + json.dumps(fields).encode() + b"\n\n"

    words = [f" word{number}" for number in range(PIECES)]
    match endpoint:
        case Endpoint.OPENAI_CHAT:
            head: Json = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
            deltas = [{"index": 0, "delta": {"content": word}, "finish_reason": None} for word in ["", *words]]
            first, *rest = [data(**head, choices=[delta]) for delta in deltas]
            return [first], rest
        case Endpoint.ANTHROPIC_MESSAGES:
            start = event("message_start", message={"id": "msg_1", "model": "m", "content": [], "usage": {}})
            block = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
            deltas = [{"type": "text_delta", "text": word} for word in words]
            return [start, block], [event("content_block_delta", index=0, delta=delta) for delta in deltas]
        case Endpoint.OLLAMA_CHAT:
            told = [{"role": "assistant", "content": word} for word in words]
            lines = [{"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": each} for each in told]
            return [], [json.dumps({**line, "done": False}).encode() + b"\n" for line in lines]
        case Endpoint.OPENAI_RESPONSES:
            start = event("response.created", response={"id": "resp_1", "model": "m", "status": "in_progress"})
            where: Json = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
            return [start], [event("response.output_text.delta", **where, delta=word) for word in words]
        case _:
            return [], [data(response=word) for word in words]


def once_us(work: Callable[[], object]) -> float:
    """The CPU time that it takes: others may use the machine."""
    begun = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - begun) / 1_000


def request_us(source: Endpoint, target: Endpoint, size: int) -> tuple[float, float]:
    """Of a request of which nothing was seen before, and of the next turn of the same session."""
    first: list[float] = []
    later: list[float] = []
    for seed in range(REPEATS):
        mark = seed * 10 + SERVERS.index(target)
        bodies = [session(source, size, mark, more) for more in (0, 1)]
        gc.collect()
        first.append(once_us(lambda body=bodies[0]: translate(body, "m", source, target)))
        later.append(once_us(lambda body=bodies[1]: translate(body, "m", source, target)))
    return statistics.median(first), statistics.median(later)


def piece_us(source: Endpoint, target: Endpoint) -> float:
    """Of one word of a stream."""
    head, rest = pieces(target)
    took: list[float] = []
    for _ in range(REPEATS // 3):
        translator = translate(session(source, 4_000, 0), "m", source, target).answer("r1", 1)
        for frame in head:
            translator.feed(frame)
        translator.feed(rest[0])

        def feed_all(feed: Callable[[bytes], bytes] = translator.feed) -> None:
            for frame in rest[1:]:
                feed(frame)

        took.append(once_us(feed_all) / (PIECES - 1))
    return min(took)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.translating", description=__doc__)
    parser.add_argument("--kb", type=int, default=100, help="the size of a request (100)")
    size = parser.parse_args().kb * 1_000
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # as in a node
    print(f"| from | to | first request of {size // 1_000} kB, ms | next, ms | a piece, us |\n|---|---|---|---|---|")
    for source in CALLERS:
        for target in SERVERS:
            if source is target or source not in ANSWER_WRITERS:
                continue
            first, later = request_us(source, target, size)
            piece = piece_us(source, target)
            print(f"| {source} | {target} | {first / 1_000:.2f} | {later / 1_000:.2f} | {piece:.1f} |", flush=True)


if __name__ == "__main__":
    main()
