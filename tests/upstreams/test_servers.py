"""The kinds of servers: what they list, page by page, and the URLs they are asked at.

Covers: `servers.anthropic`, `servers.cloudflare`, `servers.ollama`, `servers.openai`, `servers.server`.
"""

import json
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from masa_node.chat.errors import NotAnAnswer, ProviderError
from masa_node.chat.offer import NO_FACTS, ModelFacts
from masa_node.chat.request import Endpoint
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.servers import anthropic, cloudflare, ollama
from masa_node.upstreams.servers.anthropic import AnthropicServer
from masa_node.upstreams.servers.cloudflare import CloudflareServer
from masa_node.upstreams.servers.ollama import OllamaServer
from masa_node.upstreams.servers.openai import OpenAiServer
from masa_node.upstreams.servers.server import NoListing
from tests.fakes.dialect_samples import ANTHROPIC, OPENAI
from tests.fakes.http_bytes import whole
from tests.fakes.llm_server import FakeLlm, Line, close, send
from tests.fakes.raw_http import HEADERS, post
from tests.fakes.running import running_node

KEY = "sk-upstream"


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as client:
        yield client


# ---- Cloudflare ----

SEARCH = "/client/v4/accounts/acc/ai/models/search"


def cloudflare_at(llm: FakeLlm) -> CloudflareServer:
    return CloudflareServer(f"{llm.url}/client/v4/accounts/acc/ai/run", KEY)


def search_page(*names: str, task: str = "Text Generation") -> bytes:
    entries = [{"name": name, "task": {"name": task}, "properties": []} for name in names]
    return json.dumps({"result": entries, "success": True}).encode()


async def test_cloudflares_pages_are_read_until_one_is_empty(http: HttpClient) -> None:
    pages = [search_page("@cf/a", "@cf/b"), search_page("@cf/c"), search_page()]
    async with FakeLlm().answer(SEARCH, *[(send(whole(page)),) for page in pages]) as llm:
        offers = await cloudflare_at(llm).list_models(http)
    assert [offer.model for offer in offers] == ["@cf/a", "@cf/b", "@cf/c"]
    assert [parse_qs(urlsplit(got.target).query)["page"] for got in llm.requests] == [["1"], ["2"], ["3"]]
    assert {got.header("authorization")[0] for got in llm.requests} == {f"Bearer {KEY}"}


async def test_an_empty_page_ends_a_masa_nodes_list_too(http: HttpClient) -> None:
    pages = [search_page("a", "b"), search_page()]
    scripts = [(send(whole(page, headers=[("X-Masa-Node", "0.1.0")])),) for page in pages]
    async with FakeLlm().answer(SEARCH, *scripts) as llm:
        assert [offer.model for offer in await cloudflare_at(llm).list_models(http)] == ["a", "b"]


async def test_a_server_that_ignores_the_page_is_asked_twice(http: HttpClient) -> None:
    async with FakeLlm().answer(SEARCH, (send(whole(search_page("@cf/a", "@cf/b"))),)) as llm:
        offers = await cloudflare_at(llm).list_models(http)
    assert [offer.model for offer in offers] == ["@cf/a", "@cf/b"]
    assert len(llm.requests) == 2


async def test_pages_without_an_end_are_read_to_a_bound(http: HttpClient) -> None:
    async def page(line: Line) -> None:
        await line.write(whole(search_page(f"@cf/{len(line.server.requests)}")))

    async with FakeLlm().answer(SEARCH, (page,)) as llm:
        offers = await cloudflare_at(llm).list_models(http)
    assert len(offers) == len(llm.requests) == cloudflare.MAX_PAGES


async def test_a_page_without_a_chat_model_is_not_the_last(http: HttpClient) -> None:
    pages = [search_page("@cf/whisper", task="Automatic Speech Recognition"), search_page("@cf/a"), search_page()]
    async with FakeLlm().answer(SEARCH, *[(send(whole(page)),) for page in pages]) as llm:
        offers = await cloudflare_at(llm).list_models(http)
    assert [offer.model for offer in offers] == ["@cf/a"]


