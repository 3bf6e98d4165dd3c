"""Which headers go up to the server, and which come back: golden lists, because a credential may be among the rest.

Covers: `upstream`.
"""

import pytest

from tests.fakes.dialect_samples import ANTHROPIC, OLLAMA, OPENAI, SAMPLES, DialectSample
from tests.fakes.http_bytes import JSON, SSE, chunked, head, whole
from tests.fakes.llm_server import FakeLlm, Received, send
from tests.fakes.raw_http import post
from tests.fakes.running import node_before, running_node

OURS = ["accept-encoding", "content-length", "host", "user-agent", "x-masa-via"]
SECRET = "sk-of-the-caller"
# What clients, browsers, proxies and attackers send; the values of those that pass are odd on purpose.
SENT = (
    ("Accept", "application/json;q=0.3"),
    ("Content-Type", "application/json; charset=UTF-8"),
    ("anthropic-beta", "one,two"),
    ("OpenAI-Beta", "assistants=v2"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("tracestate", "a=b"),
    ("Authorization", f"Bearer {SECRET}"),
    ("x-api-key", SECRET),
    ("api-key", SECRET),
    ("Cookie", f"session={SECRET}"),
    ("Proxy-Authorization", f"Basic {SECRET}"),
    ("cf-aig-authorization", f"Bearer {SECRET}"),
    ("CF-Access-Client-Secret", SECRET),
    ("OpenAI-Organization", SECRET),
    ("OpenAI-Project", SECRET),
    ("X-Goog-Api-Key", SECRET),
    ("X-Forwarded-For", "10.1.2.3"),
    ("Forwarded", "for=10.1.2.3"),
    ("X-Real-IP", "10.1.2.3"),
    ("Via", "1.1 proxy"),
    ("Referer", "http://localhost/private?page"),
    ("Origin", "http://localhost:3000"),
    ("User-Agent", "their-own/1.0"),
    ("Accept-Language", "de"),
    ("Accept-Encoding", "gzip, br"),
    ("Connection", "keep-alive, x-hop"),
    ("X-Hop", SECRET),
    ("TE", "trailers"),
    ("X-Stainless-Lang", "python"),
    ("X-Request-Id", "mine-1"),
    ("Prefer", "wait"),
)
PASSED = {
    "accept": "application/json;q=0.3",
    "anthropic-beta": "one,two",
    "content-type": "application/json; charset=UTF-8",
    "openai-beta": "assistants=v2",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "a=b",
}

every_dialect = pytest.mark.parametrize("speech", SAMPLES, ids=str)


async def received(speech: DialectSample, headers: tuple[tuple[str, str], ...], **settings: str) -> Received:
    async with node_before(speech, send(speech.whole), **settings) as (llm, node):
        reply = await post(node.port, speech.endpoint, speech.ask(stream=False), headers)
    assert (reply.status, reply.body) == (200, speech.answer)
    return llm.asked(speech.endpoint)[0]


KEYS = {"openai": ["authorization"], "anthropic": ["anthropic-version", "x-api-key"], "ollama": []}


@every_dialect
async def test_exactly_these_headers_go_up(speech: DialectSample) -> None:
    got = await received(speech, SENT)
    assert got.header_names == sorted([*OURS, *PASSED, *KEYS[speech.dialect]])
    assert {name: value for name, value in got.headers if name in PASSED} == PASSED
    assert SECRET.encode() not in got.raw
    assert got.header("accept-encoding") == ["identity"]
    assert got.header("user-agent")[0].startswith("masa-node/")


@every_dialect
async def test_without_headers_of_the_callers_only_ours_go_up(speech: DialectSample) -> None:
    got = await received(speech, ())
    assert got.header_names == sorted([*OURS, "content-type", *KEYS[speech.dialect]])
    assert got.header("content-type") == ["application/json"]


@every_dialect
@pytest.mark.parametrize(
    "sent",
    [
        (("Content-Type", "application/x-www-form-urlencoded"),),  # curl -d
        (("Content-Type", "text/plain;charset=UTF-8"),),  # fetch() with a text
        (("Content-Type", ""),),
        (("Content-Type", "application/json"), ("Content-Type", "text/plain")),
        (("Content-Type", "application/json; charset=utf-7"),),  # in which `+ACI-model+ACI-:` is a field
        (("Content-Type", "application/json; charset=unicode_escape"),),
        (("Content-Type", "application/json; charset*=utf-8''utf-7"),),
    ],
)
async def test_a_body_that_is_json_is_called_json_whatever_the_caller_calls_it(
    speech: DialectSample, sent: tuple[tuple[str, str], ...]
) -> None:
    assert (await received(speech, sent)).header("content-type") == ["application/json"]


@pytest.mark.parametrize("sent", ["application/json;charset=UTF-8", 'Application/JSON; charset="utf-8"'])
async def test_the_charset_that_json_has_is_passed_as_it_is_written(sent: str) -> None:
    assert (await received(OPENAI, (("Content-Type", sent),))).header("content-type") == [sent]


@every_dialect
async def test_the_key_that_opens_the_node_does_not_go_up(speech: DialectSample) -> None:
    for name, value in (("Authorization", f"Bearer {SECRET}"), ("x-api-key", SECRET)):
        got = await received(speech, ((name, value),), API_KEY=SECRET)
        assert SECRET.encode() not in got.raw


async def test_each_server_gets_its_own_key_and_no_other() -> None:
    keys = {"OPENAI_API_KEY": "sk-openai", "ANTHROPIC_API_KEY": "sk-anthropic", "LLM_CHAT_TOKEN": "sk-local"}
    async with FakeLlm() as openai, FakeLlm() as anthropic, FakeLlm() as local:
        openai.answer("/v1/models", (send(whole(b'{"data":[{"id":"o"}]}')),))
        anthropic.answer("/v1/models", (send(whole(b'{"data":[{"id":"a"}]}')),))
        local.answer("/api/tags", (send(whole(b'{"models":[{"name":"l"}]}')),))
        openai.answer(OPENAI.endpoint, (send(OPENAI.whole),))
        anthropic.answer(ANTHROPIC.endpoint, (send(ANTHROPIC.whole),))
        local.answer(OLLAMA.endpoint, (send(OLLAMA.whole),))
        urls = {
            "OPENAI_BASE_URL": f"{openai.url}/v1",
            "ANTHROPIC_BASE_URL": anthropic.url,
            "LLM_CHAT_URL": f"{local.url}/api/chat",
        }
        async with running_node(**keys, **urls) as node:
            for endpoint, model in ((OPENAI.endpoint, b"o"), (ANTHROPIC.endpoint, b"a"), (OLLAMA.endpoint, b"l")):
                assert (await post(node.port, endpoint, b'{"model":"%b","stream":false}' % model)).status == 200
    for server, own in ((openai, "sk-openai"), (anthropic, "sk-anthropic"), (local, "sk-local")):
        assert server.asked(server.requests[-1].target)
        for got in server.requests:
            assert [key for key in keys.values() if key.encode() in got.raw] == [own], got.target
    assert openai.asked(OPENAI.endpoint)[0].header("authorization") == ["Bearer sk-openai"]
    assert anthropic.asked(ANTHROPIC.endpoint)[0].header("x-api-key") == ["sk-anthropic"]
    assert local.asked(OLLAMA.endpoint)[0].header("authorization") == ["Bearer sk-local"]


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21", "whatever"])
async def test_the_callers_anthropic_version_goes_up(version: str) -> None:
    got = await received(ANTHROPIC, (("anthropic-version", version),))
    assert got.header("anthropic-version") == [version]


async def test_without_an_anthropic_version_the_oldest_goes_up() -> None:
    got = await received(ANTHROPIC, ())
    assert got.header("anthropic-version") == ["2023-06-01"]


async def test_the_way_of_a_request_goes_up_so_that_a_loop_is_seen() -> None:
    assert len((await received(OPENAI, ())).header("x-masa-via")[0]) == 16
    via = (await received(OPENAI, (("X-Masa-Via", "abc"),))).header("x-masa-via")
    assert len(via) == 1
    assert via[0].startswith("abc,")


# ---- what comes back ----

GIVEN = (
    ("Server", "llama.cpp"),
    ("Set-Cookie", "session=1"),
    ("Access-Control-Allow-Origin", "*"),
    ("Strict-Transport-Security", "max-age=1"),
    ("Cache-Control", "public, max-age=31536000"),
    ("Connection", "keep-alive"),
    ("Keep-Alive", "timeout=5"),
    ("X-Masa-Served-By", "forged"),
    ("X-Request-Id", "forged"),
    ("Retry-After", "3"),
    ("Retry-After-Ms", "350"),
    ("x-ms-retry-after-ms", "351"),
    ("RateLimit-Remaining", "5"),
    ("request-id", "req_1"),
    ("openai-version", "2020-10-01"),
    ("openai-processing-ms", "12"),
    ("x-ratelimit-remaining-tokens", "99"),
    ("anthropic-ratelimit-requests-limit", "7"),
    ("x-should-retry", "false"),
)
GIVEN_BACK = {
    "anthropic-ratelimit-requests-limit": "7",
    "openai-processing-ms": "12",
    "openai-version": "2020-10-01",
    "request-id": "req_1",
    "ratelimit-remaining": "5",
    "retry-after": "3",
    "retry-after-ms": "350",
    "x-ms-retry-after-ms": "351",
    "x-ratelimit-remaining-tokens": "99",
    "x-should-retry": "false",
}
FROM_THE_NODE = [
    *("date", "x-content-type-options", "x-masa-attempts", "x-masa-model", "x-masa-node", "x-masa-served-by"),
    "x-request-id",
]


async def test_exactly_these_headers_come_back_with_a_whole_answer() -> None:
    given = whole(OPENAI.answer, content_type="application/json; x=1", headers=GIVEN)
    async with node_before(OPENAI, send(given)) as (_, node):
        reply = await post(node.port, OPENAI.endpoint, OPENAI.ask(stream=False))
    names = sorted([*FROM_THE_NODE, *GIVEN_BACK, "content-type", "content-length"])
    assert sorted(name for name, _ in reply.headers) == names
    assert {name: value for name, value in reply.headers if name in GIVEN_BACK} == GIVEN_BACK
    assert (reply.header("content-type"), reply.header("x-masa-served-by")) == ("application/json; x=1", "local")


@every_dialect
async def test_exactly_these_headers_come_back_with_a_stream(speech: DialectSample) -> None:
    given = head(200, [("Content-Type", speech.content_type), *GIVEN, ("Transfer-Encoding", "chunked")])
    async with node_before(speech, send(given + chunked(speech.frames))) as (_, node):
        reply = await post(node.port, speech.endpoint, speech.ask())
    own = ["cache-control", "content-type", "transfer-encoding", "x-accel-buffering"]
    assert sorted(name for name, _ in reply.headers) == sorted([*FROM_THE_NODE, *GIVEN_BACK, *own])
    assert (reply.header("x-accel-buffering"), reply.header("cache-control")) == ("no", "no-cache")
    assert reply.header("content-type") == speech.content_type


@pytest.mark.parametrize("content_type", [SSE, f"{SSE}; charset=utf-8", SSE.upper(), "text/plain"])
async def test_a_streams_content_type_comes_back_as_the_server_wrote_it(content_type: str) -> None:
    given = head(200, [("content-TYPE", content_type), ("Transfer-Encoding", "chunked")])
    async with node_before(OPENAI, send(given + chunked(OPENAI.frames))) as (_, node):
        reply = await post(node.port, OPENAI.endpoint, OPENAI.ask())
    assert (reply.header("content-type"), reply.body) == (content_type, b"".join(OPENAI.frames))


async def test_a_server_that_does_not_stream_although_asked_to_gives_its_whole_answer() -> None:
    for content_type in (JSON, "application/json; charset=utf-8"):
        async with node_before(OPENAI, send(whole(OPENAI.answer, content_type=content_type))) as (_, node):
            reply = await post(node.port, OPENAI.endpoint, OPENAI.ask(stream=True))
        assert (reply.status, reply.body, reply.header("content-type")) == (200, OPENAI.answer, content_type)


async def test_a_server_that_streams_although_not_asked_to_gives_its_stream() -> None:
    async with node_before(OPENAI, send(OPENAI.stream)) as (_, node):
        reply = await post(node.port, OPENAI.endpoint, OPENAI.ask(stream=False))
    assert (reply.body, reply.is_whole, reply.header("content-type")) == (b"".join(OPENAI.frames), True, SSE)
