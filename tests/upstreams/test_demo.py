"""`masa-demo`: in every dialect a valid answer that says what it is and repeats what it heard."""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from masa_node.chat.answer import StreamedAnswer, Usage, WholeAnswer
from masa_node.chat.request import DIALECT_OF_ENDPOINT, DialectName, Endpoint, Request, RequestId
from masa_node.dialects.registry import DIALECTS
from masa_node.dialects.tracking import StreamTracker
from masa_node.upstreams.demo import MODEL, RENDERED_ENDPOINTS, DemoModel
from tests.fakes.raw_http import calling, post, request
from tests.fakes.running import running_node
from tests.routing.running.test_steps import VALUES, check
from tests.virtual_time import virtual_time

FAST = 100_000.0
ENDPOINTS = sorted(RENDERED_ENDPOINTS)
HEARD = {"messages": [{"role": "system", "content": "be nice"}, {"role": "user", "content": "Grüße  und\n mehr"}]}


def ask(endpoint: Endpoint, body: object, *, stream: bool) -> Request:
    return Request(
        request_id=RequestId("r"),
        endpoint=endpoint,
        model=MODEL,
        wants_stream=stream,
        body=json.dumps(body).encode(),
        headers=(),
        first_piece_deadline_s=0.0,
        idle_timeout_s=1.0,
    )


async def pieces(answer: StreamedAnswer) -> list[bytes]:
    found = [answer.first]
    while piece := await answer.next_piece():
        found.append(piece)
    return found


def texts_in(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Every text under a key that a dialect uses for the model's words, in order."""
    match value:
        case dict():
            said = [value[key] for key in ("text", "content", "response") if isinstance(value.get(key), str)]
            return "".join(said) + "".join(texts_in(inner) for inner in value.values())
        case list():
            return "".join(map(texts_in, value))
        case _:
            return ""


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_whole_answer_is_valid_in_its_dialect_and_repeats_what_was_heard(endpoint: Endpoint) -> None:
    answer = await DemoModel(pieces_per_s=FAST).answer(ask(endpoint, HEARD, stream=False))
    assert isinstance(answer, WholeAnswer)
    usage = Usage()
    assert DIALECTS[answer.dialect].fault_of_whole(answer.body, usage) is None
    assert usage.output_tokens == answer.usage.output_tokens
    text = texts_in(json.loads(answer.body))
    assert MODEL in text
    assert text.endswith("You said: Grüße und mehr")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_stream_is_whole_in_its_dialect_and_says_the_same(endpoint: Endpoint) -> None:
    whole = await DemoModel(pieces_per_s=FAST).answer(ask(endpoint, HEARD, stream=False))
    answer = await DemoModel(pieces_per_s=FAST).answer(ask(endpoint, HEARD, stream=True))
    assert isinstance(answer, StreamedAnswer)
    assert isinstance(whole, WholeAnswer)
    tracker = StreamTracker(DIALECTS[answer.dialect])
    found = await pieces(answer)
    assert b"".join(map(tracker.feed, found)) + tracker.finish() == b"".join(found)
    assert (tracker.fault, tracker.started, tracker.is_whole()) == (None, True, True)
    assert answer.frames() == len(found)
    lines = [line.removeprefix(b"data: ") for piece in found for line in piece.splitlines() if b"{" in line]
    assert "".join(texts_in(json.loads(line)) for line in lines) == texts_in(json.loads(whole.body))
    assert await answer.next_piece() == b""


BODIES = [
    {},
    {"messages": []},
    {"messages": "x"},
    {"messages": [{"role": "user", "content": None}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}]},
    {"messages": [{"role": "user", "content": "x" * 100_000}]},
    {"prompt": "a"},
    {"prompt": ["a", "b"]},
]


@pytest.mark.parametrize("body", BODIES)
async def test_any_body_is_answered_within_bounds(body: object) -> None:
    for endpoint in ENDPOINTS:
        answer = await DemoModel(pieces_per_s=FAST).answer(ask(endpoint, body, stream=False))
        assert isinstance(answer, WholeAnswer)
        assert len(answer.body) < 2000