async def test_a_context_length_of_cloudflares_is_read(http: HttpClient) -> None:
    properties = '"properties":[{"property_id":"context_window","value":"8192"},{"property_id":"beta","value":"true"}]'
    entry = f'{{"result":[{{"name":"@cf/a",{properties}}}]}}'
    async with FakeLlm().answer(SEARCH, (send(whole(entry.encode())),)) as llm:
        (offer,) = await cloudflare_at(llm).list_models(http)
    assert offer.context_tokens == 8192


@pytest.mark.parametrize(
    ("run_url", "api_url", "search"),
    [
        ("{}/client/v4/accounts/acc/ai/run", "", "/client/v4/accounts/acc/ai/models/search"),
        ("{}/client/v4/accounts/acc/ai/run/", "", "/client/v4/accounts/acc/ai/models/search"),
        ("{}/accounts/acc/ai/run", "{}/other", "/other/accounts/acc/ai/models/search"),
        ("{}/proxy", "{}/accounts/b", "/accounts/b/ai/models/search"),
    ],
)
async def test_models_are_searched_where_the_url_says(
    http: HttpClient, run_url: str, api_url: str, search: str
) -> None:
    async with FakeLlm().answer(search, (send(whole(search_page("@cf/a"))),)) as llm:
        server = CloudflareServer(run_url.format(llm.url), KEY, api_url.format(llm.url))
        assert [offer.model for offer in await server.list_models(http)] == ["@cf/a"]


async def test_a_gateways_models_are_searched_at_cloudflares_api() -> None:
    server = CloudflareServer("https://gateway.ai.cloudflare.com/v1/acc/gate/workers-ai", KEY)
    assert server.search_url == "https://api.cloudflare.com/client/v4/accounts/acc/ai/models/search"
    assert server.target(Endpoint.OPENAI_CHAT, "m") == (
        "https://gateway.ai.cloudflare.com/v1/acc/gate/workers-ai/v1/chat/completions"
    )


async def test_without_an_account_there_is_no_list(http: HttpClient) -> None:
    with pytest.raises(NoListing, match="LLM_CF_API_URL"):
        await CloudflareServer("http://127.0.0.1:1/run", KEY).list_models(http)


NAMES = [
    "@cf/meta/llama-3-8b-instruct",
    "@cf/../../../user/tokens",
    "@cf/a?x=1&y",
    "@cf/a#b",
    "@cf/a b",
    "@cf/%2e%2e/a",
    "@cf/é\U0001f999",
    "a\\b",
    "http://evil.example/",
    "//evil.example/",
    ";@:$,+=",
]


@pytest.mark.parametrize("model", NAMES)
async def test_a_models_name_is_one_segment_of_the_path_whatever_it_holds(model: str) -> None:
    answer = whole(b'{"result":{"response":"Hi"},"success":true,"errors":[],"messages":[]}')
    body = json.dumps({"model": model}).encode()
    async with FakeLlm() as llm:
        llm.answer("/run/" + cloudflare.quote(model, safe="@"), (send(answer),))
        async with running_node(LLM_CF_URL=f"{llm.url}/run", LLM_CF_TOKEN=KEY) as node:
            reply = await post(node.port, "/api/v1/chat", body)
    assert reply.status == 200
    (got,) = llm.requests
    start, segment = got.target[:5], got.target[5:]
    assert (start, unquote(segment), got.body) == ("/run/", model, body)
    assert not set(segment) & set("/?#\\ \r\n")
    assert got.header("host") == [f"127.0.0.1:{llm.port}"]


