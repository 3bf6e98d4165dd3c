"""What is listed for a family of clients can be asked by it, what it cannot ask is not: model by model."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anthropic
import msgspec
import pytest
from anthropic.types import ModelInfo
from ollama import ListResponse, ProcessResponse
from openai.types import Model

from masa_node.accounts.key_file import change_keys
from masa_node.accounts.keys import KeyRules, made_key
from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import CONVERSATION_ENDPOINTS, DialectName, Endpoint
from masa_node.node.node import Node
from masa_node.node.settings.environment import Settings
from masa_node.upstreams.demo import DemoModel
from masa_node.upstreams.http.client import HttpClient
from tests.api.calling import HEADERS, Called, call
from tests.api.raw_http import MODEL, ask_once, chat, get, head, post
from tests.api.serving import ServingNode

ANTHROPIC = (b"anthropic-version", b"2026-10-21")
ACCOUNT = "/client/v4/accounts/0123abcd/ai"
ENDPOINTS_OF_MODEL = {
    "openai-only": {Endpoint.OPENAI_CHAT, Endpoint.NATIVE},
    "anthropic-only": {Endpoint.ANTHROPIC_MESSAGES, Endpoint.ANTHROPIC_COUNT_TOKENS, Endpoint.NATIVE},
    "ollama-only": {Endpoint.OLLAMA_CHAT, Endpoint.OLLAMA_GENERATE, Endpoint.NATIVE},
    "@cf/meta/only": {Endpoint.CLOUDFLARE_RUN, Endpoint.NATIVE},
    "native-only": {Endpoint.NATIVE},
    "shows-only": {Endpoint.OLLAMA_SHOW, Endpoint.ANTHROPIC_COUNT_TOKENS},
    "all": {*CONVERSATION_ENDPOINTS, Endpoint.CLOUDFLARE_RUN},
}


CONVERSES = set(ENDPOINTS_OF_MODEL) - {"native-only", "shows-only"}  # in its own format, or translated


class Speaks(DemoModel):
    """The demo model under other names, each at some endpoints only."""

    async def offers(self) -> list[ModelOffer]:
        return [
            ModelOffer(model, frozenset(endpoints), context_tokens=4096)
            for model, endpoints in ENDPOINTS_OF_MODEL.items()
        ]


class Peer(Speaks):
    """The same, somewhere else."""

    is_local = False
    is_trusted = False


@pytest.fixture
async def fronting(tmp_path: Path) -> AsyncIterator[Node]:
    async with HttpClient() as http:
        node = Node(Settings(masa_dir=str(tmp_path), find_local=False, network="off"), http)
        provider = Speaks("llm", 10_000.0)
        node.catalog.put(provider, await provider.offers())
        yield node


async def listed(node: Node, path: str, key: str, name: str, *headers: tuple[bytes, bytes]) -> set[str]:
    reply = await call(node.app, "GET", path, headers=(*HEADERS, *headers))
    assert reply.status == 200
    return {entry[name] for entry in json.loads(reply.body)[key]}


async def lists(node: Node) -> dict[DialectName, set[str]]:
    return {
        DialectName.OPENAI: await listed(node, "/v1/models", "data", "id"),
        DialectName.ANTHROPIC: await listed(node, "/v1/models", "data", "id", ANTHROPIC),
        DialectName.OLLAMA: await listed(node, "/api/tags", "models", "name"),
        DialectName.CLOUDFLARE: await listed(node, f"{ACCOUNT}/models/search", "result", "name"),
    }


async def asked(node: Node, family: DialectName, model: str) -> Called:
    path = {
        DialectName.OPENAI: "/v1/chat/completions",
        DialectName.ANTHROPIC: "/v1/messages",
        DialectName.OLLAMA: "/api/chat",
        DialectName.CLOUDFLARE: f"{ACCOUNT}/run/{model}",
    }[family]
    return await call(node.app, "POST", path, chat(model))


async def test_every_model_that_is_listed_answers_and_no_other_does(fronting: Node) -> None:
    for family, names in (await lists(fronting)).items():
        for model in ENDPOINTS_OF_MODEL:
            reply = await asked(fronting, family, model)
            assert (reply.status == 200) is (model in names), (family, model)
        assert names == CONVERSES, family


async def test_show_and_one_model_tell_of_what_can_be_asked_only(fronting: Node) -> None:
    for model in ENDPOINTS_OF_MODEL:
        shown = await call(fronting.app, "POST", "/api/show", json.dumps({"model": model}).encode())
        assert (shown.status == 200) is (model in CONVERSES), model
        found = await call(fronting.app, "GET", f"/v1/models/{model}")
        assert (found.status == 200) is (model in CONVERSES), model
        found = await call(fronting.app, "GET", f"/v1/models/{model}", headers=(*HEADERS, ANTHROPIC))
        assert (found.status == 200) is (model in CONVERSES), model


async def test_a_model_that_no_client_of_the_family_can_ask_is_named_with_the_way_to_it(fronting: Node) -> None:
    reply = await call(fronting.app, "POST", "/api/show", b'{"model": "native-only"}')
    assert "POST /api/v1/chat" in json.loads(reply.body)["error"]


@pytest.mark.parametrize(("privacy", "is_listed"), [("any", True), ("trusted", False), ("local", False)])
async def test_what_privacy_keeps_from_peers_is_not_listed(tmp_path: Path, privacy: str, *, is_listed: bool) -> None:
    async with HttpClient() as http:
        node = Node(Settings(masa_dir=str(tmp_path), find_local=False, network="off", privacy=privacy), http)  # type: ignore[arg-type]
        peer = Peer("ab" * 32)
        node.catalog.put(peer, await peer.offers())
        for family, names in (await lists(node)).items():
            assert (names != set()) is is_listed
            if is_listed:
                assert (await asked(node, family, "all")).status == 200
        assert (node.situation().is_ready, bool(node.situation().why_not)) == (is_listed, not is_listed)


async def test_the_strict_sdks_read_every_entry(fronting: Node, node: ServingNode) -> None:
    entries = json.loads((await call(fronting.app, "GET", "/v1/models")).body)["data"]
    for entry in entries:
        ModelInfo.model_validate(entry)
        Model.model_validate(entry, strict=True)
    tags = await call(fronting.app, "GET", "/api/tags")
    assert {model.model for model in ListResponse.model_validate_json(tags.body).models} == CONVERSES
    with anthropic.Anthropic(
        base_url=node.address, api_key="none", max_retries=0, _strict_response_validation=True
    ) as client:
        (listed_model,) = client.models.list()
        assert listed_model == client.models.retrieve(MODEL)
    assert (listed_model.lifecycle, listed_model.max_input_tokens) == ("active", 4096)


# ---- Cloudflare's clients ----


@pytest.mark.parametrize("model", ["masa-demo", "masa%2Ddemo"])
@pytest.mark.parametrize("base", ["/client/v4/accounts/0123abcd/ai", "/accounts/any/ai"])
async def test_the_model_is_in_the_path_and_the_answer_in_the_envelope(
    node: ServingNode, base: str, model: str
) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "Hello"}]}).encode()
    reply = await ask_once(node.port, post(body, target=f"{base}/run/{model}".encode()))
    assert (reply.status, reply.json()["success"]) == (200, True)
    assert isinstance(reply.json()["result"], dict)
    streamed = await ask_once(node.port, post(b'{"stream":true,"prompt":"hi"}', target=f"{base}/run/{model}".encode()))
    assert streamed.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("name", ["@cf/meta/only", "@cf%2Fmeta%2Fonly", "%40cf%2Fmeta/only"])
async def test_slashes_in_a_name_come_as_they_are_or_encoded(fronting: Node, name: str) -> None:
    assert (await call(fronting.app, "POST", f"{ACCOUNT}/run/{name}", b"{}")).status == 200


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("nope", 404),
        ("native-only", 404),
        ("@cf%252Fmeta%252Fonly", 404),
        ("@cf/../meta/only", 400),
        ("@cf%2F..%2Fmeta%2Fonly", 400),
        ("..", 400),
        ("%2e%2e", 400),
        (".", 400),
        ("@cf/meta/only%0d%0aX:y", 400),
        ("%ff", 400),
        ("x" * 257, 400),
    ],
)
async def test_a_name_that_is_none_is_told_in_cloudflares_format(fronting: Node, name: str, status: int) -> None:
    reply = await call(fronting.app, "POST", f"{ACCOUNT}/run/{name}", b"{}")
    told = json.loads(reply.body)
    assert reply.status == status or (status == 404 and reply.status == 400)  # a wrong format may be either
    assert (told["success"], told["result"], told["messages"]) == (False, None, [])
    assert told["errors"][0]["message"]
    assert isinstance(told["errors"][0]["code"], int)


async def test_bad_json_the_wrong_method_and_no_model_are_told_so_too(fronting: Node) -> None:
    for method, path, status in (
        ("POST", f"{ACCOUNT}/run/all", 400),
        ("GET", f"{ACCOUNT}/run/all", 405),
        ("POST", f"{ACCOUNT}/run/", 404),
        ("POST", f"{ACCOUNT}/models/search", 405),
    ):
        reply = await call(fronting.app, method, path, b"{")
        assert (reply.status, json.loads(reply.body)["success"]) == (status, False)


async def test_cloudflares_openai_compatible_endpoint_is_openais(fronting: Node) -> None:
    reply = await call(fronting.app, "POST", f"{ACCOUNT}/v1/chat/completions", chat("all"))
    assert (reply.status, json.loads(reply.body)["object"]) == (200, "chat.completion")
    reply = await call(fronting.app, "POST", f"{ACCOUNT}/v1/chat/completions", b"{")
    assert (reply.status, "error" in json.loads(reply.body)) == (400, True)
    for path in (
        f"{ACCOUNT}/v1/nowhere",
        f"{ACCOUNT}/api/pull",
        f"{ACCOUNT}/run",
        "/ai/run/all",
        "/x/accounts/a/ai/run/m",
    ):
        assert (await call(fronting.app, "POST", path, chat("all"))).status == 404


async def test_the_pages_of_the_search_come_to_an_end(node: ServingNode) -> None:
    """Cloudflare's SDK asks for the next page until one is empty."""
    path = f"{ACCOUNT}/models/search".encode()
    first = (await ask_once(node.port, get(path))).json()
    (entry,) = first["result"]  # type: ignore[misc]
    assert (entry["name"], entry["task"]["name"], first["success"]) == (MODEL, "Text Generation", True)
    assert entry["properties"] == [{"property_id": "context_window", "value": "4096"}]
    for query, count in (("page=2", 0), ("per_page=1&page=1", 1), ("per_page=1&page=2", 0), ("search=DEMO", 1)):
        reply = await ask_once(node.port, get(path + b"?" + query.encode()))
        assert len(reply.json()["result"]) == count  # type: ignore[arg-type]
    for query in ("search=other", "task=Text-to-Image", "page=" + "9" * 30, "page=-1"):
        assert (await ask_once(node.port, get(path + b"?" + query.encode()))).status == 200


