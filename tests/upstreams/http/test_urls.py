"""URLs as people write them: each means here what it means elsewhere, and nothing is called up where nothing is."""

import json
from pathlib import Path

import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.node.settings.upstreams import upstream_specs
from masa_node.upstreams.http.urls import anthropic_base, merged_query, ollama_url, openai_bases, with_scheme
from masa_node.upstreams.spec import UpstreamKind, UpstreamSpec, check_spec
from tests.fakes.dialect_samples import ANTHROPIC, OLLAMA, OPENAI, listed
from tests.fakes.http_bytes import whole
from tests.fakes.llm_server import FakeLlm, Script, send
from tests.fakes.no_server import closed_port
from tests.fakes.raw_http import get, post
from tests.fakes.running import RunningNode, running_node, settings_of

VERSION: Script = (send(whole(b'{"version":"0.32.15"}')),)
TAGS: Script = (send(whole(b'{"models":[{"name":"m"}]}')),)
GOOD: Script = (send(OPENAI.whole),)


async def state(node: RunningNode) -> tuple[int, str, str]:
    """The status of /readyz, and of its first server the state and the note."""
    reply = await get(node.port, "/readyz")
    server = json.loads(reply.body)["upstreams"][0]
    return reply.status, server["state"], server.get("note", "")


# ---- OPENAI_BASE_URL, ANTHROPIC_BASE_URL ----


@pytest.mark.parametrize(
    ("url", "bases"),
    [
        ("https://api.openai.com/v1", ("https://api.openai.com/v1",)),
        ("https://x.example/v1beta/openai", ("https://x.example/v1beta/openai",)),
        ("https://x.example/deep/base", ("https://x.example/deep/base",)),
        ("https://x.example", ("https://x.example/v1", "https://x.example")),
        ("https://x.example/v1/chat/completions", ("https://x.example/v1",)),
        ("https://x.example/v1/models", ("https://x.example/v1",)),
        ("https://x.example/v1/responses", ("https://x.example/v1",)),
    ],
)
def test_a_path_in_openai_base_url_is_meant(url: str, bases: tuple[str, ...]) -> None:
    assert openai_bases(url) == bases


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://api.anthropic.com", "https://api.anthropic.com/v1"),
        ("https://api.anthropic.com/v1", "https://api.anthropic.com/v1"),
        ("https://x.example/api/anthropic", "https://x.example/api/anthropic/v1"),
        ("https://x.example/v2", "https://x.example/v2/v1"),
        ("https://x.example/v1/messages", "https://x.example/v1"),
    ],
)
def test_anthropics_sdk_adds_v1_to_its_base_url(url: str, base: str) -> None:
    assert anthropic_base(url) == base


@pytest.mark.parametrize("ending", ["", "/", "//", "/chat/completions", "/models"])
async def test_openai_base_url_is_asked_as_its_sdk_asks_it(ending: str) -> None:
    base = "/v1beta/openai"
    async with FakeLlm().answer(f"{base}/models", listed("m")).answer(f"{base}/chat/completions", GOOD) as llm:
        url = f"{llm.url}{base}{ending}"
        async with running_node(OPENAI_API_KEY="k", OPENAI_BASE_URL=url) as node:
            assert (await post(node.port, OPENAI.endpoint, OPENAI.ask(stream=False))).status == 200
            assert (await state(node))[:2] == (200, "up")


async def test_an_api_without_v1_is_found_where_no_path_was_given() -> None:
    async with FakeLlm().answer("/models", listed("m")).answer("/chat/completions", GOOD) as llm:
        for settings in ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": llm.url}, {"LLM_CHAT_URL": llm.url}):
            async with running_node(**settings) as node:
                assert (await post(node.port, OPENAI.endpoint, OPENAI.ask(stream=False))).status == 200


@pytest.mark.parametrize("ending", ["/messages", "", "/"])
async def test_anthropic_base_url_is_asked_as_its_sdk_asks_it(ending: str) -> None:
    async with FakeLlm().answer("/x/v1/models", listed("m")).answer("/x/v1/messages", (send(ANTHROPIC.whole),)) as llm:
        url = f"{llm.url}/x/v1{ending}" if ending == "/messages" else f"{llm.url}/x{ending}"
        async with running_node(ANTHROPIC_API_KEY="k", ANTHROPIC_BASE_URL=url) as node:
            assert (await post(node.port, ANTHROPIC.endpoint, ANTHROPIC.ask(stream=False))).status == 200


# ---- LLM_CHAT_URL ----


@pytest.mark.parametrize(
    "ending",
    ["", "/", "/api", "/api/", "/api/chat", "/api/generate", "/api/tags", "/v1", "/v1/", "/v1/chat/completions"],
)
async def test_an_ollama_is_found_by_each_of_its_urls(ending: str) -> None:
    async with FakeLlm().answer("/api/version", VERSION).answer("/api/tags", TAGS) as llm:
        llm.answer(OLLAMA.endpoint, (send(OLLAMA.whole),)).answer(OPENAI.endpoint, GOOD)
        async with running_node(LLM_CHAT_URL=llm.url + ending) as node:
            assert node.node.states()[0][1] == "Ollama"
            assert (await post(node.port, OLLAMA.endpoint, OLLAMA.ask(stream=False))).status == 200
            assert (await post(node.port, OPENAI.endpoint, OPENAI.ask(stream=False))).status == 200