@pytest.mark.parametrize("model", [".", ".."])
async def test_a_name_that_leads_out_of_the_path_is_asked_of_nobody(model: str) -> None:
    async with FakeLlm() as llm, running_node(LLM_CF_URL=f"{llm.url}/accounts/a/run", LLM_CF_TOKEN=KEY) as node:
        reply = await post(node.port, "/api/v1/chat", json.dumps({"model": model}).encode())
        assert [got for got in llm.requests if got.method == "POST"] == []
    assert reply.status in (400, 404)


@pytest.mark.parametrize("model", ["a\r\nHost: evil", "a\nb", "a\0b", "a\x7fb", "\u2028", "", "x" * 257])
async def test_a_name_that_no_model_can_have_goes_nowhere(model: str) -> None:
    async with FakeLlm() as llm, running_node(LLM_CF_URL=f"{llm.url}/run", LLM_CF_TOKEN=KEY) as node:
        reply = await post(node.port, "/api/v1/chat", json.dumps({"model": model}).encode())
        assert [got for got in llm.requests if got.method == "POST"] == []
    assert reply.status == 400


# ---- Anthropic ----


def model_page(*ids: str, more: bool) -> bytes:
    entries = [{"type": "model", "id": each, "created_at": "2026-02-04T00:00:00Z"} for each in ids]
    return json.dumps({"data": entries, "has_more": more, "last_id": ids[-1]}).encode()


async def test_anthropics_pages_are_read_to_the_last(http: HttpClient) -> None:
    pages = [model_page("a", "b/c?", more=True), model_page("d", more=False)]
    async with FakeLlm().answer("/v1/models", *[(send(whole(page)),) for page in pages]) as llm:
        offers = await AnthropicServer(f"{llm.url}/v1", KEY).list_models(http)
    assert [(offer.model, offer.created_at_unix_s) for offer in offers] == [
        ("a", 1770163200),
        ("b/c?", 1770163200),
        ("d", 1770163200),
    ]
    assert {offer.capabilities for offer in offers} == {("completion", "tools", "vision")}
    assert [got.target for got in llm.requests] == [
        "/v1/models?limit=1000",
        "/v1/models?limit=1000&after_id=b%2Fc%3F",
    ]
    assert {(got.header("x-api-key")[0], got.header("anthropic-version")[0]) for got in llm.requests} == {
        (KEY, "2023-06-01")
    }


async def test_an_anthropic_server_that_never_comes_to_its_last_page_is_asked_no_more_than_needed(
    http: HttpClient,
) -> None:
    async with FakeLlm().answer("/v1/models", (send(whole(model_page("a", "b", more=True))),)) as llm:
        offers = await AnthropicServer(f"{llm.url}/v1", KEY).list_models(http)
    assert [offer.model for offer in offers] == ["a", "b"]
    assert len(llm.requests) <= anthropic.MAX_PAGES


# ---- Ollama ----


def tags(*names: str, digests: bool = True) -> bytes:
    entries = [{"name": name, **({"digest": f"d-{name}"} if digests else {})} for name in names]
    return json.dumps({"models": entries}).encode()


async def show(line: Line) -> None:
    """The model `m<n>` has a context of n thousand."""
    name = json.loads(line.server.requests[-1].body)["model"]
    info = {"general.parameter_count": 5, "llama.context_length": int(name[1:]) * 1000}
    await line.write(whole(json.dumps({"model_info": info}).encode()))


async def test_ollamas_context_lengths_are_asked_for_once_a_model(http: HttpClient) -> None:
    async with FakeLlm().answer("/api/tags", (send(whole(tags("m1", "m2"))),)).answer("/api/show", (show,)) as llm:
        server = OllamaServer(llm.url, KEY)
        for _ in range(3):
            offers = await server.list_models(http)
            assert [(offer.model, offer.context_tokens) for offer in offers] == [("m1", 1000), ("m2", 2000)]
    assert len(llm.asked("/api/show")) == 2
    assert {got.header("authorization")[0] for got in llm.requests} == {f"Bearer {KEY}"}


