"""Google's SDK in front of the node: its requests are translated for servers of every format, and every cut raises.

Covers: `paths`.
"""

import json
import ssl
from collections.abc import Callable
from unittest import mock

import httpx
import pytest
from google import genai
from google.genai import errors, types
from google.genai.client import AsyncClient

from tests.fakes.dialect_samples import MODEL, OPENAI, SAMPLES, DialectSample
from tests.fakes.http_bytes import whole
from tests.fakes.llm_server import Step, close, send
from tests.fakes.raw_http import get, post
from tests.fakes.running import node_before, running_node
from tests.upstreams.test_sdks import CUTS

# aiohttp, where it is installed, has something to say about how the SDK uses it.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")
RAISED = (errors.APIError, httpx.HTTPError)
LISTING = whole(b'{"object":"list","data":[{"id":"m","object":"model"},{"id":"n:7b","object":"model"}]}')
every_server = pytest.mark.parametrize("speech", SAMPLES, ids=str)


def client(address: str, key: str = "k") -> AsyncClient:
    """It reads its list of certificates three times, which takes longer than all the rest of a test; none is needed."""
    retry = types.HttpRetryOptions(attempts=1)
    none = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with mock.patch.object(ssl, "create_default_context", return_value=none):
        return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=address, retry_options=retry)).aio


async def text_through(speech: DialectSample, *steps: Step, **settings: str) -> str:
    async with node_before(speech, *steps, **settings) as (_, node):
        stream = await client(node.address).models.generate_content_stream(model=MODEL, contents="hello")
        return "".join([piece.text or "" async for piece in stream])


@every_server
async def test_a_whole_answer_is_one(speech: DialectSample) -> None:
    async with node_before(speech, send(speech.whole)) as (llm, node):
        answer = await client(node.address).models.generate_content(
            model=MODEL, contents="hello", config=types.GenerateContentConfig(max_output_tokens=9)
        )
        (asked,) = llm.asked(speech.endpoint)
    assert answer.text == "Hello"
    assert answer.candidates[0].finish_reason is types.FinishReason.STOP
    assert json.loads(asked.body)["model"] == MODEL
    assert b"goog" not in asked.raw.lower()


@every_server
async def test_a_whole_stream_is_an_answer(speech: DialectSample) -> None:
    assert await text_through(speech, send(speech.stream)) == "Hello"


@pytest.mark.parametrize("cut", CUTS)
async def test_a_cut_stream_raises(cut: Callable[[DialectSample], tuple[Step, ...]]) -> None:
    with pytest.raises(RAISED):
        await text_through(OPENAI, *cut(OPENAI), LLM_IDLE_TIMEOUT="0.1")


@every_server
async def test_an_error_of_the_llms_own_raises_with_its_words_and_status(speech: DialectSample) -> None:
    with pytest.raises(errors.ClientError, match="boom") as caught:
        await text_through(speech, send(whole(speech.error_answer, status=429)))
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")


async def test_a_fault_before_the_first_piece_is_told_in_googles_words() -> None:
    with pytest.raises(errors.ServerError, match="closed the connection") as caught:
        await text_through(OPENAI, close)
    assert (caught.value.code, caught.value.status) == (502, "UNAVAILABLE")


async def test_lists_are_for_the_client_that_asks() -> None:
    async with node_before(OPENAI, listings=((send(LISTING),),)) as (_, node):
        models = client(node.address).models
        assert [model.name async for model in await models.list()] == ["models/m", "models/n:7b"]
        assert (await models.get(model="n:7b")).name == "models/n:7b"
        reply = await get(node.port, "/v1beta/models")
        assert [model["name"] for model in json.loads(reply.body)["models"]] == ["models/m", "models/n:7b"]
        assert (await get(node.port, "/v1alpha/models")).body == reply.body
        assert "data" in json.loads((await get(node.port, "/v1/models")).body)
        missing = await get(node.port, "/v1beta/models/other")
    assert (missing.status, json.loads(missing.body)["error"]["status"]) == (404, "NOT_FOUND")


