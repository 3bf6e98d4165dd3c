"""What the node knows of its servers' models: kept while a server is down, found when one comes up, for ever alive."""

import asyncio
import errno
import json
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from masa_node.chat.errors import ProviderError
from masa_node.chat.offer import ModelOffer
from masa_node.dialects.bodies.peek import MAX_MODEL_CHARS
from masa_node.routing.health import OPENS_AFTER
from masa_node.upstreams import poller
from masa_node.upstreams.http import client
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.servers.anthropic import AnthropicServer
from masa_node.upstreams.servers.cloudflare import CloudflareServer
from masa_node.upstreams.servers.ollama import OllamaServer
from masa_node.upstreams.servers.openai import OpenAiServer
from masa_node.upstreams.spec import UpstreamKind, UpstreamSpec
from masa_node.upstreams.upstream import Upstream
from tests.fakes.dialect_samples import OLLAMA, OPENAI, listed
from tests.fakes.http_bytes import whole
from tests.fakes.llm_server import FakeLlm, close, send, stall, until
from tests.fakes.no_server import closed_port
from tests.fakes.raw_http import HEADERS, get, post
from tests.fakes.running import RunningNode, node_before, running_node

GOOD = (send(OPENAI.whole),)
SOON_S = 0.02


async def models(node: RunningNode) -> list[str]:
    return [entry["id"] for entry in json.loads((await get(node.port, "/v1/models")).body)["data"]]


async def ask(node: RunningNode, model: str) -> int:
    return (await post(node.port, OPENAI.endpoint, json.dumps({"model": model}).encode())).status


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come soon."""
    monkeypatch.setattr(poller, "FIRST_RETRY_S", SOON_S)
    monkeypatch.setattr(poller, "REFRESH_AFTER_S", 0.0)


# ---- down and up ----


@pytest.mark.usefixtures("_impatient")
async def test_the_list_is_kept_while_the_server_is_down_and_it_serves_again_when_it_is_back() -> None:
    before = FakeLlm(port=closed_port()).answer("/v1/models", listed("a", "b")).answer(OPENAI.endpoint, GOOD)
    async with before as llm, running_node(**OPENAI.settings(llm.url)) as node:
        (provider,) = node.node.poller.providers
        assert await models(node) == ["a", "b"]
        await llm.stop()
        assert await ask(node, "a") == 503
        await until(lambda: node.node.poller.is_up(provider) is False)
        assert await models(node) == ["a", "b"]
        async with FakeLlm(port=llm.port).answer("/v1/models", listed("c")).answer(OPENAI.endpoint, GOOD):
            assert await ask(node, "a") == 200
            await until(lambda: node.node.poller.is_up(provider) is True)
            assert await models(node) == ["c"]
            assert await ask(node, "c") == 200


async def test_a_server_is_not_down_because_the_node_may_open_no_more_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seen with 1 024 files: the node said "upstream is down", of a server that was well, and was not ready."""

    async def no_more_files(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    server = FakeLlm().answer("/v1/models", (*listed("a"), close)).answer(OPENAI.endpoint, GOOD)
    async with server as llm, running_node(**OPENAI.settings(llm.url)) as node:
        (provider,) = node.node.poller.providers
        with monkeypatch.context() as patch:
            patch.setattr(client, "start_connection", no_more_files)
            patch.setattr(poller, "REFRESH_AFTER_S", 0.0)
            await node.node.poller.refresh()
            assert node.node.poller.is_up(provider)
            for _ in range(2 * OPENS_AFTER):
                assert await ask(node, "a") == 503
        assert await ask(node, "a") == 200


@pytest.mark.usefixtures("_impatient")
async def test_a_server_may_be_started_after_the_node() -> None:
    port = closed_port()
    async with running_node(LLM_CHAT_URL=f"http://127.0.0.1:{port}") as node:
        assert (await get(node.port, "/readyz")).status == 503
        assert await ask(node, "a") == 503
        async with FakeLlm(port=port) as llm:
            llm.answer("/api/version", (send(whole(b'{"version":"1"}')),))
            llm.answer("/api/tags", (send(whole(b'{"models":[{"name":"a:latest"}]}')),))
            llm.answer(OPENAI.endpoint, GOOD).answer(OLLAMA.endpoint, (send(OLLAMA.whole),))
            assert await ask(node, "a") == 200
            await until(lambda: node.node.catalog.knows("a"))
            assert (await get(node.port, "/readyz")).status == 200
            assert (await post(node.port, OLLAMA.endpoint, b'{"model":"a","stream":false}')).body == OLLAMA.answer


@pytest.mark.usefixtures("_impatient")
async def test_a_server_of_another_kind_in_the_place_of_one_that_went_is_recognised() -> None:
    before = FakeLlm(port=closed_port()).answer("/v1/models", listed("a"))
    async with before as llm, running_node(LLM_CHAT_URL=llm.url) as node:
        assert await models(node) == ["a"]
        await llm.stop()
        await ask(node, "a")
        await until(lambda: node.node.states()[0][2] is False)
        async with FakeLlm(port=llm.port) as ollama:
            ollama.answer("/api/version", (send(whole(b'{"version":"1"}')),))
            ollama.answer("/api/tags", (send(whole(b'{"models":[{"name":"b"}]}')),))
            await until(lambda: node.node.catalog.knows("b"))
            assert node.node.states()[0][1] == "Ollama"


async def test_the_start_does_not_wait_for_a_server() -> None:
    async with (
        asyncio.timeout(10),  # the list is waited for 30 s
        FakeLlm(on_connect=(stall,)) as llm,
        running_node(settled=False, LLM_CHAT_URL=llm.url) as node,
    ):
        assert (await get(node.port, "/healthz")).status == 200


@pytest.mark.usefixtures("_impatient")
async def test_a_listing_that_never_ends_is_given_up_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller, "LIST_WITHIN_S", 0.05)
    async with node_before(OPENAI, listings=((stall,), listed("a"))) as (llm, node):
        await until(lambda: node.node.catalog.knows("a"))
        assert llm.departures == 1


