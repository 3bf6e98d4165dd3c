"""A server is credited with the endpoints it has: what it lacks is said, learnt, and not called a missing model."""

import json
from pathlib import Path

import pytest

from masa_node.chat.errors import ErrorAnswer
from masa_node.upstreams import roster
from masa_node.upstreams.missing import is_of_the_path
from tests.fakes.http_bytes import JSON, whole
from tests.fakes.llm_server import FakeLlm, Script, Step, send
from tests.fakes.raw_http import get, post
from tests.fakes.running import running_node
from tests.fakes.speech import OPENAI, listed

EMBEDDINGS = "/v1/embeddings"  # which can be had in no other format
MODEL = "llama-3-8b"
BODY = json.dumps({"model": MODEL}).encode()
ANSWER = b'{"object":"list","data":[{"object":"embedding","embedding":[0.5],"index":0}]}'

OF_THE_PATH = [
    (404, b'{"detail":"Not Found"}'),  # FastAPI: vLLM, SGLang, transformers
    (405, b'{"detail":"Method Not Allowed"}'),
    (404, b'{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}'),  # llama.cpp
    (404, b'{"error":{"message":"Invalid URL (POST /v1/embeddings)","type":"invalid_request_error"}}'),  # OpenAI
    (404, b'{"error":{"message":"Unknown request URL: POST /openai/v1/embeddings.","code":"unknown_url"}}'),  # Groq
    (404, b'{"error":{"code":"404","message":"Resource not found"}}'),  # Azure
    (404, b'{"timestamp":"2026","status":404,"error":"Not Found","path":"/v1/embeddings"}'),  # Spring
    (404, b"404 page not found"),  # Go
    (404, b"<pre>Cannot POST /v1/embeddings</pre>"),  # Express
    (404, b""),
    (404, b"{}"),
]
OF_THE_MODEL = [
    (404, b'{"error":{"message":"The model `llama-3-8b` does not exist.","type":"NotFoundError","code":404}}'),
    (404, b'{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","code":404}'),
    (404, b'{"error":"model \\"llama-3-8b\\" not found, try pulling it first"}'),
    (404, b'{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"}}'),
    (404, b'{"error":{"message":"No endpoints found for llama-3-8b.","code":404}}'),  # OpenRouter
    (404, b'[{"error":{"code":404,"message":"models/llama-3-8b is not found","status":"NOT_FOUND"}}]'),  # Gemini
    (404, b'{"error":{"code":"DeploymentNotFound","message":"The API deployment does not exist."}}'),
    (400, b'{"detail":"Not Found"}'),
]


def is_json(body: bytes) -> bool:
    return body.startswith((b"{", b"["))


def error(status: int, body: bytes) -> ErrorAnswer:
    return ErrorAnswer("", status=status, headers=(), body=body, is_json=is_json(body))


@pytest.mark.parametrize(("status", "body"), OF_THE_PATH)
def test_a_bare_404_is_of_the_path(status: int, body: bytes) -> None:
    assert is_of_the_path(error(status, body), f"http://x{EMBEDDINGS}", MODEL)


@pytest.mark.parametrize(("status", "body"), [*OF_THE_MODEL, (404, b'{"error":{"message":"boom"}}')])
def test_an_error_that_speaks_of_the_model_or_of_neither_is_not(status: int, body: bytes) -> None:
    assert not is_of_the_path(error(status, body), f"http://x{EMBEDDINGS}", MODEL)


