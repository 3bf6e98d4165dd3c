"""The owner's own names for models: what a caller asks for, what the LLM server gets, what is said of it.

Covers: `aliasing`, `chat`, `show`, `views.models`, `routes`.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import ollama
import openai
import pytest

from masa_node import serve
from masa_node.api.aliasing import Aliasing, ways_to
from masa_node.chat.aliases import read_aliases
from masa_node.chat.errors import ConfigurationError
from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import Endpoint, Privacy
from masa_node.routing.catalog import Catalog
from tests.fakes.dialect_samples import OLLAMA, OPENAI, SAMPLES, DialectSample, listed
from tests.fakes.http_bytes import whole
from tests.fakes.llm_server import FakeLlm, Script, send
from tests.fakes.raw_http import get, post
from tests.fakes.running import running_node, settings_of
from tests.routing.scripted import ScriptedPeer, ScriptedProvider

VERSION: Script = (send(whole(b'{"version":"0.32.0"}')),)
TAG = b'{"name":"llama3.2:latest","model":"llama3.2:latest","size":7,"details":{"family":"llama"}}'
TAGS: Script = (send(whole(b'{"models":[%s]}' % TAG)),)
CLOUDFLARES = "/client/v4/accounts/a/ai/run/"


def toml(folder: Path, aliases: str, **urls: str) -> str:
    """A file with these aliases and these servers."""
    servers = "".join(f'[[upstream]]\nname = "{name}"\nurl = "{url}"\n' for name, url in urls.items())
    file = folder / "masa.toml"
    file.write_text(f"[alias]\n{aliases}\n{servers}")
    return str(file)


def openai_server(*models: str) -> FakeLlm:
    return FakeLlm().answer("/v1/models", listed(*models)).answer(OPENAI.endpoint, (send(OPENAI.whole),))


def ollama_server() -> FakeLlm:
    fake = FakeLlm().answer("/api/version", VERSION).answer("/api/tags", TAGS)
    fake.answer("/api/show", (send(whole(b'{"details":{"family":"llama"},"model_info":{}}')),))
    return fake.answer("/api/chat", (send(OLLAMA.stream),))


def chat(model: str, **more: object) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}], **more}).encode()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("server", SAMPLES, ids=str)
async def test_only_the_value_of_model_is_replaced_and_a_header_says_so(
    server: DialectSample, tmp_path: Path, *, stream: bool
) -> None:
    body = b' {"messages" : [{"role":"user","content":"gpt-4o \\u00e9 \\ud83d\\ude00","model":"gpt-4o"}],\n'
    body += b'"max_tokens":9, "stream": %s,"model"  :"gpt-4o" , "x": 1.50}\n' % (b"true" if stream else b"false")
    told = toml(tmp_path, '"gpt-4o" = "m"')
    async with (
        server.fake(send(server.stream if stream else server.whole), listings=(listed("m"),)) as llm,
        running_node(MASA_CONFIG=told, **server.settings(llm.url)) as node,
    ):
        reply = await post(node.port, server.endpoint, body)
    (got,) = [each for each in llm.asked(server.endpoint) if b"gpt" in each.body]
    assert got.body == body.replace(b'"model"  :"gpt-4o"', b'"model"  :"m"')
    assert (reply.header("x-masa-alias"), reply.header("x-masa-model")) == ("gpt-4o>m", "m")
    assert reply.body == (b"".join(server.frames) if stream else server.answer)


async def test_a_name_that_is_no_alias_passes_untouched(tmp_path: Path) -> None:
    async with openai_server("m") as llm, running_node(MASA_CONFIG=toml(tmp_path, '"a" = "m"', llm=llm.url)) as node:
        reply = await post(node.port, OPENAI.endpoint, chat("m"))
    assert llm.asked(OPENAI.endpoint)[-1].body == chat("m")
    assert reply.header("x-masa-alias") is None


async def test_of_a_list_the_first_that_is_served_is_taken(tmp_path: Path) -> None:
    told = '"smart" = ["claude-sonnet-4-5", "qwen3", "smollm2"]'
    async with (
        openai_server("smollm2", "qwen3") as llm,
        running_node(MASA_CONFIG=toml(tmp_path, told, llm=llm.url)) as node,
    ):
        reply = await post(node.port, OPENAI.endpoint, chat("smart"))
    assert reply.header("x-masa-alias") == "smart>qwen3"
    assert llm.asked(OPENAI.endpoint)[-1].body == chat("qwen3")


async def test_where_none_is_served_the_error_names_the_first_and_the_alias(tmp_path: Path) -> None:
    told = '"smart" = ["claude-sonnet-4-5", "qwen3"]'
    async with openai_server("a", "b") as llm, running_node(MASA_CONFIG=toml(tmp_path, told, llm=llm.url)) as node:
        reply = await post(node.port, OPENAI.endpoint, chat("smart"))
        one = await get(node.port, "/v1/models/smart")
        listing = json.loads((await get(node.port, "/v1/models")).body)
    assert (reply.status, reply.header("x-masa-alias")) == (404, "smart>claude-sonnet-4-5")
    for body in (reply.body, one.body):
        assert "'claude-sonnet-4-5'" in OPENAI.message_in(body)
        assert "'smart' is an alias of it in masa.toml" in OPENAI.message_in(body)
    assert [entry["id"] for entry in listing["data"]] == ["a", "b"]


async def test_an_alias_wins_over_a_model_of_its_name_in_requests_and_in_lists(tmp_path: Path) -> None:
    async with (
        openai_server("a", "b", "c-1", "c-2") as llm,
        running_node(MASA_CONFIG=toml(tmp_path, '"a" = "b"\n"c-*" = "c-2"', llm=llm.url)) as node,
    ):
        await post(node.port, OPENAI.endpoint, chat("a"))
        reply = await post(node.port, OPENAI.endpoint, chat("c-2"))
        listing = json.loads((await get(node.port, "/api/v1/llm/models")).body)["models"]
    assert [got.body for got in llm.asked(OPENAI.endpoint)][-2:] == [chat("b"), chat("c-2")]
    assert reply.header("x-masa-alias") is None
    found = {entry["id"]: entry.get("alias_of") for entry in listing}
    assert found == {"b": None, "c-2": None, "a": "b", "c-1": "c-2"}


async def test_a_request_that_stays_here_gets_a_model_of_this_node() -> None:
    catalog, refreshed = Catalog(), []

    async def refresh() -> None:
        refreshed.append(True)

    catalog.put(ScriptedPeer("bob"), [ModelOffer("far", frozenset(Endpoint))])
    catalog.put(ScriptedProvider("llm"), [ModelOffer("near", frozenset(Endpoint))])
    aliasing = Aliasing(read_aliases({"x": ["far", "near"], "y": ["none", "far"]}), catalog, lambda all_: all_, refresh)
    assert [await aliasing.model_for("x", privacy) for privacy in Privacy] == [
        "near" if privacy is not Privacy.ANY else "far" for privacy in Privacy
    ]
    assert not refreshed
    assert await aliasing.model_for("y", Privacy.LOCAL) == "none"
    assert refreshed


CHAT, EMBEDDINGS, MESSAGES = Endpoint.OPENAI_CHAT, Endpoint.OPENAI_EMBEDDINGS, Endpoint.ANTHROPIC_MESSAGES


@pytest.mark.parametrize(
    ("endpoint", "may_translate", "model"),
    [
        (MESSAGES, True, "claude"),
        (CHAT, True, "claude"),  # in translation
        (CHAT, False, "qwen"),
        (EMBEDDINGS, True, "nomic"),
        (Endpoint.OPENAI_RERANK, True, "claude"),  # nobody has it: the first says so
        (Endpoint.NATIVE, False, "claude"),
    ],
)
async def test_of_several_models_the_first_is_taken_that_can_be_asked_in_this_way(
    endpoint: Endpoint, *, may_translate: bool, model: str
) -> None:
    catalog = Catalog()
    endpoints = {"claude": MESSAGES, "qwen": CHAT, "nomic": EMBEDDINGS}
    for name, own in endpoints.items():
        catalog.put(ScriptedProvider(name), [ModelOffer(name, frozenset({own, Endpoint.NATIVE}))])

    async def refresh() -> None:
        raise AssertionError

    aliasing = Aliasing(read_aliases({"smart": [*endpoints]}), catalog, lambda all_: all_, refresh)
    ways = ways_to(endpoint, may_translate=may_translate)
    assert await aliasing.model_for("smart", Privacy.ANY, ways) == model


async def openai_client(address: str, model: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="k", max_retries=0) as client:
        message: Any = {"role": "user", "content": "hi"}
        stream = await client.chat.completions.create(model=model, messages=[message], stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "Hello"


async def anthropic_client(address: str, model: str) -> None:
    message: Any = {"role": "user", "content": "hi"}
    async with (
        anthropic.AsyncAnthropic(base_url=address, api_key="k", max_retries=0) as client,
        client.messages.stream(model=model, max_tokens=9, messages=[message]) as stream,
    ):
        assert await stream.get_final_text() == "Hello"


async def ollama_client(address: str, model: str) -> None:
    async with ollama.AsyncClient(host=address) as client:
        stream = await client.chat(model=model, messages=[{"role": "user", "content": "hi"}], stream=True)
        assert "".join([piece.message.content or "" async for piece in stream]) == "Hello"


@pytest.mark.parametrize("server", SAMPLES, ids=str)
@pytest.mark.parametrize("client", [openai_client, anthropic_client, ollama_client])
async def test_every_client_can_ask_every_server_by_an_alias(
    client: Callable[[str, str], Any], server: DialectSample, tmp_path: Path
) -> None:
    told = toml(tmp_path, '"claude-*" = "m"')
    async with (
        server.fake(send(server.stream), listings=(listed("m"),)) as llm,
        running_node(MASA_CONFIG=told, **server.settings(llm.url)) as node,
    ):
        await client(node.address, "claude-opus-4")
    assert json.loads(llm.asked(server.endpoint)[-1].body)["model"] == "m"


async def test_a_name_in_the_path_is_replaced_there_and_the_body_stays(tmp_path: Path) -> None:
    async with (
        FakeLlm() as llm,
        running_node(
            MASA_CONFIG=toml(tmp_path, '"gpt-4o" = "@cf/meta/llama"'),
            LLM_CF_URL=f"{llm.url}/accounts/a/ai/run",
            LLM_CF_TOKEN="t",
        ) as node,
    ):
        body = b'{"messages":[{"role":"user","content":"gpt-4o"}], "model":"gpt-4o"}'
        reply = await post(node.port, f"{CLOUDFLARES}gpt-4o", body)
    got = [each for each in llm.requests if each.body == body]
    assert [each.target for each in got] == ["/accounts/a/ai/run/@cf%2Fmeta%2Fllama"]
    assert reply.header("x-masa-alias") == "gpt-4o>@cf/meta/llama"


async def test_aliases_are_in_all_lists_and_patterns_in_none(tmp_path: Path) -> None:
    told = toml(tmp_path, '"gpt-4o" = "llama3.2"\n"claude-*" = "llama3.2"\n"gone" = "not-served"')
    async with ollama_server() as llm, running_node(MASA_CONFIG=told, LLM_CHAT_URL=llm.url) as node:
        own, models, tags, search, one, shown = [
            json.loads((await get(node.port, path)).body)
            for path in (
                "/api/v1/llm/models",
                "/v1/models",
                "/api/tags",
                "/client/v4/accounts/a/ai/models/search",
                "/v1/models/gpt-4o",
                "/v1/models/claude-opus-4",
            )
        ]
        one_reply = await get(node.port, "/v1/models/claude-opus-4")
        async with anthropic.AsyncAnthropic(base_url=node.address, api_key="k") as client:
            theirs = [model.id async for model in await client.models.list()]
    names = ["llama3.2:latest", "gpt-4o"]
    assert [(each["id"], each.get("alias_of")) for each in own["models"]] == [(names[0], None), ("gpt-4o", "llama3.2")]
    assert own["models"][1]["served_by"] == own["models"][0]["served_by"]
    assert [each["id"] for each in models["data"]] == theirs == names
    assert [each["id"] for each in search["result"]] == names
    renamed = json.loads(TAG) | {"name": "gpt-4o", "model": "gpt-4o"}
    assert tags["models"] == [json.loads(TAG), renamed]
    assert one == models["data"][1]
    assert (shown["id"], one_reply.header("x-masa-alias")) == ("claude-opus-4", "claude-opus-4>llama3.2")


@pytest.mark.parametrize("body", [b'{"model":"gpt-4o"}', b'{"name":"gpt-4o"}', b'{"model":"","name":"gpt-4o"}'])
async def test_ollama_shows_an_alias(body: bytes, tmp_path: Path) -> None:
    told = toml(tmp_path, '"gpt-*" = "llama3.2"')
    async with ollama_server() as llm, running_node(MASA_CONFIG=told, LLM_CHAT_URL=llm.url) as node:
        reply = await post(node.port, "/api/show", body)
    assert (reply.status, reply.header("x-masa-alias")) == (200, "gpt-4o>llama3.2")
    assert body.replace(b"gpt-4o", b"llama3.2") in [got.body for got in llm.asked("/api/show")]


async def test_an_alias_of_a_model_that_no_ollama_serves_is_shown(tmp_path: Path) -> None:
    async with (
        openai_server("m") as llm,
        running_node(MASA_CONFIG=toml(tmp_path, '"gpt-*" = "m"', llm=llm.url)) as node,
    ):
        reply = await post(node.port, "/api/show", b'{"model":"gpt-4o"}')
    assert (reply.status, reply.header("x-masa-alias")) == (200, "gpt-4o>m")
    assert json.loads(reply.body)["model_info"]["general.basename"] == "gpt-4o"


async def test_over_a_hop_the_asking_node_has_done_it_and_the_other_neither_knows_nor_tells(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    peers = {"NETWORK": "on", "PEER_HOST": "127.0.0.1", "OPEN_NETWORK": "1"}
    fake = OPENAI.fake(send(OPENAI.stream), listings=(listed("m"),))
    async with (
        fake as llm,
        serve(
            settings_of(
                **peers,
                MASA_DIR=str(tmp_path / "a"),
                MASA_CONFIG=toml(tmp_path / "a", '"m" = "other"\n"theirs" = "m"', llm=llm.url),
            ),
            grace_s=2.0,
        ) as first,
        serve(
            settings_of(
                **peers,
                MASA_DIR=str(tmp_path / "b"),
                MASA_CONFIG=toml(tmp_path / "b", '"gpt-4o" = "m"'),
                BOOTNODES=first.bootnode,
            ),
            grace_s=2.0,
        ) as second,
    ):
        async with asyncio.timeout(10):
            while not second.catalog.offers_of("m"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        port = int(second.url.rpartition(":")[2])
        reply = await post(port, OPENAI.endpoint, chat("gpt-4o", stream=True))
        names = [offer.model for _, offer in second.catalog.all_offers()]
        node_id = first.node_id
    assert (reply.status, reply.header("x-masa-served-by")) == (200, node_id)
    assert reply.header("x-masa-alias") == "gpt-4o>m"
    assert reply.body == b"".join(OPENAI.frames)
    assert llm.asked(OPENAI.endpoint)[-1].body == chat("m", stream=True)
    assert names == ["m"]


async def test_a_loop_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"masa\.toml, \[alias\].*a > b > a"):
        async with running_node(MASA_CONFIG=toml(tmp_path, '"a" = "b"\n"b" = "a"')):
            pass
