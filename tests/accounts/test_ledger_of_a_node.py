"""A node's sums are those of its LLM servers: a thousand requests, mixed, some of which go wrong."""

import asyncio
import json
from pathlib import Path
from typing import Any, Protocol

from masa_node.accounts.ledger import read_usage
from masa_node.accounts.report import By, UsageLine, UsageQuery
from masa_node.accounts.usage import Sums
from tests.fakes.dialect_samples import ANTHROPIC, OLLAMA, OPENAI, DialectSample
from tests.fakes.http_bytes import NDJSON, SSE, chunk, chunked, stream_head, whole
from tests.fakes.llm_server import FakeLlm, HungUp, Line, send
from tests.fakes.raw_http import post
from tests.fakes.running import running_node

REQUESTS = 1_000
AT_ONCE = 16
FIELDS = ("requests", "errors", "input_tokens", "output_tokens", "input_unknown", "output_unknown")

Usage = tuple[int, int] | None


class Say(Protocol):
    def __call__(self, usage: Usage, *, is_stream: bool) -> bytes: ...


def line(event: str, **data: object) -> bytes:
    return f"event: {event}\ndata: {json.dumps({'type': event, **data})}\n\n".encode()


def openai_says(usage: Usage, *, is_stream: bool) -> bytes:
    counts = {"usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]}} if usage else {}
    if not is_stream:
        choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
        return whole(json.dumps({"object": "chat.completion", "choices": [choice], **counts}).encode())
    last = f"data: {json.dumps({'object': 'chat.completion.chunk', 'choices': [], **counts})}\n\n".encode()
    return stream_head(SSE) + chunked([*OPENAI.frames[:-1], *([last] if usage else []), OPENAI.frames[-1]])


def anthropic_says(usage: Usage, *, is_stream: bool) -> bytes:
    message: dict[str, Any] = json.loads(ANTHROPIC.answer)
    message.pop("usage")
    if not is_stream:
        counts = {"usage": {"input_tokens": usage[0], "output_tokens": usage[1]}} if usage else {}
        return whole(json.dumps({**message, **counts}).encode())
    begun = {"usage": {"input_tokens": usage[0], "output_tokens": 1}} if usage else {}
    ended = {"usage": {"output_tokens": usage[1]}} if usage else {}
    frames = [
        line("message_start", message={**message, "content": [], "stop_reason": None, **begun}),
        line("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        line("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello"}),
        line("content_block_stop", index=0),
        line("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, **ended),
        line("message_stop"),
    ]
    return stream_head(SSE) + chunked(frames)


def ollama_says(usage: Usage, *, is_stream: bool) -> bytes:
    counts = {"prompt_eval_count": usage[0], "eval_count": usage[1]} if usage else {}
    text = {"model": "m", "created_at": "2026-11-22T23:14:02.37Z", "message": {"role": "assistant", "content": "Hi"}}
    last = {**text, "done": True, "done_reason": "stop", **counts}
    if not is_stream:
        return whole(json.dumps(last).encode())
    return stream_head(NDJSON) + chunked(json.dumps(each).encode() + b"\n" for each in ({**text, "done": False}, last))


class Server:
    """An LLM server that sums what it says, as the number in each request bids it."""

    def __init__(self, sample: DialectSample, say: Say) -> None:
        self.sample = sample
        self.model = f"m-{sample.dialect}"
        self.said = Sums()
        self._say = say
        listing = {
            "object": "list",
            "data": [{"id": self.model, "object": "model"}],
            "models": [{"name": self.model, "model": self.model}],
        }
        self.fake = FakeLlm().answer(sample.listing, (send(whole(json.dumps(listing).encode())),))
        self.fake.answer(sample.endpoint, (self._answer,))
        self.fake.refuses_the_empty = True

    async def _answer(self, connection: Line) -> None:
        body = json.loads(connection.server.requests[-1].body)
        number = int(body["messages"][0]["content"])
        said = self.said
        said.requests += 1
        if number % 11 == 0:
            said.errors += 1
            await connection.write(whole(self.sample.error_answer, status=500))
            return
        if number % 13 == 0 and body["stream"]:
            said.errors += 1
            self._note((9, 2) if b'"input_tokens": 9' in self.sample.frames[0] else None)  # Anthropic's begin with it
            await connection.write(stream_head(self.sample.content_type) + chunk(self.sample.frames[0]))
            connection.writer.close()
            raise HungUp
        usage = None if number % 7 == 0 else (number, number % 5 + 1)
        self._note(usage)
        await connection.write(self._say(usage, is_stream=body["stream"]))

    def _note(self, usage: Usage) -> None:
        if usage is None:
            self.said.input_unknown += 1
            self.said.output_unknown += 1
        else:
            self.said.input_tokens += usage[0]
            self.said.output_tokens += usage[1]

    def ask(self, number: int) -> bytes:
        fields = {"model": self.model, "max_tokens": 9, "stream": number % 2 == 0}
        return json.dumps({**fields, "messages": [{"role": "user", "content": str(number)}]}).encode()


def by_model(lines: list[UsageLine]) -> dict[str | None, tuple[object, ...]]:
    return {each.model: tuple(getattr(each, name) for name in FIELDS) for each in lines}


async def test_a_thousand_mixed_requests_come_to_what_the_llms_said(tmp_path: Path) -> None:
    servers = [Server(OPENAI, openai_says), Server(ANTHROPIC, anthropic_says), Server(OLLAMA, ollama_says)]
    async with servers[0].fake, servers[1].fake, servers[2].fake:
        settings = {name: value for each in servers for name, value in each.sample.settings(each.fake.url).items()}
        async with running_node(**settings, USAGE="count", MASA_DIR=str(tmp_path)) as node:
            numbers = iter(range(REQUESTS))

            async def work() -> None:
                for number in numbers:
                    server = servers[number % 3]
                    await post(node.port, server.sample.endpoint, server.ask(number))

            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(work())
            node.node.tell()
            ledger = node.node.ledger
            assert ledger is not None
            at_once = by_model(await ledger.report(UsageQuery((By.MODEL,))))
    said = {each.model: tuple(getattr(each.said, name) for name in FIELDS) for each in servers}
    assert sum(int(each.said.requests) for each in servers) == REQUESTS
    assert at_once == said
    assert by_model(read_usage(tmp_path, UsageQuery((By.MODEL,)))) == said