async def test_an_ollama_behind_a_path_is_found() -> None:
    async with FakeLlm().answer("/gpu/api/version", VERSION).answer("/gpu/api/tags", TAGS) as llm:
        llm.answer("/gpu/api/chat", (send(OLLAMA.whole),))
        async with running_node(LLM_CHAT_URL=f"{llm.url}/gpu") as node:
            assert (await post(node.port, OLLAMA.endpoint, OLLAMA.ask(stream=False))).status == 200


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("", "/v1"),
        ("/v1", "/v1"),
        ("/api", "/api"),  # Open WebUI
        ("/api", "/api/v1"),  # OpenRouter
        ("/openai", "/openai"),
        ("/openai", "/openai/v1"),
        ("/v1beta/openai/", "/v1beta/openai"),
        ("/api/v3", "/api/v3"),
        ("/api/v3/chat/completions", "/api/v3"),
        ("/openai/models", "/openai"),
    ],
)
async def test_the_api_of_a_compatible_server_is_found_where_it_lists_its_models(url: str, base: str) -> None:
    async with (
        FakeLlm().answer(f"{base}/models", listed("m")).answer(f"{base}/chat/completions", GOOD) as llm,
        running_node(LLM_CHAT_URL=llm.url + url) as node,
    ):
        assert (await post(node.port, OPENAI.endpoint, OPENAI.ask(stream=False))).status == 200
        assert (await state(node))[:2] == (200, "up")


async def test_host_and_port_are_enough() -> None:
    async with FakeLlm().answer("/v1/models", listed("m")).answer(OPENAI.endpoint, GOOD) as llm:
        for url in (f"127.0.0.1:{llm.port}", f"localhost:{llm.port}/v1"):
            async with running_node(LLM_CHAT_URL=url) as node:
                assert (await post(node.port, OPENAI.endpoint, OPENAI.ask(stream=False))).status == 200


@pytest.mark.parametrize(
    ("url", "hosted", "whole_url"),
    [
        ("localhost:11434", False, "http://localhost:11434"),
        ("[::1]:80/x", False, "http://[::1]:80/x"),
        ("gpu_box:8000", False, "http://gpu_box:8000"),
        ("api.example.com/v1", True, "https://api.example.com/v1"),
        ("localhost:8000/v1", True, "http://localhost:8000/v1"),
        ("http://x", True, "http://x"),
        ("//x", False, "//x"),
        ("", False, ""),
    ],
)
def test_a_key_is_never_sent_in_the_clear_because_a_scheme_is_missing(url: str, hosted: bool, whole_url: str) -> None:  # noqa: FBT001
    assert with_scheme(url, hosted=hosted) == whole_url


# ---- up or down ----


@pytest.mark.parametrize("ending", ["", "/v1", "/api", "/nothing", "/v1/chat/completions", "/api/chat"])
async def test_where_everything_is_a_404_there_is_no_server_and_what_was_tried_is_said(ending: str) -> None:
    async with FakeLlm() as llm, running_node(LLM_CHAT_URL=llm.url + ending) as node:
        status, is_up, note = await state(node)
        assert (status, is_up) == (503, "down")
        assert "answered 404" in note
        assert "Is the URL right?" in note
        reply = await post(node.port, OPENAI.endpoint, OPENAI.ask())
    assert reply.status == 404
    assert "answered 404" in OPENAI.message_in(reply.body) or "does not speak" in OPENAI.message_in(reply.body)


@pytest.mark.parametrize("settings", ["OPENAI", "ANTHROPIC"])
async def test_a_hosted_url_under_which_nothing_is_is_down(settings: str) -> None:
    async with FakeLlm() as llm:
        keys = {f"{settings}_API_KEY": "k", f"{settings}_BASE_URL": f"{llm.url}/wrong"}
        async with running_node(**keys) as node:
            assert (await state(node))[:2] == (503, "down")