@pytest.mark.usefixtures("_impatient")
async def test_a_server_that_never_says_what_it_is_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller, "LIST_WITHIN_S", 0.05)
    async with FakeLlm().answer("/api/version", (stall,), (close,), (send(whole(b'{"version":"1"}')),)) as llm:
        llm.answer("/api/tags", (send(whole(b'{"models":[{"name":"a"}]}')),))
        async with running_node(settled=False, LLM_CHAT_URL=llm.url) as node:
            await until(lambda: node.node.catalog.knows("a"))


# ---- what may be asked ----


@pytest.mark.parametrize("status", [404, 405, 501, 200])  # 200: MLX's, on a machine without a cache of models
async def test_a_server_without_a_list_serves_any_name(status: int) -> None:
    async with node_before(OPENAI, *GOOD, listings=((send(whole(b"", status=status)),),)) as (_, node):
        assert await models(node) == []
        assert [await ask(node, name) for name in ("any", "other:thing")] == [200, 200]


@pytest.mark.parametrize("body", [b"no JSON", b"7", b'{"data":7}', b'{"data":{}}', b'{"data":' + b"[" * 50_000])
async def test_a_server_with_a_list_that_cannot_be_read_is_down_and_still_asked(body: bytes) -> None:
    async with node_before(OPENAI, *GOOD, listings=((send(whole(body)),),)) as (_, node):
        assert node.node.states()[0][2] is False
        assert await ask(node, "any") == 200


async def test_a_model_nobody_lists_is_a_404_that_names_the_nearest() -> None:
    async with node_before(OPENAI, listings=(listed("llama-3-8b", "mistral-7b"),)) as (llm, node):
        reply = await post(node.port, OPENAI.endpoint, b'{"model":"lama-3-8b"}')
    assert reply.status == 404
    assert "llama-3-8b" in OPENAI.message_in(reply.body)
    assert llm.asked(OPENAI.endpoint) == []


@pytest.mark.usefixtures("_impatient")
async def test_a_model_that_appeared_since_the_last_listing_is_found_when_it_is_asked_for() -> None:
    async with node_before(OPENAI, *GOOD, listings=(listed("a"), listed("a", "b"))) as (_, node):
        assert await models(node) == ["a"]
        assert await ask(node, "b") == 200
        assert await models(node) == ["a", "b"]


@pytest.mark.parametrize(("has", "asked"), [("a", "a:latest"), ("a:latest", "a"), ("a:latest", "a:latest")])
async def test_latest_may_be_said_or_not_and_the_body_stays_as_it_was(has: str, asked: str) -> None:
    tags = json.dumps({"models": [{"name": has}]}).encode()
    body = json.dumps({"model": asked, "stream": False}).encode()
    async with node_before(OLLAMA, send(OLLAMA.whole), listings=((send(whole(tags)),),)) as (llm, node):
        reply = await post(node.port, OLLAMA.endpoint, body)
    assert (reply.status, llm.asked(OLLAMA.endpoint)[0].body) == (200, body)


async def test_the_models_of_masa_toml_are_offered_instead_of_the_servers_own(tmp_path: Path) -> None:
    file = tmp_path / "masa.toml"
    async with FakeLlm().answer("/v1/models", listed("a", "b", "c")).answer(OPENAI.endpoint, GOOD) as llm:
        file.write_text(f'[[upstream]]\nname = "x"\nkind = "openai"\nurl = "{llm.url}"\nmodels = ["b", "unlisted"]')
        async with running_node(MASA_CONFIG=str(file)) as node:
            assert await models(node) == ["b", "unlisted"]
            assert [await ask(node, name) for name in ("b", "unlisted", "a")] == [200, 200, 404]


