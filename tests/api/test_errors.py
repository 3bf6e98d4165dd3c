"""What goes wrong is told in the format of the endpoint that was asked, and says what to do.

Covers: `responses`, `paths`.
"""

import asyncio
import json
from collections.abc import Iterator

import anthropic
import ollama
import openai
import pytest

from masa_node.api.http1.connections import Connections
from masa_node.api.http1.protocol import BoundedHttpProtocol
from masa_node.api.http1.reply import Reply as Answering
from masa_node.api.http1.request import HttpRequest
from masa_node.api.responses import send_error
from masa_node.chat import errors
from masa_node.chat.request import DIALECT_OF_ENDPOINT, ENDPOINT_PATHS, FORM_ENDPOINTS, DialectName, Endpoint, RequestId
from masa_node.chat.statuses import is_final
from tests.api.raw_http import MODEL, Reply, ask_once, chat, get, head, post
from tests.api.serving import ServingNode

PATHS = [path for paths in ENDPOINT_PATHS.values() for path in paths]
MAY_BE_LARGE = [path for endpoint in FORM_ENDPOINTS for path in ENDPOINT_PATHS[endpoint]]
DIALECT_OF_PATH = {path: DIALECT_OF_ENDPOINT[endpoint] for endpoint, paths in ENDPOINT_PATHS.items() for path in paths}
SHOW = ENDPOINT_PATHS[Endpoint.OLLAMA_SHOW][0]
LISTS = ["/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/api/v1/llm/models", "/v1/models", "/v1/models/x"]
LISTS += ["/api/tags", "/api/version"]


def message_of(reply: Reply, dialect: DialectName) -> str:
    """The words of an error in this dialect's shape, which is checked."""
    assert reply.header("content-type") == "application/json"
    body = reply.json()
    match dialect:
        case DialectName.ANTHROPIC:
            assert set(body) == {"type", "error", "request_id"}
            assert (body["type"], body["request_id"]) == ("error", reply.header("x-request-id"))
            error = body["error"]
            assert isinstance(error, dict)
            assert set(error) == {"type", "message"}
            return str(error["message"])
        case DialectName.OLLAMA:
            assert set(body) == {"error"}
            return str(body["error"])
        case _:
            assert set(body) == {"error"}
            error = body["error"]
            assert isinstance(error, dict)
            assert set(error) == {"message", "type", "param", "code"}
            return str(error["message"])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"null", b"{'a': 1}", b"\xff\xfe", b'{"a": 1} x', b"\0"])
async def test_a_body_that_is_no_json_object_is_400(node: ServingNode, path: str, body: bytes) -> None:
    reply = await ask_once(node.port, post(body, target=path.encode()))
    assert reply.status == 400
    assert "JSON object" in message_of(reply, DIALECT_OF_PATH[path])


@pytest.mark.parametrize("path", PATHS)
async def test_deep_and_wide_json_is_no_problem(node: ServingNode, path: str) -> None:
    deep = b'{"model": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    wide = json.dumps({"model": "", **{f"key-{n}": n for n in range(50_000)}}).encode()
    for body in (deep, wide, b"[" * 100_000, b'{"model":' * 100_000):
        assert (await ask_once(node.port, post(body, target=path.encode()))).status == 400


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("model", [None, "", 1, [], {}])
async def test_a_body_without_a_model_is_400_and_says_where_the_names_are(
    node: ServingNode, path: str, model: object
) -> None:
    reply = await ask_once(node.port, post(json.dumps({"model": model}).encode(), target=path.encode()))
    assert reply.status == 400
    assert "/api/v1/llm/models" in message_of(reply, DIALECT_OF_PATH[path])


@pytest.mark.parametrize("path", PATHS)
async def test_an_unknown_model_is_404_and_names_the_nearest(node: ServingNode, path: str) -> None:
    reply = await ask_once(node.port, post(chat("masa-demi"), target=path.encode()))
    assert reply.status == 404
    message = message_of(reply, DIALECT_OF_PATH[path])
    assert "'masa-demi'" in message
    assert MODEL in message


async def test_an_unknown_model_in_a_path_is_404_and_names_the_nearest(node: ServingNode) -> None:
    reply = await ask_once(node.port, get(b"/v1/models/masa-demi"))
    assert reply.status == 404
    assert MODEL in message_of(reply, DialectName.OPENAI)