async def test_a_server_without_a_list_is_up_because_it_refuses_an_empty_request() -> None:
    async with FakeLlm().answer(OPENAI.endpoint, GOOD) as llm:
        for settings in ({"LLM_CHAT_URL": llm.url}, {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{llm.url}/v1"}):
            async with running_node(**settings) as node:
                assert (await state(node))[:2] == (200, "up")
                assert (await post(node.port, OPENAI.endpoint, OPENAI.ask(stream=False))).status == 200


@pytest.mark.parametrize("status", [401, 402, 403, 405, 429, 503])
async def test_a_server_that_refuses_its_list_is_a_server(status: int) -> None:
    refused = (send(whole(b'{"error":{"message":"no"}}', status=status)),)
    async with FakeLlm().answer("/v1/models", refused).answer(OPENAI.endpoint, GOOD) as llm:
        for settings in ({"LLM_CHAT_URL": llm.url}, {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{llm.url}/v1"}):
            async with running_node(**settings) as node:
                ready, is_up, note = await state(node)
                assert (ready, is_up) == (200, "up")
                assert f"answered {status}" in note
                assert (await post(node.port, OPENAI.endpoint, OPENAI.ask(stream=False))).status == 200


async def test_a_list_that_is_refused_for_a_while_keeps_the_last_one() -> None:
    busy = (send(whole(b"{}", status=429)),)
    async with (
        FakeLlm().answer("/v1/models", listed("m"), busy).answer(OPENAI.endpoint, GOOD) as llm,
        running_node(OPENAI_API_KEY="k", OPENAI_BASE_URL=f"{llm.url}/v1") as node,
    ):
        await node.node.poller.providers[0].offers()
        assert [offer.model for offer in await node.node.poller.providers[0].offers() or ()] == ["m"]


# ---- OLLAMA_HOST ----


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", None),
        ("0.0.0.0", "http://127.0.0.1:11434"),  # noqa: S104
        ("0.0.0.0:1234", "http://127.0.0.1:1234"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("example.com", "http://example.com:11434"),
        ("example.com:56789/ollama/", "http://example.com:56789/ollama"),
        ("http://example.com", "http://example.com:80"),
        ("https://example.com", "https://example.com:443"),
        ("https://example.com:1234", "https://example.com:1234"),
        (":56789", "http://127.0.0.1:56789"),
        ("[::1]", "http://[::1]:11434"),
        ("[::]", "http://[::1]:11434"),
        ("[::]:1234", "http://[::1]:1234"),
        ("::1", "http://[::1]:11434"),
        ("example.com:66000", "http://example.com:11434"),
        ('"0.0.0.0"', "http://127.0.0.1:11434"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(host: str, url: str | None) -> None:
    """The cases of its own `envconfig` tests, as far as they are a client's."""
    assert ollama_url(host) == url


async def test_an_ollama_at_ollama_host_is_found() -> None:
    async with FakeLlm().answer("/v1/models", listed("m")).answer("/api/version", VERSION) as llm:
        llm.answer("/api/tags", TAGS)
        async with running_node(OLLAMA_HOST=f"0.0.0.0:{llm.port}", FIND_LOCAL="0") as node:
            assert [state[:2] for state in node.node.states()] == [("ollama", "Ollama")]


async def test_ollama_host_stands_for_ollamas_usual_port() -> None:
    async with FakeLlm().answer("/v1/models", listed("m")) as usual, FakeLlm().answer("/v1/models", listed("n")) as llm:
        ports = ((usual.port, "ollama"), (closed_port(), "vllm"))
        async with running_node(known_ports=ports, OLLAMA_HOST=f"127.0.0.1:{llm.port}") as node:
            assert [state[0] for state in node.node.states()] == ["ollama"]
            assert node.node.catalog.knows("n")
    assert usual.requests == []


# ---- what goes along ----


def test_what_the_owner_has_set_in_the_query_cannot_be_set_by_who_asks() -> None:
    assert merged_query("api-version=1", "beta=true&api-version=2&api%2Dversion=3") == "api-version=1&beta=true"
    assert merged_query("", "a=1") == "a=1"
    assert merged_query("a=1", "") == "a=1"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://me:pw@localhost/v1", "user in the URL and a key"),
        ("http://localhost/v1#x", "fragment"),
        ("http://localhost/v1?x=\u00fc", "percent-encoded"),
    ],
)
def test_what_cannot_go_along_is_refused_without_showing_a_secret(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        check_spec(UpstreamSpec("x", UpstreamKind.OPENAI, url, "sk-secret"), "OPENAI_BASE_URL")
    assert "pw" not in caught.value.message
    assert "sk-secret" not in caught.value.message


def test_user_and_query_are_no_part_of_what_is_shown() -> None:
    url = "http://me:pw%40@localhost/v1?code=hidden"
    spec = check_spec(UpstreamSpec("x", UpstreamKind.AUTO, url), "LLM_CHAT_URL")
    assert (spec.url, spec.query) == ("http://localhost/v1", "code=hidden")
    assert spec.headers == (("authorization", "Basic bWU6cHdA"),)
    shown = repr(spec) + repr(settings_of(LLM_CHAT_URL=url))
    assert "pw" not in shown
    assert "hidden" not in shown


def test_azure_costs_money_and_is_not_shared_unasked() -> None:
    url = "https://x.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=1"
    (spec,) = upstream_specs(settings_of(LLM_CHAT_URL=url, LLM_CHAT_TOKEN="k"))
    assert spec.hosted


@pytest.mark.parametrize("name", ["Host", "content-length", "X-Masa-Via", "a b", "", "Content-Type"])
def test_a_header_that_the_node_sends_itself_cannot_be_set(name: str, tmp_path: Path) -> None:
    file = tmp_path / "masa.toml"
    file.write_text(f'[[upstream]]\nname = "x"\nurl = "http://localhost"\nheaders = {{ "{name}" = "y" }}')
    with pytest.raises(ConfigurationError, match="header"):
        upstream_specs(settings_of(MASA_CONFIG=str(file)))