async def test_what_ollama_tells_of_a_model_is_known_of_its_offer(http: HttpClient) -> None:
    details = {"format": "gguf", "family": "llama", "parameter_size": "8.0B", "quantization_level": "Q4_K_M"}
    listed = {
        "name": "m",
        "digest": "d",
        "modified_at": "2026-11-22T23:12:39Z",
        "size": 4_900_000_000,
        "details": details,
    }
    told = {"model_info": {"llama.context_length": 8192}, "capabilities": ["completion", "tools"]}
    async with FakeLlm().answer("/api/tags", (send(whole(json.dumps({"models": [listed]}).encode())),)) as llm:
        llm.answer("/api/show", (send(whole(json.dumps(told).encode())),))
        (offer,) = await OllamaServer(llm.url, "").list_models(http)
    assert offer.facts == ModelFacts("llama", "8.0B", "Q4_K_M", 4_900_000_000, "gguf")
    assert (offer.capabilities, offer.context_tokens) == (("completion", "tools"), 8192)
    assert offer.created_at_unix_s == 1_795_389_159


@pytest.mark.parametrize(
    "odd",
    [
        {"details": 7, "size": "big"},
        {"details": {"format": 1, "family": ["llama"], "parameter_size": None}, "size": -1},
        {"details": None, "size": 1e300},
    ],
)
async def test_odd_facts_are_no_facts(http: HttpClient, odd: dict[str, object]) -> None:
    listing = json.dumps({"models": [{"name": "m", **odd}]}).encode()
    async with FakeLlm().answer("/api/tags", (send(whole(listing)),)) as llm:
        llm.answer("/api/show", (send(whole(b'{"capabilities": {"tools": 1}}')),))
        (offer,) = await OllamaServer(llm.url, "").list_models(http)
    assert (offer.facts, offer.capabilities) == (NO_FACTS, ())


async def test_what_llama_cpp_tells_of_a_model_is_known_of_its_offer(http: HttpClient) -> None:
    entries = [
        {"id": "small", "meta": {"n_params": 134_515_008, "size": 91_000_000, "n_ctx": 2048}},
        {"id": "large", "meta": {"n_params": 8_030_261_312, "size": "?"}},
    ]
    async with FakeLlm().answer("/v1/models", (send(whole(json.dumps({"data": entries}).encode())),)) as llm:
        base = f"{llm.url}/v1"
        server = OpenAiServer((base,), "", label="llama.cpp")
        small, large = await server.list_models(http)
    assert small.facts == ModelFacts(parameter_size="134.52M", size_bytes=91_000_000)
    assert large.facts == ModelFacts(parameter_size="8.0B")


@pytest.mark.parametrize(
    ("entry", "capabilities"),
    [
        ({"architecture": {"input_modalities": ["text"]}}, ("completion", "tools")),
        ({"architecture": {"input_modalities": ["text", "image"]}}, ("completion", "tools", "vision")),
        (
            {
                "architecture": {"input_modalities": ["audio", "text"]},
                "supported_parameters": ["tools", "tool_choice", "reasoning"],
            },
            ("completion", "tools", "audio", "thinking"),
        ),
        ({"architecture": {"input_modalities": ["text"]}, "supported_parameters": ["seed"]}, ("completion",)),
        ({"supported_parameters": ["seed"]}, ()),
        ({"architecture": {"input_modalities": "text"}}, ()),
        ({"architecture": "llama"}, ()),
        ({}, ()),
    ],
)
async def test_what_llama_cpp_and_openrouter_tell_that_a_model_takes_is_told_as_ollama_does(
    http: HttpClient, entry: dict[str, object], capabilities: tuple[str, ...]
) -> None:
    listing = json.dumps({"data": [{"id": "m", **entry}]}).encode()
    async with FakeLlm().answer("/v1/models", (send(whole(listing)),)) as llm:
        (offer,) = await OpenAiServer((f"{llm.url}/v1",), "").list_models(http)
    assert offer.capabilities == capabilities


