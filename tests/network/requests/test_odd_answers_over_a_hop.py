"""Odd answers end over a hop as they do straight: the same bytes, or the same error in the LLM's own words.

Covers: `request_reader`, `response_reader`, `response_writer`.
"""

from typing import Any

import pytest

from masa_node.chat.answer import Answer, StreamedAnswer
from masa_node.chat.errors import BrokenAnswer, EndpointMissing, ErrorAnswer, ProviderError
from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import DIALECT_OF_ENDPOINT, Endpoint, Request
from masa_node.dialects.opening import is_streamed
from masa_node.dialects.registry import DIALECTS
from masa_node.routing.admission import Admission
from masa_node.routing.answers.reader import take_answer
from masa_node.routing.catalog import Catalog
from masa_node.routing.dispatch import Dispatcher
from masa_node.routing.health import OPENS_AFTER
from masa_node.routing.provider import Provider, Sign, no_sign
from tests.fakes.sinks import Keeps
from tests.network.requests.request_world import MODEL, Node, ask, world
from tests.routing.answers.test_odd_answers import CHUNK, DONE, LAST, LINE, STOP, WHOLE, Said
from tests.virtual_time import now_s, virtual_time

JSON, SSE, NDJSON = "application/json", "text/event-stream", "application/x-ndjson"
UTF_8 = "application/json; charset=utf-8"
TOO_LONG = b'{"error":{"message":"the context is too long: 9 > 8","type":"invalid_request_error","code":400}}'
OVERLOADED = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
LOADING = b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}'
EVENT = b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"type":"text_delta","text":"a"}}\n\n'
START = b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":1}}}\n\n'
STOPPED = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
FIRST_OF_TWO = CHUNK + CHUNK.replace(b'"index":0', b'"index":1') + STOP
CHAT, MESSAGES, OLLAMA = Endpoint.OPENAI_CHAT, Endpoint.ANTHROPIC_MESSAGES, Endpoint.OLLAMA_CHAT
SPEECH, PICTURES, RERANK = Endpoint.OPENAI_SPEECH, Endpoint.OPENAI_IMAGES, Endpoint.OPENAI_RERANK
PARTIAL = b'data: {"type":"image_generation.partial_image","b64_json":"AA=="}\n\n'
COMPLETED = b'data: {"type":"image_generation.completed","b64_json":"AA=="}\n\n'