@pytest.mark.parametrize("path", PATHS)
async def test_the_wrong_method_for_a_chat_endpoint_is_405_with_the_right_one(node: ServingNode, path: str) -> None:
    for method in (b"GET", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"):
        reply = await ask_once(node.port, head(method, path.encode()))
        assert (reply.status, reply.header("allow")) == (405, "POST")
        assert "POST" in message_of(reply, DIALECT_OF_PATH[path])


@pytest.mark.parametrize("path", LISTS)
async def test_the_wrong_method_for_a_list_is_405_with_the_right_ones(node: ServingNode, path: str) -> None:
    for method in (b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"):
        reply = await ask_once(node.port, head(method, path.encode()))
        assert (reply.status, reply.header("allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("path", "lines", "dialect"),
    [
        ("/v1/nowhere", b"", DialectName.OPENAI),
        ("/nowhere", b"", DialectName.OPENAI),
        ("/api/v1/nowhere", b"", DialectName.OPENAI),
        ("/v1/messages/batches", b"", DialectName.ANTHROPIC),
        ("/v1/nowhere", b"anthropic-version: 2023-06-01\r\n", DialectName.ANTHROPIC),
        ("/api/nowhere", b"", DialectName.OLLAMA),
    ],
)
async def test_a_wrong_path_is_404_and_names_those_there_are(
    node: ServingNode, path: str, lines: bytes, dialect: DialectName
) -> None:
    reply = await ask_once(node.port, post(chat(), lines, target=path.encode()))
    assert reply.status == 404
    message = message_of(reply, dialect)
    assert repr(path) in message
    for other in [*PATHS, "/v1/models", "/healthz"]:
        assert other in message


@pytest.mark.parametrize("path", [path for path in PATHS if path not in (SHOW, *MAY_BE_LARGE)])
async def test_too_large_and_compressed_are_told_in_the_endpoints_format(node: ServingNode, path: str) -> None:
    for lines, status in ((b"Content-Encoding: gzip\r\n", 415), (b"", 413)):
        body = chat() if lines else chat(say="x" * 10_000_000)
        reply = await ask_once(node.port, post(body, lines, target=path.encode()))
        assert reply.status == status
        assert message_of(reply, DIALECT_OF_PATH[path])


@pytest.mark.parametrize("path", PATHS)
async def test_a_refused_host_is_told_in_the_endpoints_format(node: ServingNode, path: str) -> None:
    reply = await ask_once(node.port, post(chat(), target=path.encode(), host=b"Host: evil.example\r\n"))
    assert reply.status == 403
    assert "ALLOWED_HOSTS" in message_of(reply, DIALECT_OF_PATH[path])


# ---- as the SDKs see them ----


@pytest.fixture
def openai_client(node: ServingNode) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{node.address}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(node: ServingNode) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=node.address, api_key="none", max_retries=0) as client:
        yield client


def test_openais_sdk_raises_not_found(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        openai_client.chat.completions.create(model="masa-demi", messages=[{"role": "user", "content": "Hello"}])
    assert raised.value.code == "model_not_found"
    assert raised.value.request_id
    with pytest.raises(openai.NotFoundError):
        openai_client.models.retrieve("masa-demi")
    with pytest.raises(openai.BadRequestError):
        openai_client.chat.completions.create(model="", messages=[])


def test_anthropics_sdk_raises_not_found(anthropic_client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as raised:
        anthropic_client.messages.create(
            model="masa-demi", max_tokens=9, messages=[{"role": "user", "content": "Hello"}]
        )
    assert raised.value.request_id
    assert MODEL in str(raised.value)
    with pytest.raises(anthropic.NotFoundError):
        anthropic_client.models.retrieve("masa-demi")


def test_ollamas_sdk_raises_404(node: ServingNode) -> None:
    with ollama.Client(host=node.address) as client:
        with pytest.raises(ollama.ResponseError) as raised:
            client.chat("masa-demi", [{"role": "user", "content": "Hello"}])
        assert (raised.value.status_code, MODEL in raised.value.error) == (404, True)
        with pytest.raises(ollama.ResponseError) as raised:
            client.pull("masa-demo")
        assert raised.value.status_code == 404


FINAL = [
    ("/v1/chat/completions", b'{"model":"masa-demi","messages":[]}', 404),
    ("/v1/messages", b'{"model":"masa-demi","messages":[]}', 404),
    ("/api/chat", b'{"model":"masa-demi","messages":[]}', 404),
    ("/v1/responses", b'{"model":"masa-demi","input":"hi"}', 404),
    ("/v1/chat/completions", b"{nope", 400),
    ("/v1/messages", b'{"model":"a","model":"b"}', 400),
    ("/v1/nothing", b"{}", 404),
]


@pytest.mark.parametrize(("path", "body", "status"), FINAL)
async def test_what_does_not_get_better_says_so(node: ServingNode, path: str, body: bytes, status: int) -> None:
    reply = await ask_once(node.port, post(body, target=path.encode()))
    assert (reply.status, reply.header("x-should-retry")) == (status, "false")


def test_only_what_is_known_not_to_get_better_is_final() -> None:
    final = [
        errors.UnknownModel,
        errors.NotTranslatable,
        errors.DialectNotServed,
        errors.RequestLoop,
        errors.PrivacyRefused,
    ]
    final += [errors.PeerRefused, errors.StakeDemanded, errors.TlsFailed, errors.EncodedAnswer, errors.Unauthorized]
    assert all(is_final(kind("")) for kind in final)
    passing = [
        errors.BodyTooSlow,
        errors.CallerStalled,
        errors.StakeUnknown,
        errors.Bug,
        errors.PeerBusy,
        errors.Stalled,
    ]
    passing += [errors.ProviderAway, errors.ConnectionClosed, errors.FirstPieceTimeout, errors.NotAnAnswer]
    passing += [errors.MemoryFull, errors.BrokenAnswer, errors.Unreachable, errors.StakeUndecided, errors.DnsFailed]
    assert not any(is_final(kind("")) for kind in passing)
    assert not is_final(errors.Overloaded("", 1))
    assert is_final(errors.EndpointMissing("", frozenset()))


@pytest.mark.parametrize(("error", "times"), [(errors.RequestLoop("it leads back"), 1), (errors.Stalled("silent"), 3)])
async def test_the_sdks_ask_again_only_where_that_may_help(error: errors.MasaError, times: int) -> None:
    """Both ask three times by default where a 5xx does not say otherwise."""
    asked = 0

    async def app(request: HttpRequest, reply: Answering) -> None:
        nonlocal asked
        asked += 1
        await send_error(reply, error, DialectName.ANTHROPIC, RequestId("x"), [(b"retry-after-ms", b"1")])

    connections = Connections(app, 75)
    loop = asyncio.get_running_loop()
    async with await loop.create_server(lambda: BoundedHttpProtocol(connections), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="k") as client:
            with pytest.raises(openai.InternalServerError):
                await client.chat.completions.create(model="m", messages=[])
        connections.stop()
        await connections.all_gone()
    assert asked == times