async def test_a_model_that_was_pulled_again_is_asked_for_again(http: HttpClient) -> None:
    anew = tags("m1").replace(b"d-m1", b"other")
    scripts = [(send(whole(body)),) for body in (tags("m1"), anew)]
    async with FakeLlm().answer("/api/tags", *scripts).answer("/api/show", (show,)) as llm:
        server = OllamaServer(llm.url, "")
        for _ in range(2):
            await server.list_models(http)
        assert len(server.details) == 1
    assert len(llm.asked("/api/show")) == 2


async def test_models_without_a_digest_are_told_apart(http: HttpClient) -> None:
    async with FakeLlm().answer("/api/tags", (send(whole(tags("m1", "m2", digests=False))),)) as llm:
        llm.answer("/api/show", (show,))
        offers = await OllamaServer(llm.url, "").list_models(http)
    assert [offer.context_tokens for offer in offers] == [1000, 2000]


@pytest.mark.parametrize("script", [(close,), (send(whole(b"", status=404)),), (send(whole(b'{"model_info":7}')),)])
async def test_an_ollama_whose_show_fails_lists_its_models_anyway(http: HttpClient, script: object) -> None:
    async with FakeLlm().answer("/api/tags", (send(whole(tags("m1", "m2"))),)) as llm:
        llm.answer("/api/show", script)  # type: ignore[arg-type]
        offers = await OllamaServer(llm.url, "").list_models(http)
    assert [(offer.model, offer.context_tokens) for offer in offers] == [("m1", None), ("m2", None)]


async def test_a_thousand_models_are_not_all_looked_at_in_one_go(http: HttpClient) -> None:
    names = [f"m{number}" for number in range(1, 1001)]
    async with FakeLlm().answer("/api/tags", (send(whole(tags(*names))),)).answer("/api/show", (show,)) as llm:
        server = OllamaServer(llm.url, "")
        assert len(await server.list_models(http)) == 1000
        assert len(llm.asked("/api/show")) == ollama.MAX_SHOWN_A_REFRESH
        await server.list_models(http)
        assert len(llm.asked("/api/show")) == 2 * ollama.MAX_SHOWN_A_REFRESH


# ---- OpenAI and compatible ones ----


@pytest.mark.parametrize(
    ("entry", "context"),
    [
        ({"max_model_len": 4096}, 4096),  # vLLM
        ({"context_length": 8192}, 8192),  # OpenRouter, LM Studio
        ({"meta": {"n_ctx": 512, "n_ctx_train": 131072}}, 512),  # llama.cpp, as it runs
        ({"meta": {"n_ctx_train": 131072}}, 131072),  # llama.cpp, what the model could
        ({}, None),
        ({"max_model_len": None, "context_length": "8k", "meta": []}, None),
    ],
)
async def test_a_context_length_is_read_under_each_servers_name(
    http: HttpClient, entry: dict[str, object], context: int | None
) -> None:
    body = json.dumps({"data": [{"id": "m", "created": 7, "owned_by": "me", **entry}]}).encode()
    async with FakeLlm().answer("/v1/models", (send(whole(body)),)) as llm:
        server = OpenAiServer((f"{llm.url}/v1",), KEY, label="")
        (offer,) = await server.list_models(http)
    assert (offer.context_tokens, offer.created_at_unix_s, offer.owned_by) == (context, 7, "me")


@pytest.mark.parametrize("status", [401, 403, 429, 500])
async def test_a_list_that_is_refused_is_an_error_that_names_the_url_and_the_status(
    http: HttpClient, status: int
) -> None:
    async with FakeLlm().answer("/v1/models", (send(whole(b"{}", status=status)),)) as llm:
        server = OpenAiServer((f"{llm.url}/v1",), KEY, label="")
        with pytest.raises(NotAnAnswer, match=f"{llm.url}/v1/models answered {status}"):
            await server.list_models(http)


