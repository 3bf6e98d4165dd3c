"""Lists of models in the shapes that servers give them, and the names in them: what is listed can be had.

Covers: `servers.listing`, `servers.server`.
"""

import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from masa_node.chat.errors import NotAnAnswer
from masa_node.dialects.condensing import at_once
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.servers.anthropic import AnthropicServer
from masa_node.upstreams.servers.cloudflare import CloudflareServer
from masa_node.upstreams.servers.listing import MAX_ENTRY_BYTES, MAX_MODELS, ListedModel
from masa_node.upstreams.servers.listing import read_models as read_in_steps
from masa_node.upstreams.servers.ollama import OllamaServer
from masa_node.upstreams.servers.openai import MAX_ALIASES, OpenAiServer
from masa_node.upstreams.servers.server import Server
from tests.fakes.dialect_samples import OLLAMA, OPENAI, SAMPLES, DialectSample
from tests.fakes.http_bytes import whole
from tests.fakes.llm_server import FakeLlm, send
from tests.fakes.raw_http import get, post
from tests.fakes.running import node_before

TWO = [
    b'{"object":"list","data":[{"id":"a"},{"id":"b"}]}',
    b'[{"id":"a"},{"id":"b"}]',
    b'["a","b"]',
    b'{"data":["a","b"]}',
    b'{"models":[{"name":"a"},{"name":"b"}]}',
    b'{"models":["a","b"]}',
    b'{"data":[{"name":"a"},{"model":"b"}]}',
    b'{"data":[{"id":null,"name":"a"},{"id":7,"name":"","model":"b"}]}',
    b'{"data":null,"models":[{"model":"a"},{"model":"b"}]}',
    b'{"models":[],"data":[{"id":"a"},{"id":"b"}]}',
    b'{"data":{"models":[{"id":"a"},{"id":"b"}]}}',
    b'{"result":[{"name":"a"},{"name":"b"}],"success":true,"errors":[]}',
    b'{"data":[{"id":"a"},null,[],{},"",{"id":""},{"id":"b"}],"error":null}',
    b'{"data":[{"id":"a"},{"id":"b"}],"error":{}}',
    b'{"data":[{"id":"a"},{"id":"b"}],"error":{"code":0,"message":"success"}}',
    '{"data":[{"id":"a"},{"id":"b"}]}'.encode("utf-16"),
    '["a","b"]'.encode("utf-16-be"),
    b' \r\n[{"id":"a"},{"id":"b"}]\n',
]
NONE = [
    b"[]",
    b'{"data":null}',
    b'{"models":null}',
    b'{"data":[]}',
    b'{"object":"list"}',
    b'{"data":null,"models":null}',
]


def read_models(body: bytes, key: str = "data", name: str = "id") -> list[ListedModel]:
    return at_once(read_in_steps(body, key, name))


@pytest.mark.parametrize("body", TWO)
def test_every_shape_of_a_list_is_read(body: bytes) -> None:
    for key in ("data", "models", "result"):
        assert [model.name for model in read_models(body, key)] == ["a", "b"]


@pytest.mark.parametrize("body", NONE)
def test_null_or_nothing_is_a_list_without_models(body: bytes) -> None:
    assert read_models(body) == []


@pytest.mark.parametrize(
    ("body", "quoted"),
    [
        (b'{"error":{"message":"no key"}}', "no key"),
        (b'{"data":null,"error":"down for a while"}', "down for a while"),
        (b'{"result":null,"success":false,"errors":[{"code":10000,"message":"Authentication"}]}', "Authentication"),
    ],
)
def test_an_error_in_the_place_of_a_list_is_quoted(body: bytes, quoted: str) -> None:
    with pytest.raises(NotAnAnswer, match=quoted):
        read_models(body)


def test_a_list_without_an_end_is_read_to_a_bound() -> None:
    assert len(read_models(json.dumps([str(number) for number in range(MAX_MODELS + 1)]).encode())) == MAX_MODELS


def test_an_entry_of_any_size_has_its_name_and_little_is_kept_of_it() -> None:
    entry = {"description": "words " * MAX_ENTRY_BYTES, "id": "a", "tags": [[["x"]]] * 5}
    (model, other) = read_models(json.dumps({"data": [entry, {"id": "b"}]}).encode())
    assert (model.name, other.name) == ("a", "b")
    assert len(model.entry) < MAX_ENTRY_BYTES
    assert json.loads(model.entry)["id"] == "a"


@pytest.mark.parametrize("body", [b'{"data":[{"id":"a"}', b'["a"', b'["a', b"[oops]", b'{"data":[oops]}', b"<html>"])
def test_what_is_cut_or_no_json_is_not_a_list(body: bytes) -> None:
    with pytest.raises(NotAnAnswer, match="readable"):
        read_models(body)