def answer(status: int, body: bytes) -> Step:
    return send(whole(body, status=status, content_type=JSON if is_json(body) else "text/html"))


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found out is listed soon."""
    monkeypatch.setattr(roster, "FIRST_RETRY_S", 0.02)


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize(("status", "body"), OF_THE_PATH)
async def test_a_missing_endpoint_is_told_so_and_asked_once(status: int, body: bytes) -> None:
    async with FakeLlm().answer("/v1/models", listed(MODEL)).answer(EMBEDDINGS, (answer(status, body),)) as llm:
        llm.answer(OPENAI.door, (send(OPENAI.whole),))
        async with running_node(LLM_CHAT_URL=llm.url) as node:
            for _ in range(3):
                reply = await post(node.port, EMBEDDINGS, BODY)
                assert reply.status in (400, 404, 405)
                message = json.loads(reply.body)["error"]["message"]
                assert "POST /v1/chat/completions" in message
                assert "No LLM known here serves the model" not in message
                assert EMBEDDINGS not in message.partition("Ask for it through")[2]
            assert (await post(node.port, OPENAI.door, BODY)).status == 200
            assert len(llm.asked(EMBEDDINGS)) == 1
            await llm.until(lambda: EMBEDDINGS not in doors_of(node.node.catalog))
            listing = json.loads((await get(node.port, "/api/v1/llm/models")).body)["models"][0]
            assert EMBEDDINGS not in listing["doors"]


def doors_of(catalog: object) -> set[str]:
    offers = catalog.all_offers()  # type: ignore[attr-defined]
    return {
        "/v1/embeddings" if door == "openai.embeddings" else str(door) for _, offer in offers for door in offer.doors
    }


@pytest.mark.parametrize(("status", "body"), OF_THE_MODEL)
async def test_an_unknown_model_is_told_as_the_llm_told_it_and_the_endpoint_stays(status: int, body: bytes) -> None:
    steps: list[Script] = [(answer(status, body),), (send(whole(ANSWER)),)]
    async with (
        FakeLlm().answer("/v1/models", listed(MODEL)).answer(EMBEDDINGS, *steps) as llm,
        running_node(LLM_CHAT_URL=llm.url) as node,
    ):
        assert (await post(node.port, EMBEDDINGS, BODY)).status == status
        assert (await post(node.port, EMBEDDINGS, BODY)).status == 200


async def test_an_endpoint_that_has_answered_is_not_taken_for_missing() -> None:
    steps: list[Script] = [(send(whole(ANSWER)),), (answer(404, b"404 page not found"),), (send(whole(ANSWER)),)]
    async with (
        FakeLlm().answer("/v1/models", listed(MODEL)).answer(EMBEDDINGS, *steps) as llm,
        running_node(LLM_CHAT_URL=llm.url) as node,
    ):
        assert [(await post(node.port, EMBEDDINGS, BODY)).status for _ in range(3)] == [200, 404, 200]


async def test_another_server_that_has_the_endpoint_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "masa.toml"
    async with (
        FakeLlm().answer("/v1/models", listed(MODEL)) as one,
        FakeLlm().answer("/v1/models", listed(MODEL)) as two,
    ):
        one.answer(OPENAI.door, (send(OPENAI.whole),))
        two.answer(EMBEDDINGS, (send(whole(ANSWER)),))
        file.write_text(
            "".join(f'[[upstream]]\nname = "s{at}"\nurl = "{llm.url}"\n' for at, llm in enumerate((one, two)))
        )
        async with running_node(MASA_CONFIG=str(file)) as node:
            replies = [await post(node.port, EMBEDDINGS, BODY) for _ in range(3)]
    assert [(reply.status, reply.body) for reply in replies] == [(200, ANSWER)] * 3
    assert len(one.asked(EMBEDDINGS)) == 1


async def test_what_was_missing_is_asked_again_when_the_server_was_away() -> None:
    async with FakeLlm().answer("/v1/models", listed(MODEL)) as llm, running_node(LLM_CHAT_URL=llm.url) as node:
        assert (await post(node.port, EMBEDDINGS, BODY)).status == 404
        llm.answer(EMBEDDINGS, (send(whole(ANSWER)),)).answer("/v1/models", (send(whole(b"<html>")),), listed(MODEL))
        (provider,) = node.node.roster.providers
        with pytest.raises(Exception, match="list of models"):
            await provider.offers()
        node.node.catalog.put(provider, await provider.offers())
        assert (await post(node.port, EMBEDDINGS, BODY)).status == 200