async def test_a_redirected_list_is_not_followed(http: HttpClient) -> None:
    async with FakeLlm() as canary, FakeLlm() as llm:
        moved = whole(
            b"",
            status=302,
            headers=[("Location", f"{canary.url.replace('//', '//me:secret@')}/v1/models?state=secret#token=secret")],
        )
        llm.answer("/v1/models", (send(moved),))
        server = OpenAiServer((f"{llm.url}/v1",), KEY, label="")
        with pytest.raises(ProviderError, match=f"a redirect to '{canary.url}/v1/models'.* Set the final URL"):
            await server.list_models(http)
    assert canary.connections == 0


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (400, b"<html><title>The plain HTTP request was sent to HTTPS port</title>", "sent to HTTPS port"),
        (401, b'{"error":{"message":"Incorrect API key provided: sk-1"}}', r"answered 401\.$"),
        (403, b"", "an Ollama that does not know the host"),  # behind a proxy that sends its own name as Host
        (400, b'{"error":"of postgres://u:pw@db"}', r"answered 400 instead of a list of models\.$"),
        (500, b"<html>of postgres://u:pw@db</html>", r"answered 500 instead of a list of models\.$"),
    ],
)
async def test_a_list_that_is_refused_is_an_error_that_gives_no_key_away(
    http: HttpClient, status: int, body: bytes, words: str
) -> None:
    async with FakeLlm().answer("/v1/models", (send(whole(body, status=status)),)) as llm:
        server = OpenAiServer((f"{llm.url}/v1",), KEY, label="")
        with pytest.raises(NotAnAnswer, match=words):
            await server.list_models(http)


CHAT_BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"seed":7}'


async def test_anthropics_endpoint_for_openais_clients_is_used_where_its_owner_named_it() -> None:
    """Bytes pass as they are, with the key as OpenAI's clients send it; Anthropic's own clients are served as ever."""
    page, answer = model_page("m", more=False), (send(OPENAI.whole),)
    fake = FakeLlm().answer("/v1/models", (send(whole(page)),)).answer("/v1/chat/completions", answer)
    fake.answer("/v1/messages", (send(ANTHROPIC.whole),))
    async with fake as llm:
        url = f"{llm.url}/v1/chat/completions"
        async with running_node(ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=url) as node:
            chat = await post(node.port, "/v1/chat/completions", CHAT_BODY)
            own = await post(node.port, "/v1/messages", b'{"model":"m","max_tokens":9,"messages":[]}')
    assert (chat.body, own.body) == tuple(each.whole.partition(b"\r\n\r\n")[2] for each in (OPENAI, ANTHROPIC))
    assert {chat.header("x-masa-translated"), own.header("x-masa-translated")} == {None}
    (got,), (other,) = llm.asked("/v1/chat/completions"), llm.asked("/v1/messages")
    assert (got.body, got.header("authorization"), got.header("x-api-key")) == (CHAT_BODY, [f"Bearer {KEY}"], [])
    assert (other.header("authorization"), other.header("x-api-key")) == ([], [KEY])


async def test_openais_clients_are_otherwise_translated_for_anthropic_which_keeps_more_and_says_what_is_lost() -> None:
    fake = FakeLlm().answer("/v1/models", (send(whole(model_page("m", more=False))),))
    fake.answer("/v1/chat/completions", (send(OPENAI.whole),)).answer("/v1/messages", (send(ANTHROPIC.whole),))
    async with fake as llm, running_node(ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=llm.url) as node:
        reply = await post(node.port, "/v1/chat/completions", CHAT_BODY)
        strict = await post(node.port, "/v1/chat/completions", CHAT_BODY, [*HEADERS, ("X-Masa-Strict", "1")])
    assert (reply.status, reply.header("x-masa-translated"), reply.header("x-masa-dropped")) == (
        200,
        "openai>anthropic",
        "seed",
    )
    assert strict.status == 400
    assert llm.asked("/v1/chat/completions") == []