# ---- what Ollama's clients ask beside answers ----


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/api/pull", "pulls no models"),
        ("/api/push", "pushes no models"),
        ("/api/create", "creates no models"),
        ("/api/copy", "copies no models"),
        ("/api/delete", "deletes no models"),
        ("/api/blobs/sha256:00", "takes no model files"),
    ],
)
async def test_managing_models_is_refused_in_words_with_those_there_are(fronting: Node, path: str, says: str) -> None:
    for method in ("POST", "DELETE", "HEAD"):
        reply = await call(fronting.app, method, path, b'{"model": "nope"}')
        words = {"error": f"This node {says}; it serves: openai-only, anthropic-only, ollama-only, @cf/meta/only, all."}
        assert reply.status == 404
        if method == "HEAD":
            assert (reply.body, int(reply.headers[b"content-length"])) == (b"", len(msgspec.json.encode(words)))
        else:
            assert json.loads(reply.body) == words


async def test_ps_tells_what_the_ollamas_behind_the_node_hold(tmp_path: Path) -> None:
    from tests.api.recording_server import RecordingServer, as_ollama, response  # noqa: PLC0415

    entry = {"name": "m", "model": "m", "size": 7, "digest": "0" * 64, "expires_at": "2030-01-01T00:00:00Z"}

    def answers(request: bytes) -> bytes:
        return response(200, {"models": [entry]}) if request.startswith(b"GET /api/ps ") else as_ollama(request)

    with RecordingServer(answers) as llm, ServingNode(tmp_path, {"LLM_CHAT_URL": llm.url}) as node:
        reply = await ask_once(node.port, get(b"/api/ps"))
        assert reply.json() == {"models": [entry]}
        (model,) = ProcessResponse.model_validate_json(reply.body).models
        assert model.name == "m"
        key = change_keys(tmp_path / "masa", lambda keys: made_key(keys, "alice", KeyRules(("other",)), time.time()))
    with RecordingServer(answers) as llm, ServingNode(tmp_path, {"LLM_CHAT_URL": llm.url}) as node:
        reply = await ask_once(node.port, get(b"/api/ps", b"x-api-key: %b\r\n" % key.encode()))
        assert reply.json() == {"models": []}  # alice may not ask for it, and so does not see it


async def test_ps_is_empty_where_nothing_is_known(node: ServingNode) -> None:
    assert (await ask_once(node.port, get(b"/api/ps"))).json() == {"models": []}


@pytest.mark.parametrize("path", ["/health", "/v1/health", "/healthz"])
async def test_health_is_found_where_clients_look_for_it(node: ServingNode, path: str) -> None:
    assert (await ask_once(node.port, get(path.encode()))).json() == {"status": "ok"}
    assert (await ask_once(node.port, head(b"HEAD", path.encode()), to_head=True)).status == 200
    assert (await ask_once(node.port, head(b"POST", path.encode()))).status == 405
