"""A server is credited with the endpoints it has: what it lacks is said, learnt, and not called a missing model."""

import json
from pathlib import Path

import pytest

from masa_node.chat.errors import ErrorAnswer, NotAnAnswer
from masa_node.upstreams import poller
from masa_node.upstreams.servers.missing import is_of_the_path
from tests.fakes.dialect_samples import OPENAI, listed
from tests.fakes.http_bytes import JSON, whole
from tests.fakes.llm_server import FakeLlm, Script, Step, send
from tests.fakes.raw_http import get, post
from tests.fakes.running import running_node

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
    (404, b'{"error":"There is no \'/v1/embeddings\' here. Known paths: /, /v1/models."}'),  # Masa
    (404, b""),
    (404, b"{}"),
    (400, b'{"error":{"message":"Invalid URL (POST /v1/embeddings)","type":"invalid_request_error"}}'),
    (400, b'{"error":"Unexpected endpoint or method. (POST /v1/embeddings)"}'),
    (501, b'{"error":{"code":501,"message":"Not Implemented"}}'),
    (501, b'{"detail":"Endpoint /v1/embeddings is not implemented"}'),
    (501, b"Not Implemented"),
    (404, b'{"success":false,"errors":[{"code":7000,"message":"No route for that URI"}],"messages":[]}'),  # Cloudflare
    (
        400,
        b'{"success":false,"errors":[{"code":7003,"message":"Could not route to /client/v4/x, perhaps your object"}]}',
    ),
]
# With status 200, and what is learnt of it.
OF_THE_PATH_IN_A_200 = [
    b'{"error":"Unexpected endpoint or method. (POST /v1/embeddings)"}',  # LM Studio
    b'{"error":"Unexpected endpoint or method. (POST /v1/embeddings). Returning 200 anyway"}',
    b'{"error":{"message":"Invalid URL (POST /v1/embeddings)"}}',
    b'{"error":"Not Found"}',
    b'{"error":"404 page not found"}',
    b'{"detail":"Not Found"}',
    b'{"error":"Cannot POST /v1/embeddings"}',
    b'{"error":{"message":"Not Implemented"}}',
    b'{"message":"no Route matched with those values","error":"no route matches"}',
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
    (400, b'{"error":{"message":"Invalid URL \'cat.png\' for an image"}}'),
    (400, b'{"error":{"message":"unsupported endpoint POST /v1/embeddings of the model llama-3-8b"}}'),
    (501, b'{"error":{"code":501,"message":"This server does not support embeddings. Start it with `--embeddings`"}}'),
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
    monkeypatch.setattr(poller, "FIRST_RETRY_S", 0.02)


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize(("status", "body"), OF_THE_PATH)
async def test_a_missing_endpoint_is_told_so_and_asked_once(status: int, body: bytes) -> None:
    async with FakeLlm().answer("/v1/models", listed(MODEL)).answer(EMBEDDINGS, (answer(status, body),)) as llm:
        llm.answer(OPENAI.endpoint, (send(OPENAI.whole),))
        async with running_node(LLM_CHAT_URL=llm.url) as node:
            for _ in range(3):
                reply = await post(node.port, EMBEDDINGS, BODY)
                assert reply.status in (400, 404, 405)
                message = json.loads(reply.body)["error"]["message"]
                assert "POST /v1/chat/completions" in message
                assert "No LLM known here serves the model" not in message
                assert EMBEDDINGS not in message.partition("Ask for it through")[2]
            assert (await post(node.port, OPENAI.endpoint, BODY)).status == 200
            assert len(llm.asked(EMBEDDINGS)) == 1
            await llm.until(lambda: EMBEDDINGS not in endpoints_of(node.node.catalog))
            listing = json.loads((await get(node.port, "/api/v1/llm/models")).body)["models"][0]
            assert EMBEDDINGS not in listing["endpoints"]


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("body", OF_THE_PATH_IN_A_200)
async def test_a_missing_endpoint_is_learnt_from_a_200_too(body: bytes) -> None:
    async with FakeLlm().answer("/v1/models", listed(MODEL)).answer(EMBEDDINGS, (answer(200, body),)) as llm:
        llm.answer(OPENAI.endpoint, (send(OPENAI.whole),))
        async with running_node(LLM_CHAT_URL=llm.url) as node:
            for _ in range(3):
                reply = await post(node.port, EMBEDDINGS, BODY)
                assert reply.status in (400, 404)
                assert "POST /v1/chat/completions" in json.loads(reply.body)["error"]["message"]
            assert (await post(node.port, OPENAI.endpoint, BODY)).status == 200
            assert len(llm.asked(EMBEDDINGS)) == 1


UNEXPECTED = b'{"error":"Unexpected endpoint or method. (%s)"}'


@pytest.mark.parametrize("wants_stream", [True, False])
@pytest.mark.parametrize("status", [200, 400, 404])
@pytest.mark.parametrize("endpoint", ["/v1/responses", "/v1/completions", "/v1/messages", "/api/chat", "/api/generate"])
async def test_what_the_server_has_no_endpoint_for_is_asked_of_it_in_another_format(
    endpoint: str, status: int, *, wants_stream: bool
) -> None:
    """As LM Studio of last year, which has chat completions alone and says with 200 that it has no other."""
    missing = (answer(status, UNEXPECTED % f"POST {endpoint}".encode()),)
    said = {"/v1/responses": "input", "/v1/completions": "prompt", "/api/generate": "prompt"}.get(endpoint)
    talk: dict[str, object] = {said: "hi"} if said else {"messages": [{"role": "user", "content": "hi"}]}
    body = json.dumps({"model": MODEL, "stream": wants_stream, **talk}).encode()
    llm = FakeLlm().answer("/v1/models", listed(MODEL)).answer(OPENAI.endpoint, (send(OPENAI.whole),))
    for path in ("/v1/responses", "/v1/completions", "/v1/messages"):
        llm.answer(path, missing)
    for path in ("/api/version", "/api/tags"):
        llm.answer(path, (answer(status, UNEXPECTED % f"GET {path}".encode()),))
    async with llm, running_node(LLM_CHAT_URL=llm.url) as node:
        for _ in range(2):
            reply = await post(node.port, endpoint, body)
            assert reply.status == 200, reply.body
    assert len(llm.asked(OPENAI.endpoint)) == 2


@pytest.mark.parametrize("status", [200, 400, 404, 501])
async def test_a_url_under_which_everything_is_unexpected_is_no_server(status: int) -> None:
    llm = FakeLlm()
    for path in (
        "/x/models",
        "/x/v1/models",
        "/x/api/version",
        "/x/v1/messages",
        "/x/messages",
        "/x/v1/chat/completions",
    ):
        llm.answer(path, (answer(status, UNEXPECTED % b"POST /x"),))
    llm.plays_for_the_empty = True
    llm.answer("/x/chat/completions", (answer(status, UNEXPECTED % b"POST /x"),))
    async with llm, running_node(LLM_CHAT_URL=f"{llm.url}/x") as node:
        (provider,) = node.node.poller.providers
        with pytest.raises(NotAnAnswer, match="no LLM server is there"):
            await provider.offers()


@pytest.mark.parametrize("status", [200, 400, 404])
async def test_the_base_below_which_lists_are_missing_is_passed_by(status: int) -> None:
    """`http://localhost:1234` as LM Studio's users write it: `/models` is said to be unexpected, with 200."""
    llm = FakeLlm().answer("/v1/models", listed(MODEL)).answer(OPENAI.endpoint, (send(OPENAI.whole),))
    llm.answer("/models", (answer(status, UNEXPECTED % b"GET /models"),))
    async with llm, running_node(OPENAI_BASE_URL=llm.url, OPENAI_API_KEY="k") as node:
        assert (await post(node.port, OPENAI.endpoint, BODY)).status == 200


def endpoints_of(catalog: object) -> set[str]:
    offers = catalog.all_offers()  # type: ignore[attr-defined]
    return {
        "/v1/embeddings" if endpoint == "openai.embeddings" else str(endpoint)
        for _, offer in offers
        for endpoint in offer.endpoints
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


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize(("status", "body"), OF_THE_PATH)
async def test_what_one_model_of_a_router_lacks_others_have(status: int, body: bytes) -> None:
    """llama-swap, vLLM's router: a model of chats has no embeddings, and one of embeddings has no chats."""
    bare = (answer(status, body.replace(EMBEDDINGS.encode(), OPENAI.endpoint.encode())),)
    asked = [json.dumps({"model": model}).encode() for model in ("chatty", "bge-m3")]
    async with FakeLlm().answer("/v1/models", listed("chatty", "bge-m3")) as llm:
        llm.answer(EMBEDDINGS, (answer(status, body),), (send(whole(ANSWER)),))
        llm.answer(OPENAI.endpoint, bare, (send(OPENAI.whole),))
        async with running_node(LLM_CHAT_URL=llm.url) as node:
            chatty, embeds = asked
            for path, lacking, having in ((EMBEDDINGS, chatty, embeds), (OPENAI.endpoint, embeds, chatty)):
                assert (await post(node.port, path, lacking)).status in (400, 404, 405)
                assert (await post(node.port, path, having)).status == 200
                assert (await post(node.port, path, lacking)).status in (400, 404, 405)
                assert len(llm.asked(path)) == 2


async def test_another_server_that_has_the_endpoint_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "masa.toml"
    async with (
        FakeLlm().answer("/v1/models", listed(MODEL)) as one,
        FakeLlm().answer("/v1/models", listed(MODEL)) as two,
    ):
        one.answer(OPENAI.endpoint, (send(OPENAI.whole),))
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
        (provider,) = node.node.poller.providers
        with pytest.raises(Exception, match="list of models"):
            await provider.offers()
        node.node.catalog.put(provider, await provider.offers())
        assert (await post(node.port, EMBEDDINGS, BODY)).status == 200


NO_ROUTE = b'{"success":false,"errors":[{"code":7000,"message":"No route for that URI"}],"messages":[],"result":null}'
RUN_ANSWER = b'{"result":{"response":"Sunny."},"success":true,"errors":[],"messages":[]}'
MODELS = [
    {"id": "1", "name": name, "task": {"name": "Text Generation"}, "properties": []} for name in ("@cf/x/a", "@cf/x/b")
]


@pytest.mark.parametrize("status", [400, 404])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
        ("/v1/responses", {"input": "hi", "store": False}),
        ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}),
        ("/api/chat", {"stream": False, "messages": [{"role": "user", "content": "hi"}]}),
    ],
)
async def test_a_cloudflare_without_openais_endpoints_is_asked_through_its_own(
    status: int, path: str, body: dict[str, object]
) -> None:
    ai = "/client/v4/accounts/a/ai"
    fake = FakeLlm().answer(f"{ai}/models/search", (send(whole(json.dumps({"result": MODELS}).encode())),))
    for endpoint in ("chat/completions", "responses"):
        fake.answer(f"{ai}/v1/{endpoint}", (send(whole(NO_ROUTE, status=status)),))
    for model in ("a", "b"):
        fake.answer(f"{ai}/run/@cf%2Fx%2F{model}", (send(whole(RUN_ANSWER)),))
    async with fake as llm:
        url, api = f"{llm.url}{ai}/run", f"{llm.url}/client/v4"
        async with running_node(LLM_CF_URL=url, LLM_CF_TOKEN="k", LLM_CF_API_URL=api) as node:
            for model in ("@cf/x/a", "@cf/x/b"):
                reply = await post(node.port, path, json.dumps({**body, "model": model}).encode())
                assert reply.status == 200, reply.body
                assert b"Sunny." in reply.body
    missing = [got for got in llm.requests if "/ai/v1/" in got.target]
    assert len({got.target for got in missing}) == len(missing)  # each endpoint was found out once, for all models