# What the LLM sends: endpoint, status, label, pieces.
ODD: dict[str, tuple[Endpoint, int, str, tuple[bytes | ProviderError, ...]]] = {
    "plain": (CHAT, 200, SSE, (CHUNK, STOP, DONE)),
    "labelled JSON": (CHAT, 200, JSON, (CHUNK, STOP + DONE)),
    "labelled NDJSON": (CHAT, 200, NDJSON, (CHUNK, STOP + DONE)),
    "without a label": (CHAT, 200, "", (CHUNK, STOP + DONE)),
    "whole, labelled as a stream": (CHAT, 200, SSE, (WHOLE[:9], WHOLE[9:])),
    "NaN": (CHAT, 200, SSE, (CHUNK.replace(b'"index"', b'"logprob":NaN,"index"'), STOP + DONE)),
    "NaN in a whole one": (CHAT, 200, JSON, (WHOLE.replace(b'"index"', b'"logprob":-Infinity,"index"'),)),
    "BOM": (CHAT, 200, SSE, (b"\xef\xbb\xbf" + CHUNK, STOP + DONE)),
    "BOM before a whole one": (CHAT, 200, JSON, (b"\xef\xbb\xbf" + WHOLE,)),
    "UTF-16": (CHAT, 200, JSON, (WHOLE.decode().encode("utf-16"),)),
    "UTF-16 of an error": (CHAT, 400, JSON, (TOO_LONG.decode().encode("utf-16"),)),
    "without choices": (CHAT, 200, JSON, (b'{"object":"chat.completion","choices":null}',)),
    "an error that says all is well": (CHAT, 200, JSON, (WHOLE[:-1] + b',"error":{"code":0,"message":"ok"}}',)),
    "comments without end": (CHAT, 200, SSE, (b":\n\n" * 3_000 + CHUNK, b":\n\n" * 3_000, STOP + DONE)),
    "an error of no known shape first": (CHAT, 200, SSE, (b'event: error\ndata: {"fault":"oops"}\n\n',)),
    "CR": (CHAT, 200, SSE, tuple(each.replace(b"\n", b"\r") for each in (CHUNK, STOP, DONE))),
    "CRLF": (CHAT, 200, SSE, tuple(each.replace(b"\n", b"\r\n") for each in (CHUNK, STOP, DONE))),
    "heartbeats": (CHAT, 200, SSE, (b": hi\n\n", b"data: {}\n\n", b'data: {"type":"ping"}\n\n', CHUNK, STOP, DONE)),
    "heartbeats alone": (CHAT, 200, SSE, (b": hi\n\n", b"data: {}\n\n")),
    "empty error": (CHAT, 200, SSE, (CHUNK.replace(b'{"choices"', b'{"error":{},"choices"'), STOP + DONE)),
    "one of two choices is cut": (CHAT, 200, SSE, (FIRST_OF_TWO, DONE)),
    "cut": (CHAT, 200, SSE, (CHUNK,)),
    "broken": (CHAT, 200, SSE, (CHUNK, BrokenAnswer("reset"))),
    "cut inside a frame": (CHAT, 200, SSE, (CHUNK, STOP[:20])),
    "a page": (CHAT, 200, "text/html", (b"<html>hello</html>",)),
    "garbage": (CHAT, 200, SSE, (b"hello\n\n",)),
    "nothing": (CHAT, 200, SSE, ()),
    "an error first": (CHAT, 200, SSE, (b"data: %s\n\n" % TOO_LONG,)),
    "an error without a status first": (CHAT, 200, SSE, (b'data: {"error":{"message":"oops"}}\n\n',)),
    "an error as a body": (CHAT, 200, JSON, (TOO_LONG,)),
    "an error later": (CHAT, 200, SSE, (CHUNK, b"data: %s\n\n" % TOO_LONG)),
    "an error of Anthropic's first": (MESSAGES, 200, SSE, (b"event: error\ndata: %s\n\n" % OVERLOADED,)),
    "an error of Anthropic's later": (MESSAGES, 200, SSE, (START, EVENT, b"event: error\ndata: %s\n\n" % OVERLOADED)),
    "Anthropic": (MESSAGES, 200, SSE, (START, b"event: ping\ndata: {}\n\n", EVENT, STOPPED)),
    "Anthropic, cut": (MESSAGES, 200, SSE, (START, EVENT)),
    "Ollama, labelled JSON": (OLLAMA, 200, JSON, (LINE, LAST)),
    "Ollama, cut": (OLLAMA, 200, NDJSON, (LINE,)),
    "an error of Ollama's first": (OLLAMA, 200, NDJSON, (b'{"error":"model requires more memory","status":400}\n',)),
    "an error of Ollama's later": (OLLAMA, 200, NDJSON, (LINE, b'{"error":"out of memory"}\n')),
    "a sound": (SPEECH, 200, "audio/mpeg", (b"ID3\x04\0", b"\xff\xfb\n\ndata: [DONE]\n\n")),
    "a sound like an object": (SPEECH, 200, "audio/pcm", (b"{\0\x01\0",)),
    "a sound that is cut": (SPEECH, 200, "audio/mpeg", (b"ID3\x04\0", BrokenAnswer("reset"))),
    "a page for a sound": (SPEECH, 200, "text/html", (b"<html>hello</html>",)),
    "a transcript": (Endpoint.OPENAI_TRANSCRIPTIONS, 200, "text/plain; charset=utf-8", (b"[Music] Hi.\n",)),
    "pictures": (PICTURES, 200, SSE, (PARTIAL, COMPLETED)),
    "pictures, cut": (PICTURES, 200, SSE, (PARTIAL,)),
    "ranks": (RERANK, 200, JSON, (b'{"results":[{"index":0,"relevance_score":0.5}]}',)),
    "ranks in words": (RERANK, 200, "text/plain", (b"the first",)),
    "400": (CHAT, 400, UTF_8, (TOO_LONG,)),
    "503": (CHAT, 503, UTF_8, (LOADING,)),
    "500, no JSON": (CHAT, 500, "text/plain", (b"boom",)),
    "429, no JSON": (CHAT, 429, "text/plain", (b"slow down",)),
}


class Plays:
    """An LLM that gives this response whenever it is asked."""

    is_local = is_trusted = True
    is_hosted = False
    priority = 0

    def __init__(self, odd: str, name: str = "llm") -> None:
        self.name = self.location = name
        self.asked = 0
        self.endpoint, self._status, self._label, self._pieces = ODD[odd]

    async def answer(self, asked: Request, sign: Sign = no_sign) -> Answer:
        del sign
        self.asked += 1
        more = (("retry-after", "7"), ("retry-after-ms", "350")) if self._status in (400, 429, 500) else ()
        said = Said(*self._pieces, label=self._label, more=more, status=self._status)
        said.content_type = self._label.partition(";")[0]
        is_stream = is_streamed(said.content_type, wants_stream=asked.wants_stream)
        return await take_answer(said, DIALECTS[DIALECT_OF_ENDPOINT[asked.endpoint]], is_stream=is_stream)


async def _nothing() -> None:
    pass


def before(*providers: Provider) -> Dispatcher:
    catalog = Catalog()
    for provider in providers:
        catalog.put(provider, [ModelOffer(MODEL, frozenset(Endpoint))])
    return Dispatcher(catalog, Admission(10, 10), _nothing, lambda _: None)


