"""The product's own endpoint with servers of two kinds: always the same format, and always a stream or never."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.dialect_samples import OLLAMA, OPENAI
from tests.fakes.llm_server import FakeLlm, Script, send
from tests.fakes.raw_http import post
from tests.fakes.running import RunningNode, node_before, running_node

ASKS = 20
PLAIN = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@contextlib.asynccontextmanager
async def two_kinds(folder: Path, openai: Script, ollama: Script) -> AsyncIterator[RunningNode]:
    """A node in front of a server of OpenAI's kind and one of Ollama's, with the same model."""
    async with (
        FakeLlm().answer(OPENAI.endpoint, openai) as one,
        FakeLlm().answer(OLLAMA.endpoint, ollama) as two,
    ):
        servers = (("openai", f"{one.url}/v1"), ("ollama", two.url))
        file = folder / "masa.toml"
        file.write_text(
            "\n".join(
                f'[[upstream]]\nname = "{kind}"\nkind = "{kind}"\nurl = "{url}"\nmodels = ["m"]\nhosted = true\n'
                for kind, url in servers
            )
        )
        async with running_node(MASA_CONFIG=str(file)) as node:
            yield node


@pytest.mark.parametrize("path", ["/api/v1/chat", "/v1/api/chat"])
async def test_every_ask_has_the_same_format_and_streams_as_ollama_does(tmp_path: Path, path: str) -> None:
    async with two_kinds(tmp_path, (send(OPENAI.stream),), (send(OLLAMA.stream),)) as node:
        replies = [await post(node.port, path, json.dumps(PLAIN).encode()) for _ in range(ASKS)]
    assert {reply.header("x-masa-format") for reply in replies} == {"ollama"}
    assert {reply.header("content-type") for reply in replies} == {OLLAMA.content_type}
    assert {reply.body for reply in replies} == {b"".join(OLLAMA.frames)}


async def test_whoever_is_left_answers_in_the_same_format(tmp_path: Path) -> None:
    overloaded = (send(OLLAMA.whole.replace(b"200 OK", b"500 No")),)
    async with two_kinds(tmp_path, (send(OPENAI.whole),), overloaded) as node:
        reply = await post(node.port, "/api/v1/chat", json.dumps({**PLAIN, "stream": False}).encode())
    assert (reply.status, reply.header("x-masa-format")) == (200, "ollama")
    assert reply.header("x-masa-translated") == "ollama>openai"
    assert json.loads(reply.body)["message"]["content"] == "Hello"


async def test_an_ollama_body_gets_ollamas_answer_of_a_server_of_another_kind() -> None:
    async with node_before(OPENAI, send(OPENAI.whole)) as (llm, node):
        body = {**PLAIN, "stream": False, "options": {"temperature": 0}}
        reply = await post(node.port, "/api/v1/chat", json.dumps(body).encode())
    assert reply.header("x-masa-format") == "ollama"
    assert json.loads(reply.body)["message"]["content"] == "Hello"
    assert json.loads(llm.asked(OPENAI.endpoint)[-1].body)["temperature"] == 0


async def test_a_lone_servers_answer_passes_as_it_is_and_its_format_is_named() -> None:
    async with node_before(OPENAI, send(OPENAI.whole)) as (_, node):
        reply = await post(node.port, "/api/v1/chat", json.dumps(PLAIN).encode())
    assert (reply.body, reply.header("x-masa-format"), reply.header("x-masa-translated")) == (
        OPENAI.answer,
        "openai",
        None,
    )