async def test_an_endpoint_that_the_server_of_any_name_does_not_have_is_a_400_that_names_the_others() -> None:
    async with node_before(OPENAI) as (llm, node):
        reply = await post(node.port, OLLAMA.endpoint, b'{"model":"any"}', (*HEADERS, ("X-Masa-Strict", "1")))
    message = OLLAMA.message_in(reply.body)
    assert reply.status == 400
    assert message.startswith(f"openai ({llm.url}")
    assert "POST /v1/chat/completions" in message


# ---- no list can stop the node ----

json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**40), 10**40),
        st.floats(allow_nan=False),
        st.text(max_size=20),
        st.sampled_from(["0001-01-01T00:00:00", "9999-12-31T23:59:59-23:59", "0000-00-00", "9" * 5000, "\U0010ffff"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=5,
)


def entry_of(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Something like an entry of a list of models, in which any field may be anything."""
    anything = st.fixed_dictionaries({}, optional=dict.fromkeys(names, json_values))
    return st.builds(lambda name, fields: {"id": name, "name": name, **fields}, st.text(min_size=1), anything)


SERVERS = [
    (lambda url: OpenAiServer((f"{url}/v1",), "", label=""), "/v1/models", "data"),
    (lambda url: AnthropicServer(f"{url}/v1", ""), "/v1/models", "data"),
    (lambda url: OllamaServer(url, ""), "/api/tags", "models"),
    (lambda url: CloudflareServer(f"{url}/accounts/x/ai/run", ""), "/accounts/x/ai/models/search", "result"),
]
fields = entry_of(
    *("id", "name", "created", "owned_by", "max_model_len", "context_length", "meta", "created_at", "digest"),
    *("modified_at", "task", "properties", "has_more", "last_id"),
)


@pytest.mark.parametrize("server", SERVERS, ids=["openai", "anthropic", "ollama", "cloudflare"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entries=st.lists(fields, max_size=3),
    more=st.dictionaries(st.sampled_from(["has_more", "last_id", "x"]), json_values),
    show=json_values,
)
async def test_any_list_gives_usable_offers_or_an_error_of_ours(
    server: Any,  # noqa: ANN401
    entries: list[object],
    more: dict[str, object],
    show: object,
) -> None:
    make, target, key = server
    body = json.dumps({**more, key: entries}).encode("utf-8", "surrogatepass")
    async with FakeLlm().answer(target, (send(whole(body)),)) as llm, HttpClient() as http:
        llm.answer("/api/show", (send(whole(json.dumps({"model_info": show}).encode())),))
        try:
            upstream = Upstream(UpstreamSpec("x", UpstreamKind.AUTO, llm.url), http)
            upstream._server = make(llm.url)
            check_offers(await upstream.offers() or [])
        except ProviderError as exc:
            assert exc.message  # noqa: PT017 - a list may also be readable


def check_offers(offers: list[ModelOffer]) -> None:
    for offer in offers:
        assert offer.created_at_unix_s is None or 0 <= offer.created_at_unix_s < 253_402_300_800  # year 10000
        assert offer.context_tokens is None or 0 < offer.context_tokens < 2**53
    names = [offer.model for offer in offers]
    assert len(set(names)) == len(names)
    assert all(name.isprintable() and 0 < len(name) <= MAX_MODEL_CHARS for name in names)


NASTY = [
    b'{"data":[{"id":"a","created":1795389249000}]}',
    b'{"data":[{"id":"a","created":999999999999999999999999999999}]}',
    b'{"data":[{"id":"a","created":-99999999999999}]}',
    b'{"data":[{"id":"a","context_length":-1,"max_model_len":"x","meta":{"n_ctx":1e99}}]}',
    b'{"data":[{"id":""},{"id":7},{},null,[],{"id":"a"}]}',
    b'{"data":[{"id":"a\\r\\nb: c"},{"id":"a"}]}',
    b'{"data":[{"id":"' + b"x" * 100_000 + b'"},{"id":"a"}]}',
]


@pytest.mark.parametrize("body", NASTY)
async def test_the_node_lists_and_serves_whatever_a_list_holds(body: bytes) -> None:
    async with node_before(OPENAI, *GOOD, listings=((send(whole(body)),),)) as (_, node):
        assert await models(node) == ["a"]
        for path in ("/v1/models", "/v1/models/a", "/api/tags", "/api/v1/llm/models"):
            reply = await get(node.port, path)
            assert (reply.status, reply.is_whole) == (200, True)
            json.loads(reply.body)
        assert await ask(node, "a") == 200