async def ending(dispatcher: Dispatcher, endpoint: Endpoint, *, wants_stream: bool = True) -> dict[str, Any]:
    """How it ends for the caller: all that a caller could tell."""
    caller = Keeps()
    body = b'{"model":"tiny","stream":%s,"messages":[{"role":"user","content":"hi"}]}'
    body %= b"true" if wants_stream else b"false"
    await dispatcher.answer(ask(body, endpoint=endpoint, wants_stream=wants_stream), caller)
    end: dict[str, Any] = {"bytes": b"".join(caller.came)}
    if (answer := caller.answer) is not None:
        end["status"], end["streamed"] = answer.status, isinstance(answer, StreamedAnswer)
    if (error := caller.error) is not None:
        end["error"] = error.code
    if isinstance(error, ErrorAnswer):
        end["error"] = (error.status, error.is_json, error.body if error.is_json else b"")
        end["told"] = sorted(error.headers) if error.is_json or error.status != 200 else ()
    return end


@pytest.mark.parametrize("wants_stream", [True, False])
@pytest.mark.parametrize("odd", ODD)
@virtual_time
async def test_an_odd_answer_ends_over_a_hop_as_it_does_straight(odd: str, *, wants_stream: bool) -> None:
    endpoint = ODD[odd][0]
    straight = await ending(before(Plays(odd)), endpoint, wants_stream=wants_stream)
    async with world(Node((Plays(odd),)).serve) as here:
        assert await ending(before(here.peer), endpoint, wants_stream=wants_stream) == straight


@virtual_time
async def test_a_server_that_still_loads_its_model_is_passed_by_where_there_is_another() -> None:
    loading = Plays("503")
    assert (await ending(before(loading, Plays("plain", "other")), CHAT))["bytes"] == CHUNK + STOP + DONE
    async with world(Node((loading,)).serve) as here:
        asking = before(here.peer, Plays("plain", "other"))
        assert (await ending(asking, CHAT))["bytes"] == CHUNK + STOP + DONE
        alone = before(here.peer)
        assert (await ending(alone, CHAT))["error"] == (503, True, LOADING)


CALLERS_FAULTS = ["an error first", "an error as a body", "an error of Ollama's first", "400"]


@pytest.mark.parametrize("odd", CALLERS_FAULTS)
@virtual_time
async def test_callers_faults_inside_a_200_open_no_breaker_and_move_nobody(odd: str) -> None:
    llm, dear = Plays(odd), Plays("plain", "dear")
    dispatcher = before(llm, dear)
    for _ in range(2 * OPENS_AFTER):
        await ending(dispatcher, llm.endpoint)
    assert dispatcher.stats.health.of(llm.name).failures == 0
    assert llm.asked == 2 * OPENS_AFTER  # whoever comes next is still sent there first


@pytest.mark.parametrize("odd", CALLERS_FAULTS)
@virtual_time
async def test_callers_faults_over_a_hop_are_held_against_neither_the_llm_nor_the_peer(odd: str) -> None:
    llm = Plays(odd)
    node = Node((llm,))
    async with world(node.serve) as here:
        asking = before(here.peer)
        for _ in range(2 * OPENS_AFTER):
            assert (await ending(asking, llm.endpoint))["error"][0] == 400
        assert asking.stats.health.of(here.peer.name).is_well(now_s())
        assert asking.stats.health.of(here.peer.name).failures == 0
        assert node.dispatcher.stats.health.of(llm.name).failures == 0
    assert llm.asked == 2 * OPENS_AFTER


class WithoutResponses(Plays):
    """A server that offers every endpoint, as nobody has asked for responses yet, and then has none of those."""

    async def answer(self, asked: Request, sign: Sign = no_sign) -> Answer:
        if asked.endpoint is not CHAT:
            self.asked += 1
            raise EndpointMissing("its LLM server has no such endpoint.", frozenset({CHAT}), status=404)
        return await super().answer(asked, sign)


@pytest.mark.parametrize("wants_stream", [True, False])
@pytest.mark.parametrize("endpoint", [Endpoint.OPENAI_RESPONSES, MESSAGES, OLLAMA])
@virtual_time
async def test_an_endpoint_that_turns_out_to_be_missing_is_done_without_over_a_hop_too(
    endpoint: Endpoint, *, wants_stream: bool
) -> None:
    answers = "plain" if wants_stream else "whole, labelled as a stream"
    straight = await ending(before(WithoutResponses(answers)), endpoint, wants_stream=wants_stream)
    llm = WithoutResponses(answers)
    async with world(Node((llm,)).serve) as here:
        over_a_hop = await ending(before(here.peer), endpoint, wants_stream=wants_stream)
    assert (over_a_hop.get("error"), over_a_hop["status"], llm.asked) == (None, 200, 2)
    assert over_a_hop.keys() == straight.keys()
    assert over_a_hop["streamed"] is straight["streamed"] is wants_stream


@virtual_time
async def test_a_peer_that_has_none_of_the_endpoints_says_which_was_asked_for() -> None:
    class Nothing(Plays):
        async def answer(self, asked: Request, sign: Sign = no_sign) -> Answer:
            raise EndpointMissing("its LLM server has no such endpoint.", frozenset(), status=404)

    straight = await ending(before(Nothing("plain")), CHAT)
    async with world(Node((Nothing("plain"),)).serve) as here:
        assert (await ending(before(here.peer), CHAT))["error"] == straight["error"]
