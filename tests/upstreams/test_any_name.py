"""A server that answers whatever name it is asked for, and servers that have no models: both told as they are.

Covers: `upstream`, `servers.listing`, `servers.openai`.
"""

import asyncio
import json
from pathlib import Path

import pytest

from masa_node.node import node as compose
from tests.fakes.dialect_samples import OLLAMA, OPENAI, listed
from tests.fakes.http_bytes import whole
from tests.fakes.llm_server import FakeLlm, Script, send, stall, wait_for
from tests.fakes.raw_http import get, post
from tests.fakes.running import RunningNode, running_node

GOOD: Script = (send(OPENAI.whole),)
VERSION: Script = (send(whole(b'{"version":"1"}')),)


def llama(*models: str, **more: object) -> Script:
    entries = [{"id": model, "owned_by": "llamacpp", **more} for model in models]
    return (send(whole(json.dumps({"object": "list", "data": entries}).encode())),)


async def ask(node: RunningNode, model: str, endpoint: str = OPENAI.endpoint) -> int:
    return (await post(node.port, endpoint, json.dumps({"model": model}).encode())).status


def toml(folder: Path, *servers: str) -> str:
    file = folder / "masa.toml"
    file.write_text("".join(f'[[upstream]]\nname = "s{at}"\n{server}\n' for at, server in enumerate(servers)))
    return str(file)


async def test_a_llama_cpp_is_asked_for_any_name_as_it_is_straight() -> None:
    async with (
        FakeLlm().answer("/v1/models", llama("m.gguf")).answer(OPENAI.endpoint, GOOD) as llm,
        running_node(LLM_CHAT_URL=llm.url) as node,
    ):
        assert await ask(node, "gpt-3.5-turbo") == 200
        assert await ask(node, "gpt-3.5-turbo", "/api/chat") != 200
    assert b"gpt-3.5-turbo" in llm.asked(OPENAI.endpoint)[0].body


@pytest.mark.parametrize(("endpoint", "strict"), [("/api/show", "0"), ("/api/chat", "1")])
async def test_where_it_cannot_be_asked_a_name_that_nobody_lists_is_unknown(endpoint: str, strict: str) -> None:
    async with (
        FakeLlm().answer("/v1/models", llama("count.gguf")).answer(OPENAI.endpoint, GOOD) as llm,
        running_node(LLM_CHAT_URL=llm.url) as node,
    ):
        reply = await post(node.port, endpoint, b'{"model":"coun"}', [("X-Masa-Strict", strict)])
    assert reply.status == 404
    assert b"Nearest: count.gguf" in reply.body


async def test_a_llama_cpp_with_several_models_is_asked_for_those() -> None:
    for listing in (llama("a", "b"), llama("a", status={"value": "loaded"})):
        async with (
            FakeLlm().answer("/v1/models", listing).answer(OPENAI.endpoint, GOOD) as llm,
            running_node(LLM_CHAT_URL=llm.url) as node,
        ):
            assert [await ask(node, name) for name in ("a", "other")] == [200, 404]


async def test_beside_another_server_a_mistyped_name_does_not_end_at_the_llama_cpp(tmp_path: Path) -> None:
    async with (
        FakeLlm().answer("/v1/models", llama("m.gguf")).answer(OPENAI.endpoint, GOOD) as llm,
        FakeLlm().answer("/v1/models", listed("qwen3")).answer(OPENAI.endpoint, GOOD) as other,
    ):
        config = toml(tmp_path, f'url = "{llm.url}"', f'url = "{other.url}"')
        async with running_node(MASA_CONFIG=config) as node:
            assert [await ask(node, name) for name in ("m.gguf", "qwen3", "qwen33")] == [200, 200, 404]


async def test_an_owner_may_say_that_a_server_takes_any_name(tmp_path: Path) -> None:
    async with (
        FakeLlm().answer("/v1/models", listed("m")).answer(OPENAI.endpoint, GOOD) as llm,
        FakeLlm().answer("/v1/models", listed("qwen3")).answer(OPENAI.endpoint, GOOD) as other,
    ):
        config = toml(tmp_path, f'url = "{other.url}"', f'url = "{llm.url}"\nany_model = true')
        async with running_node(MASA_CONFIG=config) as node:
            assert [await ask(node, name) for name in ("qwen3", "unknown")] == [200, 200]
    assert [json.loads(got.body)["model"] for got in llm.asked(OPENAI.endpoint)] == ["unknown"]


async def test_of_two_that_take_any_name_none_is_guessed(tmp_path: Path) -> None:
    async with FakeLlm().answer("/v1/models", listed("m")) as llm:
        config = toml(tmp_path, *[f'url = "{llm.url}"\nany_model = true'] * 2)
        async with running_node(MASA_CONFIG=config) as node:
            assert await ask(node, "unknown") == 404


# ---- no models ----


@pytest.mark.parametrize("tags", [b'{"models":null}', b'{"models":[]}', b'{"data":null}'])
async def test_an_ollama_without_models_is_named_and_told_how_to_get_one(tags: bytes) -> None:
    async with (
        FakeLlm().answer("/api/version", VERSION).answer("/api/tags", (send(whole(tags)),)) as llm,
        running_node(LLM_CHAT_URL=llm.url) as node,
    ):
        ready = await get(node.port, "/readyz")
        (server,) = json.loads(ready.body)["upstreams"]
        assert (ready.status, server["kind"], server["state"]) == (503, "Ollama", "up, without models")
        assert "ollama pull" in json.loads(ready.body)["why"]
        reply = await post(node.port, OLLAMA.endpoint, OLLAMA.ask())
        assert reply.status == 404
        message = OLLAMA.message_in(reply.body)
        assert llm.url in message
        assert "ollama pull" in message
        assert "Is an LLM server running?" not in message
        for path in ("/v1/models", "/api/tags"):
            assert json.loads((await get(node.port, path)).body).get("data", []) == []


# ---- the first list ----


@pytest.mark.parametrize("path", ["/v1/models", "/api/v1/llm/models"])
async def test_the_first_list_waits_for_servers_that_were_not_asked_yet(path: str) -> None:
    may_list = asyncio.Event()
    script: Script = (wait_for(may_list), *listed("m"))
    async with FakeLlm().answer("/v1/models", script) as llm:
        keys = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{llm.url}/v1"}
        async with running_node(settled=False, **keys) as node, asyncio.TaskGroup() as group:
            asked = group.create_task(get(node.port, path))
            await llm.until(lambda: llm.requests != [])
            await asyncio.sleep(0)
            may_list.set()
            reply = await asked
    assert reply.status == 200
    assert b'"m"' in reply.body


async def test_the_first_list_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "READY_WITHIN_S", 0.05)
    async with FakeLlm(on_connect=(stall,)) as llm, running_node(settled=False, LLM_CHAT_URL=llm.url) as node:
        assert json.loads((await get(node.port, "/v1/models")).body)["data"] == []