def test_an_entry_that_is_no_object_is_kept_as_an_empty_one() -> None:
    (model,) = read_models(b'["a"]')
    assert model.entry == b"{}"


SERVERS: list[tuple[Callable[[str], Server], str]] = [
    (lambda url: OpenAiServer((f"{url}/v1",), "", label=""), "/v1/models"),
    (lambda url: AnthropicServer(f"{url}/v1", ""), "/v1/models"),
    (lambda url: OllamaServer(url, ""), "/api/tags"),
    (lambda url: CloudflareServer(f"{url}/accounts/x/ai/run", ""), "/accounts/x/ai/models/search"),
]


@pytest.mark.parametrize(("make", "target"), SERVERS, ids=["openai", "anthropic", "ollama", "cloudflare"])
@pytest.mark.parametrize("body", TWO)
async def test_every_kind_of_server_may_list_in_any_shape(
    make: Callable[[str], Server], target: str, body: bytes
) -> None:
    async with FakeLlm().answer(target, (send(whole(body)),)) as llm, HttpClient() as http:
        offers = await make(llm.url).list_models(http)
    assert [offer.model for offer in offers] == ["a", "b"]
    for offer in offers:
        assert isinstance(json.loads(offer.listing), dict)


async def test_every_alias_of_a_llama_cpp_is_a_model() -> None:
    many = [f"alias-{number}" for number in range(MAX_ALIASES + 1)]
    entries = [
        {"id": "m.gguf", "aliases": ["small", "smaller", "", 7], "owned_by": "llamacpp", "meta": {"n_ctx": 512}},
        {"id": "n", "aliases": None},
        {"id": "o", "aliases": "o2"},
        {"id": "p", "aliases": many},
    ]
    listing = (send(whole(json.dumps({"data": entries}).encode())),)
    async with node_before(OPENAI, send(OPENAI.whole), listings=(listing,)) as (_, node):
        names = [entry["id"] for entry in json.loads((await get(node.port, "/v1/models")).body)["data"]]
        assert names[:5] == ["m.gguf", "small", "smaller", "n", "o"]
        assert len(names) == 6 + MAX_ALIASES
        assert json.loads((await get(node.port, "/v1/models/small")).body)["context_length"] == 512
        assert (await post(node.port, OPENAI.endpoint, b'{"model":"smaller"}')).status == 200


# ---- names ----

NAMES = ["x%20y", "100%25", "a%2Fb", "org/m:q4", "m m", "q?x", "a//b", "é", "%", "%zz", "a+b", "@cf/x/y", "m/"]


@pytest.mark.parametrize("speech", [OPENAI, OLLAMA], ids=str)
async def test_what_is_listed_can_be_had_by_its_name_percent_encoded_once(speech: DialectSample) -> None:
    key, name = ("models", "name") if speech is OLLAMA else ("data", "id")
    listing = json.dumps({key: [{name: model} for model in NAMES]}).encode()
    async with node_before(speech, send(speech.whole), listings=((send(whole(listing)),),)) as (_, node):
        for model in NAMES:
            reply = await get(node.port, "/v1/models/" + quote(model, safe=""))
            assert (reply.status, json.loads(reply.body)["id"]) == (200, model)
        for model in ("org/m:q4", "@cf/x/y"):
            assert json.loads((await get(node.port, f"/v1/models/{model}")).body)["id"] == model
        assert (await get(node.port, "/v1/models/x%20y")).status == 404


@pytest.mark.parametrize("path", ["/v1/models/", "/v1//models", "//v1/models", "//api/tags", "//"])
async def test_a_slash_too_many_does_not_hide_a_list(path: str) -> None:
    async with node_before(OPENAI) as (_, node):
        assert (await get(node.port, path)).status == 200


@pytest.mark.parametrize("speech", SAMPLES, ids=str)
async def test_a_slash_too_many_does_not_hide_an_endpoint(speech: DialectSample) -> None:
    async with node_before(speech, send(speech.whole)) as (llm, node):
        for endpoint in (f"/{speech.endpoint}", speech.endpoint.replace("/", "//")):
            assert (await post(node.port, endpoint, speech.ask(stream=False))).status == 200
    assert len(llm.asked(speech.endpoint)) == 2


@pytest.mark.parametrize("path", ["/v1//models//a", "//v1/models/a"])
async def test_a_slash_too_many_does_not_hide_a_model(path: str) -> None:
    listing = (send(whole(b'["a"]')),)
    async with node_before(OPENAI, listings=(listing,)) as (_, node):
        assert json.loads((await get(node.port, path)).body)["id"] == "a"
