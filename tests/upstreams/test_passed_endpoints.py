"""What no format is translated to passes as it is: rerank, moderations, pictures, sounds; as JSON, forms and bytes.

Covers: `upstream`, `servers.openai`.
"""

import asyncio
import json
from pathlib import Path

import pytest

from masa_node.chat.request import ENDPOINTS, PASSED_ENDPOINTS, Endpoint
from tests.dialects.passed.test_forms import FILE, MODEL, SOUND, TYPE, field, form
from tests.fakes.http_bytes import LAST_CHUNK, chunk, chunked, head, stream_head, whole
from tests.fakes.llm_server import FakeLlm, Script, close, send, wait_for
from tests.fakes.raw_http import calling, post, request
from tests.fakes.running import running_node

LISTING = (send(whole(b'{"object":"list","data":[{"id":"whisper-1"}]}')),)
AT_SERVER = {
    Endpoint.OPENAI_RERANK: "/v1/rerank",
    Endpoint.OPENAI_MODERATIONS: "/v1/moderations",
    Endpoint.OPENAI_IMAGES: "/v1/images/generations",
    Endpoint.OPENAI_IMAGE_EDITS: "/v1/images/edits",
    Endpoint.OPENAI_IMAGE_VARIATIONS: "/v1/images/variations",
    Endpoint.OPENAI_SPEECH: "/v1/audio/speech",
    Endpoint.OPENAI_TRANSCRIPTIONS: "/v1/audio/transcriptions",
    Endpoint.OPENAI_TRANSLATIONS: "/v1/audio/translations",
}
SPEECH, TRANSCRIPTIONS = AT_SERVER[Endpoint.OPENAI_SPEECH], AT_SERVER[Endpoint.OPENAI_TRANSCRIPTIONS]
BODY = b' {"documents":["b","a"],\n"model" : "whisper-1","query":"\\u00e9"}'
ANSWER = b'{"results":[ {"index":1,"relevance_score":0.5} ]}'
FORM = form((FILE, SOUND), MODEL, field("response_format", b"text"))
FORM_HEADERS = (("Content-Type", TYPE),)
MP3 = b"ID3\x04\x00\x00" + bytes(range(256)) * 600
PARTIAL = b'event: x\ndata: {"type":"image_generation.partial_image","b64_json":"AA=="}\n\n'
COMPLETED = b'data: {"type":"image_generation.completed","b64_json":"AA=="}\n\n'


def serving(path: str, *script: Script) -> FakeLlm:
    return FakeLlm().answer("/v1/models", LISTING).answer(path, *script)


def test_each_of_them_has_its_place() -> None:
    assert AT_SERVER.keys() == PASSED_ENDPOINTS


@pytest.mark.parametrize(
    ("path", "at_server"),
    [(path, at_server) for endpoint, at_server in AT_SERVER.items() for path in ENDPOINTS[endpoint].paths],
)
async def test_a_request_and_its_answer_pass_byte_for_byte(path: str, at_server: str) -> None:
    async with serving(at_server, (send(whole(ANSWER)),)) as llm, running_node(LLM_CHAT_URL=llm.url) as node:
        reply = await post(node.port, path, BODY)
    assert (reply.status, reply.body, reply.header("content-type")) == (200, ANSWER, "application/json")
    assert [got.body for got in llm.asked(at_server)] == [BODY]


@pytest.mark.parametrize("answer", [b'{"text":"hi"}', b"Hi there.\n", b" [BLANK_AUDIO]\n", b"1\n00:00:00,000 --> \n"])
async def test_a_form_passes_byte_for_byte(answer: bytes) -> None:
    kind = "application/json" if answer.startswith(b"{") else "text/plain; charset=utf-8"
    script = (send(whole(answer, content_type=kind)),)
    async with serving(TRANSCRIPTIONS, script) as llm, running_node(LLM_CHAT_URL=llm.url) as node:
        reply = await post(node.port, TRANSCRIPTIONS, FORM, FORM_HEADERS)
    assert (reply.status, reply.body, reply.header("content-type")) == (200, answer, kind)
    (got,) = llm.asked(TRANSCRIPTIONS)
    assert (got.body, got.header("content-type")) == (FORM, [TYPE])


async def test_in_a_form_only_the_name_of_an_alias_is_replaced(tmp_path: Path) -> None:
    aliased = form((FILE, SOUND), field("model", b"ears"), field("response_format", b"text"))
    async with serving(TRANSCRIPTIONS, (send(whole(b'{"text":"hi"}')),)) as llm:
        config = tmp_path / "masa.toml"
        config.write_text(f'[alias]\nears = "whisper-1"\n[[upstream]]\nname = "x"\nurl = "{llm.url}"\n')
        async with running_node(MASA_CONFIG=str(config)) as node:
            reply = await post(node.port, TRANSCRIPTIONS, aliased, FORM_HEADERS)
    assert (reply.status, reply.header("x-masa-alias")) == (200, "ears>whisper-1")
    assert llm.asked(TRANSCRIPTIONS)[0].body == FORM


