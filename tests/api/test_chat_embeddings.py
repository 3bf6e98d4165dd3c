"""Ollama's clients get embeddings of a server that speaks OpenAI's format alone."""

import asyncio
import json

import ollama
import pytest

from tests.fakes.dialect_samples import OPENAI
from tests.fakes.http_bytes import whole
from tests.fakes.llm_server import FakeLlm, send
from tests.fakes.raw_http import post
from tests.fakes.running import running_node

PATH = "/v1/embeddings"
VECTORS = [[0.5, -1.0], [0.25, 0.002]]
ANSWER = {
    "object": "list",
    "model": "m",
    "data": [{"object": "embedding", "index": number, "embedding": vector} for number, vector in enumerate(VECTORS)],
    "usage": {"prompt_tokens": 7, "total_tokens": 7},
}


def server(answer: object = ANSWER, status: int = 200) -> FakeLlm:
    llm = OPENAI.fake(send(OPENAI.whole))
    return llm.answer(PATH, (send(whole(json.dumps(answer).encode(), status=status)),))


async def test_ollamas_sdk_gets_a_vector_for_each_text() -> None:
    async with server() as llm, running_node(**OPENAI.settings(llm.url)) as node:
        async with ollama.AsyncClient(f"http://127.0.0.1:{node.port}") as client:
            given = await client.embed(model="m", input=["one", "two"], keep_alive="5m")
        (asked,) = llm.asked(PATH)
    assert [list(vector) for vector in given.embeddings] == VECTORS
    assert given.prompt_eval_count == 7
    assert (given.total_duration or 0) > 0
    assert given.load_duration == 0  # the AI SDK's provider for Ollama takes no answer without both
    assert json.loads(asked.body) == {"model": "m", "input": ["one", "two"], "encoding_format": "float"}


async def test_the_head_says_what_was_done_and_left_out() -> None:
    async with server() as llm, running_node(**OPENAI.settings(llm.url)) as node:
        body = json.dumps({"model": "m", "input": ["one", "two"], "truncate": True}).encode()
        reply = await post(node.port, "/api/embed", body)
    assert reply.status == 200
    assert reply.header("x-masa-translated") == "ollama>openai"
    assert reply.header("x-masa-dropped") == "truncate"


async def test_there_is_no_stream_of_them_whoever_asks_for_one() -> None:
    async with server() as llm, running_node(**OPENAI.settings(llm.url)) as node:
        body = json.dumps({"model": "m", "input": ["one", "two"], "stream": True}).encode()
        reply = await post(node.port, "/api/embed", body)
    assert (reply.header("content-type"), json.loads(reply.body)["embeddings"]) == ("application/json", VECTORS)


@pytest.mark.parametrize(
    ("answer", "status", "told", "words"),
    [
        ({"error": {"message": "input is too large"}}, 400, 400, "input is too large"),
        ({**ANSWER, "data": []}, 200, 502, "of 1 texts it gave 0 embeddings"),
    ],
)
async def test_the_older_endpoint_is_told_what_went_wrong(answer: object, status: int, told: int, words: str) -> None:
    async with server(answer, status) as llm, running_node(**OPENAI.settings(llm.url)) as node:
        reply = await post(node.port, "/api/embeddings", b'{"model":"m","prompt":"one"}')
    assert reply.status == told
    assert words in json.loads(reply.body)["error"]


async def test_many_at_once_get_their_own() -> None:
    async with (
        server({**ANSWER, "data": [{"embedding": [1.5]}]}) as llm,
        running_node(**OPENAI.settings(llm.url)) as node,
    ):
        body = b'{"model":"m","prompt":"one"}'
        replies = await asyncio.gather(*(post(node.port, "/api/embeddings", body) for _ in range(8)))
    assert {reply.body for reply in replies} == {b'{"embedding":[1.5]}'}