async def test_tokens_are_estimated_and_texts_embedded() -> None:
    vectors = {"data": [{"index": at, "embedding": [at + 0.5]} for at in (1, 0)]}
    llm = OPENAI.fake(send(OPENAI.whole)).answer("/v1/embeddings", (send(whole(json.dumps(vectors).encode())),))
    async with llm, running_node(**OPENAI.settings(llm.url)) as node:
        models = client(node.address).models
        assert (await models.count_tokens(model=MODEL, contents="The quick brown fox.")).total_tokens > 4
        made = await models.embed_content(model=MODEL, contents=["a", "b"])
    assert [each.values for each in made.embeddings] == [[0.5], [1.5]]


async def test_the_ids_of_googles_own_models_begin_as_their_path_does() -> None:
    listing = whole(b'{"data":[{"id":"models/gemini-x"}]}')
    async with node_before(OPENAI, send(OPENAI.whole), listings=((send(listing),),)) as (llm, node):
        models = client(node.address).models
        assert [model.name async for model in await models.list()] == ["models/gemini-x"]
        assert (await models.get(model="models/gemini-x")).name == "models/gemini-x"
        with pytest.raises(errors.ClientError) as caught:
            await models.get(model="other")
        assert caught.value.status == "NOT_FOUND"
        for name in ("gemini-x", "models/gemini-x"):
            assert (await models.generate_content(model=name, contents="hello")).text == "Hello"
        asked = [json.loads(each.body)["model"] for each in llm.asked(OPENAI.endpoint)]
    assert asked == ["models/gemini-x", "models/gemini-x"]


async def test_below_its_openai_path_its_formats_are_openais() -> None:
    async with node_before(OPENAI, send(OPENAI.whole), listings=((send(LISTING),),)) as (_, node):
        listed = await get(node.port, "/v1beta/openai/models")
        answer = await post(node.port, "/v1beta/openai/chat/completions", OPENAI.ask(stream=False))
    assert [model["id"] for model in json.loads(listed.body)["data"]] == ["m", "n:7b"]
    assert answer.body == OPENAI.answer


HELLO = b'{"contents":[{"parts":[{"text":"hello"}]}]}'


@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha"])
@pytest.mark.parametrize("name", ["org/m:7b", "org%2Fm%3A7b"])
async def test_a_models_name_may_hold_slashes_and_colons(version: str, name: str) -> None:
    async with node_before(OPENAI, send(OPENAI.whole)) as (llm, node):
        reply = await post(node.port, f"/{version}/models/{name}:generateContent", HELLO)
        (asked,) = llm.asked(OPENAI.endpoint)
    assert (reply.status, json.loads(asked.body)["model"]) == (200, "org/m:7b")
    assert reply.header("x-masa-translated") == "gemini>openai"


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/v1beta/models/m:streamGenerateContent", 400, "alt=sse"),
        ("/v1beta/models/..:generateContent", 400, "cannot be a model"),
        ("/v1beta/models/m:predictLongRunning", 404, "not spoken here"),
        ("/v1beta/cachedContents", 404, "not spoken here"),
        ("/v1/models/m:asyncBatchEmbedContent", 404, "not spoken here"),
    ],
)
async def test_what_is_not_done_is_told_in_googles_format(path: str, status: int, words: str) -> None:
    async with node_before(OPENAI, send(OPENAI.whole)) as (_, node):
        reply = await post(node.port, path, HELLO)
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["code"]) == (status, status)
    assert words in error["message"]


async def test_its_key_is_taken_where_its_sdk_sends_it_and_goes_nowhere() -> None:
    async with node_before(OPENAI, send(OPENAI.whole), API_KEY="sesame") as (llm, node):
        path = "/v1beta/models/m:generateContent"
        answer = await client(node.address, "sesame").models.generate_content(model=MODEL, contents="hello")
        refused = await post(node.port, f"{path}?key=sesame", HELLO)
        with pytest.raises(errors.ClientError) as caught:
            await client(node.address, "wrong").models.generate_content(model=MODEL, contents="hello")
        (asked,) = llm.asked(OPENAI.endpoint)
    assert answer.text == "Hello"
    assert (refused.status, caught.value.code, caught.value.status) == (401, 401, "UNAUTHENTICATED")
    assert b"sesame" not in asked.raw + asked.body