async def test_a_stream_that_is_closed_says_no_more() -> None:
    answer = await DemoModel(pieces_per_s=FAST).answer(ask(Endpoint.OPENAI_CHAT, HEARD, stream=True))
    assert isinstance(answer, StreamedAnswer)
    answer.close()
    answer.close()
    assert await answer.next_piece() == b""


async def test_it_takes_its_time() -> None:
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    answer = await DemoModel(pieces_per_s=200).answer(ask(Endpoint.OPENAI_CHAT, HEARD, stream=True))
    assert isinstance(answer, StreamedAnswer)
    found = await pieces(answer)
    assert loop.time() - started_s >= len(found) / 200


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/chat/completions", DialectName.OPENAI),
        ("/v1/messages", DialectName.ANTHROPIC),
        ("/api/chat", DialectName.OLLAMA),
        ("/api/generate", DialectName.OLLAMA),
        ("/api/v1/chat", DialectName.OLLAMA),
    ],
)
async def test_it_is_served_through_every_endpoint_without_any_server(path: str, dialect: DialectName) -> None:
    body = json.dumps({"model": MODEL, **HEARD, "stream": True}).encode()
    async with running_node(DEMO="1", DEMO_PIECES_PER_S="1000") as node:
        reply = await post(node.port, path, body)
    tracker = StreamTracker(DIALECTS[dialect])
    tracker.feed(reply.body)
    tracker.finish()
    assert (reply.status, reply.is_whole, tracker.fault) == (200, True, None)
    assert len(reply.chunks) > 5


async def test_its_words_come_one_by_one_and_stop_when_the_caller_leaves() -> None:
    body = json.dumps({"model": MODEL, **HEARD, "stream": True}).encode()
    async with running_node(DEMO="1", DEMO_PIECES_PER_S="50") as node:
        async with calling(node.port, request("/v1/chat/completions", body)) as call:
            await call.read_head()
            assert await call.read_chunk()
            assert node.node.admission.running == 1
        async with asyncio.timeout(10):
            while node.node.admission.running:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.002)


async def test_its_dialect_is_that_of_its_endpoint() -> None:
    for endpoint in ENDPOINTS:
        answer = await DemoModel(pieces_per_s=FAST).answer(ask(endpoint, HEARD, stream=False))
        own = Endpoint.OLLAMA_CHAT if endpoint is Endpoint.NATIVE else endpoint
        assert answer.dialect is DIALECT_OF_ENDPOINT[own]


LARGEST = 9_000_000
SAID = b'{"model":"masa-demo","messages":[{"role":"user","content":%b}]}'
LARGE = {
    **VALUES,
    "many digits": b"7" * LARGEST,
    "many digits in a text": b'"%b"' % (b"7" * LARGEST),
    "many spaces": b'"%b"' % (b" " * LARGEST),
    "many words": b'"%b"' % (b"a " * (LARGEST // 2)),
    "many parts": b"[%b{}]" % (b'{"type":"text","text":"a"},' * (LARGEST // 27)),
}


@pytest.mark.untraced
@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE.keys())
@virtual_time
async def test_no_message_holds_the_loop(value: bytes) -> None:
    large = msgspec.structs.replace(ask(Endpoint.OPENAI_CHAT, {}, stream=False), body=SAID % value)
    await check(lambda: DemoModel(pieces_per_s=float("inf")).answer(large))  # or its clock waits for the turns


async def test_of_a_large_message_the_beginning_is_repeated() -> None:
    for content in ("abc " + "x" * LARGEST, [{"type": "text", "text": "abc " + "x" * LARGEST}]):
        body = {"messages": [{"role": "user", "content": content}]}
        answer = await DemoModel(pieces_per_s=FAST).answer(ask(Endpoint.OPENAI_CHAT, body, stream=False))
        assert isinstance(answer, WholeAnswer)
        said = json.loads(answer.body)["choices"][0]["message"]["content"]
        assert said.endswith("You said: abc " + "x" * 196)
