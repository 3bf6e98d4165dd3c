"""What goes up beside the body: the caller's query, and what the owner has set for one server and no other.

Covers: `access`, `servers.azure`, `spec`, `upstream`.
"""

import json
from pathlib import Path

import pytest

from tests.fakes.dialect_samples import OPENAI, SAMPLES, DialectSample, listed
from tests.fakes.http_bytes import whole
from tests.fakes.llm_server import FakeLlm, Line, Script, send
from tests.fakes.raw_http import get, post
from tests.fakes.running import node_before, running_node

GOOD: Script = (send(OPENAI.whole),)
DEPLOYMENT = "/openai/deployments/gpt-4o"
VERSION = "api-version=2024-10-21"


@pytest.mark.parametrize("speech", SAMPLES, ids=str)
async def test_the_callers_query_goes_up(speech: DialectSample) -> None:
    async with node_before(speech, send(speech.whole)) as (llm, node):
        for query in ("?beta=true", "?api-version=2024-10-21&x=%20y", ""):
            assert (await post(node.port, speech.endpoint + query, speech.ask(stream=False))).status == 200
    targets = [got.target.removeprefix(speech.endpoint) for got in llm.asked(speech.endpoint)]
    assert targets == ["?beta=true", "?api-version=2024-10-21&x=%20y", ""]


@pytest.mark.parametrize("path", ["/api/v1/chat", "/v1/api/chat"])
async def test_the_callers_query_goes_up_through_the_native_endpoint(path: str) -> None:
    async with node_before(OPENAI, send(OPENAI.whole)) as (llm, node):
        await post(node.port, f"{path}?beta=true", OPENAI.ask(stream=False))
    assert [got.target for got in llm.asked(OPENAI.endpoint)] == [f"{OPENAI.endpoint}?beta=true"]


@pytest.mark.parametrize(
    "name", ["key", "api_key", "api-key", "API%5FKEY", "access_token", "sig", "x-password", "auth"]
)
async def test_a_credential_in_the_callers_query_goes_nowhere(name: str) -> None:
    async with node_before(OPENAI, send(OPENAI.whole)) as (llm, node):
        await post(node.port, f"{OPENAI.endpoint}?{name}=sk-of-the-caller&beta=true", OPENAI.ask(stream=False))
    (got,) = llm.asked(OPENAI.endpoint)
    assert got.target == f"{OPENAI.endpoint}?beta=true"


# ---- what the owner sets ----


async def test_query_and_user_of_the_url_go_along_with_every_request() -> None:
    async with FakeLlm().answer("/v1/models", listed("m")).answer(OPENAI.endpoint, GOOD) as llm:
        url = f"http://me:p%3Aw@127.0.0.1:{llm.port}/v1?team=blue"
        async with running_node(LLM_CHAT_URL=url) as node:
            reply = await post(node.port, f"{OPENAI.endpoint}?team=red&beta=true", OPENAI.ask(stream=False))
            about = (await get(node.port, "/readyz")).body + (await get(node.port, "/api/v1/llm/models")).body
    assert reply.status == 200
    assert {got.header("authorization")[0] for got in llm.requests} == {"Basic bWU6cDp3"}
    assert {got.target.partition("?")[2] for got in llm.requests} == {"team=blue", "team=blue&beta=true"}
    assert b"blue" not in about
    assert b"me:" not in about


async def test_free_headers_go_to_their_server_and_to_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_lines: list[object]
) -> None:
    monkeypatch.setenv("THE_SECRET", "shhh-2")
    file = tmp_path / "masa.toml"
    async with FakeLlm().answer("/v1/models", listed("m")) as one, FakeLlm().answer("/v1/models", listed("n")) as two:
        one.answer(OPENAI.endpoint, GOOD)
        two.answer(OPENAI.endpoint, GOOD)
        file.write_text(
            f'[[upstream]]\nname = "one"\nurl = "{one.url}"\nkey = "k"\nheaders = {{ "X-Team" = "shhh-1" }}\n'
            'headers_env = { "Authorization" = "THE_SECRET" }\n'
            f'[[upstream]]\nname = "two"\nurl = "{two.url}"\n'
        )
        async with running_node(MASA_CONFIG=str(file)) as node:
            for model in (b"m", b"n"):
                body = b'{"model":"%b"}' % model
                assert (await post(node.port, OPENAI.endpoint, body, (("X-Team", "mine"),))).status == 200
    for got in one.requests:
        assert (got.header("x-team"), got.header("authorization")) == (["shhh-1"], ["shhh-2"])
    for got in two.requests:
        assert (got.header("x-team"), got.header("authorization")) == ([], [])
    assert "shhh" not in repr(log_lines)


async def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    file = tmp_path / "masa.toml"
    file.write_text('[[upstream]]\nname = "x"\nurl = "http://localhost"\nheaders_env = { "X" = "NOT_SET_HERE" }')
    with pytest.raises(Exception, match="NOT_SET_HERE"):
        async with running_node(MASA_CONFIG=str(file)):
            pass


# ---- Azure ----


async def azure(line: Line) -> None:
    """Azure refuses a request without its key, and a deployment that is not there."""
    got = line.server.requests[-1]
    if got.header("api-key") != ["azure-key"] or got.header("authorization"):
        await line.write(whole(b'{"error":{"code":"401","message":"Access denied"}}', status=401))
    elif got.target.partition("?")[2].split("&")[0] != VERSION:
        await line.write(whole(b'{"error":{"code":"404","message":"Resource not found"}}', status=404))
    else:
        await line.write(OPENAI.whole)


@pytest.mark.parametrize("ending", ["/chat/completions", ""])
@pytest.mark.parametrize("location", ["LLM_CHAT_URL", "masa.toml"])
async def test_azures_classic_url_is_asked_with_its_version_and_its_key(
    tmp_path: Path, ending: str, location: str
) -> None:
    file = tmp_path / "masa.toml"
    async with FakeLlm().answer(f"{DEPLOYMENT}/chat/completions", (azure,)) as llm:
        llm.answer(f"{DEPLOYMENT}/embeddings", (azure,))
        url = f"{llm.url}{DEPLOYMENT}{ending}?{VERSION}"
        settings = {"LLM_CHAT_URL": url, "LLM_CHAT_TOKEN": "azure-key"}
        if location == "masa.toml":
            file.write_text(f'[[upstream]]\nname = "azure"\nurl = "{url}"\nkey = "azure-key"')
            settings = {"MASA_CONFIG": str(file)}
        async with running_node(**settings) as node:
            listed_models = json.loads((await get(node.port, "/v1/models")).body)["data"]
            assert [entry["id"] for entry in listed_models] == ["gpt-4o"]
            for endpoint in (OPENAI.endpoint, "/v1/embeddings", "/api/v1/chat"):
                reply = await post(node.port, f"{endpoint}?api-version=other&beta=1", b'{"model":"gpt-4o"}')
                assert (reply.status, reply.body) == (200, OPENAI.answer)
    assert {got.target.partition("?")[2] for got in llm.requests} == {f"{VERSION}&beta=1"}