@pytest.mark.parametrize(
    "answer", [whole(MP3, content_type="audio/mpeg"), stream_head("audio/mpeg") + chunked([MP3[:9], MP3[9:]])]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_sound_passes_byte_for_byte(answer: bytes, *, stream: bool) -> None:
    body = json.dumps({"model": "whisper-1", "input": "hi", "voice": "a", "stream": stream}).encode()
    async with serving(SPEECH, (send(answer),)) as llm, running_node(LLM_CHAT_URL=llm.url) as node:
        reply = await post(node.port, SPEECH, body)
    assert (reply.status, reply.body, reply.header("content-type")) == (200, MP3, "audio/mpeg")
    assert reply.is_whole


@pytest.mark.parametrize(
    "answer",
    [
        stream_head("audio/mpeg") + chunk(MP3),
        head(200, [("Content-Type", "audio/mpeg"), ("Content-Length", str(len(MP3) + 1))]) + MP3,
    ],
)
async def test_a_sound_that_is_cut_is_cut_for_the_caller_and_nothing_is_put_into_it(answer: bytes) -> None:
    async with serving(SPEECH, (send(answer), close)) as llm, running_node(LLM_CHAT_URL=llm.url) as node:
        reply = await post(node.port, SPEECH, b'{"model":"whisper-1"}')
    assert (reply.status, reply.is_whole) == (200, False)
    assert MP3.startswith(reply.body)


async def test_a_sound_passes_piece_by_piece() -> None:
    rest = asyncio.Event()
    script = (send(stream_head("audio/mpeg") + chunk(MP3[:9])), wait_for(rest), send(chunk(MP3[9:]) + LAST_CHUNK))
    async with (
        serving(SPEECH, script) as llm,
        running_node(LLM_CHAT_URL=llm.url) as node,
        calling(node.port, request(SPEECH, b'{"model":"whisper-1"}')) as call,
    ):
        assert await call.read_head() == 200
        assert await call.read_chunk() == MP3[:9]
        rest.set()
        reply = await call.read_rest()
    assert (reply.body, reply.is_whole, reply.header("content-type")) == (MP3, True, "audio/mpeg")


@pytest.mark.parametrize("kind", ["audio/mpeg", "application/json"])
async def test_an_error_is_one_whatever_its_head_says(kind: str) -> None:
    error = whole(b'{"error":{"message":"no such voice"}}', content_type=kind)
    async with serving(SPEECH, (send(error),)) as llm, running_node(LLM_CHAT_URL=llm.url) as node:
        reply = await post(node.port, SPEECH, b'{"model":"whisper-1"}')
    assert reply.status == 502
    assert "no such voice" in json.loads(reply.body)["error"]["message"]


async def test_a_stream_of_events_passes_as_it_comes_and_a_cut_is_a_cut() -> None:
    path, body = AT_SERVER[Endpoint.OPENAI_IMAGES], b'{"model":"whisper-1","stream":true}'
    stream = stream_head("text/event-stream")
    scripts = (send(stream + chunked([PARTIAL, COMPLETED])), close), (send(stream + chunk(PARTIAL) + LAST_CHUNK), close)
    async with serving(path, *scripts) as llm, running_node(LLM_CHAT_URL=llm.url) as node:
        reply = await post(node.port, path, body)
        cut = await post(node.port, path, body)
    assert (reply.status, reply.body, reply.is_whole) == (200, PARTIAL + COMPLETED, True)
    assert cut.body.startswith(PARTIAL + b'data: {"error":')
    assert not cut.is_whole


async def test_errors_are_openais_and_a_server_without_the_endpoint_is_found_out() -> None:
    refused = b'{"error":{"message":"no such voice","type":"invalid_request_error"}}'
    async with serving(SPEECH, (send(whole(refused, status=400)),)) as llm, running_node(LLM_CHAT_URL=llm.url) as node:
        own = await post(node.port, SPEECH, b'{"model":"whisper-1"}')
        unknown = await post(node.port, SPEECH, b'{"model":"other"}')
        missing = await post(node.port, "/rerank", b'{"model":"whisper-1"}')
        odd = await post(node.port, TRANSCRIPTIONS, FORM.replace(b"\r\n", b"\n"), FORM_HEADERS)
    assert (own.status, own.body) == (400, refused)
    assert (unknown.status, json.loads(unknown.body)["error"]["code"]) == (404, "model_not_found")
    assert (missing.status, json.loads(missing.body)["error"]["code"]) == (404, "endpoint_missing")
    assert (odd.status, json.loads(odd.body)["error"]["code"]) == (400, "invalid_request")
    assert llm.asked(TRANSCRIPTIONS) == []


async def test_a_form_may_be_larger_than_other_bodies() -> None:
    large = form((FILE, b"x" * 3_000), MODEL)
    async with (
        serving(TRANSCRIPTIONS, (send(whole(b'{"text":"hi"}')),)) as llm,
        running_node(LLM_CHAT_URL=llm.url, MAX_BODY="1000", MAX_FORM="4000") as node,
    ):
        assert (await post(node.port, TRANSCRIPTIONS, large, FORM_HEADERS)).status == 200
        assert (await post(node.port, TRANSCRIPTIONS, large + large, FORM_HEADERS)).status == 413
        assert (await post(node.port, SPEECH, b'{"model":"%s"}' % (b"x" * 1_000))).status == 413


async def test_who_asks_for_an_endpoint_of_old_is_told_what_to_use() -> None:
    async with running_node() as node:
        reply = await post(node.port, "/v1/complete", b'{"model":"claude-2","prompt":"hi"}')
    error = json.loads(reply.body)
    assert (reply.status, error["type"], error["error"]["type"]) == (404, "error", "not_found_error")
    assert "POST /v1/messages" in error["error"]["message"]
