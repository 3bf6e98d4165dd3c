"""Nobody speaks the caller's format: who is asked then, with what, and what comes back."""

import asyncio
import json
import sys
from collections.abc import Callable, Sequence

import msgspec
import pytest

from masa_node.chat.answer import Answer, StreamedAnswer, Usage, WholeAnswer
from masa_node.chat.errors import (
    BrokenAnswer,
    ConnectionRefused,
    DialectNotServed,
    EndpointMissing,
    ErrorAnswer,
    NotTranslatable,
    PrivacyRefused,
    ProviderError,
)
from masa_node.chat.request import DialectName, Endpoint, Privacy, Request, RequestId
from masa_node.dialects import translation
from masa_node.dialects.translation import translator
from masa_node.routing.provider import Sign, no_sign
from masa_node.routing.translating import IN_A_THREAD_BYTES, translation_of
from tests.routing.scripted import MODEL, ScriptedPeer, ScriptedProvider, World, offer
from tests.virtual_time import virtual_time

CHAT_BODY = b'{"id":"c","model":"tiny","choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}]}'
CHAT_ANSWER = WholeAnswer(200, (("content-type", "application/json"),), CHAT_BODY, DialectName.OPENAI, Usage(3, 4))
BODY = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
FIRST = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def claude(world: World, *, stream: bool = False, privacy: Privacy = Privacy.ANY, **more: object) -> Request:
    """What Claude Code asks."""
    body = msgspec.json.encode({**BODY, "stream": stream, **more})
    headers = (("content-type", "text/plain"), ("anthropic-beta", "x"), ("traceparent", "t"))
    request = world.ask(endpoint=Endpoint.ANTHROPIC_MESSAGES, privacy=privacy)
    return msgspec.structs.replace(request, body=body, headers=headers, wants_stream=stream)


class Streaming(ScriptedProvider):
    """Gives these pieces as a stream of chat completions."""

    def __init__(self, name: str, pieces: Sequence[bytes | ProviderError], *, is_whole: bool = True) -> None:
        super().__init__(name)
        self._pieces = list(pieces)
        self._is_whole = is_whole
        self.closed = 0
        self.usage = Usage()

    async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
        self.asked.append(request)
        first = self._pieces.pop(0)
        assert isinstance(first, bytes)
        return StreamedAnswer(
            200, (), DialectName.OPENAI, first, self._next, self._close, lambda: 1, self.usage, lambda: self._is_whole,
            lambda: 4_711,
        )  # fmt: skip

    async def _next(self) -> bytes:
        piece = self._pieces.pop(0) if self._pieces else b""
        if isinstance(piece, ProviderError):
            raise piece
        return piece

    def _close(self) -> None:
        self.closed += 1


async def all_of(answer: Answer) -> bytes:
    assert isinstance(answer, StreamedAnswer)
    out = piece = answer.first
    while piece:
        piece = await answer.next_piece()
        out += piece
    return out


@virtual_time
async def test_a_peer_gets_the_request_in_its_servers_format_and_the_caller_the_answer_in_their_own() -> None:
    world, peer = World(), ScriptedPeer("p", CHAT_ANSWER)
    world.catalog.put(peer, [offer()])
    answer = await world.answer(claude(world, top_k=3))
    (asked,) = peer.asked
    assert (asked.endpoint, asked.model) == (Endpoint.OPENAI_CHAT, MODEL)
    assert json.loads(asked.body) == {"model": MODEL, "messages": BODY["messages"], "max_tokens": 9}
    assert asked.headers == (("content-type", "application/json"), ("traceparent", "t"))
    assert isinstance(answer, WholeAnswer)
    assert answer.dialect is DialectName.ANTHROPIC
    assert json.loads(answer.body)["content"] == [{"type": "text", "text": "Hi"}]
    assert answer.headers[1:] == (("x-masa-translated", "anthropic>openai"), ("x-masa-dropped", "top_k"))
    assert (world.outcome.served_by, world.outcome.input_tokens) == ("p", 3)


@pytest.mark.parametrize("stream", [True, False])
@virtual_time
async def test_an_answer_in_utf_16_is_translated(*, stream: bool) -> None:
    wide = msgspec.structs.replace(CHAT_ANSWER, body=CHAT_BODY.decode().encode("utf-16"))
    world = World()
    world.catalog.put(ScriptedProvider("a", wide), [offer()])
    answer = await world.answer(claude(world, stream=stream))
    assert isinstance(answer, WholeAnswer)
    assert b'"text":"Hi"' in answer.body


@virtual_time
async def test_how_long_an_answer_took_is_told_to_ollamas_clients() -> None:
    world = World()
    world.catalog.put(ScriptedProvider("a", CHAT_ANSWER), [offer()])
    asked = world.ask(endpoint=Endpoint.OLLAMA_CHAT)
    body = msgspec.json.encode({**BODY, "stream": False})
    answer = await world.answer(msgspec.structs.replace(asked, body=body, wants_stream=False))
    assert isinstance(answer, WholeAnswer)
    assert 0 < msgspec.json.decode(answer.body)["total_duration"] < 60e9


@virtual_time
async def test_bytes_of_a_translated_stream_that_cannot_be_passed_on_yet_are_signs_of_life() -> None:
    world = World([Streaming("a", [FIRST + TEXT, DONE])])
    async with world.begun(claude(world, stream=True)) as answer:
        assert isinstance(answer, StreamedAnswer)
        assert answer.dialect is DialectName.ANTHROPIC
        assert answer.received() == 4_711


@virtual_time
async def test_an_error_of_the_llms_own_in_a_translated_stream_is_told_of() -> None:
    provider = Streaming("a", [FIRST + TEXT.replace(b'"stop"', b"null"), b'data: {"error":{"message":"no"}}\n\n'])
    provider.usage.has_failed = True  # as a tracker notes it
    world = World([provider])
    answered = await world.answer(claude(world, stream=True))
    assert isinstance(answered, StreamedAnswer)
    assert world.outcome.error == "error_in_stream"


@virtual_time
async def test_bytes_are_untouched_where_somebody_speaks_the_format() -> None:
    answer = WholeAnswer(200, (), b"as it is", DialectName.ANTHROPIC)
    world, speaks, other = World(), ScriptedPeer("p", answer), ScriptedProvider("a", CHAT_ANSWER)
    world.catalog.put(speaks, [offer(MODEL, Endpoint.ANTHROPIC_MESSAGES)])
    world.catalog.put(other, [offer()])
    request = claude(world)
    assert await world.answer(request) is answer
    assert speaks.asked == [request]
    assert not other.asked


@virtual_time
async def test_an_own_server_goes_before_a_peer_whose_format_would_carry_more() -> None:
    world, own, peer = World(), ScriptedProvider("a", http_400()), ScriptedPeer("p", CHAT_ANSWER)
    world.catalog.put(own, [offer(MODEL, Endpoint.OLLAMA_CHAT)])
    world.catalog.put(peer, [offer()])
    with pytest.raises(ErrorAnswer):
        await world.answer(claude(world))
    assert own.asked[0].endpoint is Endpoint.OLLAMA_CHAT
    assert not peer.asked


LINE = WholeAnswer(
    200,
    (("content-type", "application/json"),),
    b'{"model":"tiny","message":{"role":"assistant","content":"Hi"},"done":true}',
    DialectName.OLLAMA,
)


@virtual_time
async def test_peers_of_every_format_are_asked_at_once_each_in_its_own() -> None:
    world, slow, quick = World(), ScriptedPeer("p", 5.0, CHAT_ANSWER), ScriptedPeer("q", 1.0, LINE)
    world.catalog.put(slow, [offer()])
    world.catalog.put(quick, [offer(MODEL, Endpoint.OLLAMA_CHAT)])
    answer = await world.answer(claude(world))
    assert dict(answer.headers)["x-masa-translated"] == "anthropic>ollama"
    assert [each.asked[0].endpoint for each in (slow, quick)] == [Endpoint.OPENAI_CHAT, Endpoint.OLLAMA_CHAT]


@virtual_time
async def test_own_servers_of_several_formats_stand_in_for_each_other() -> None:
    world, down, up = World(), ScriptedProvider("a", ConnectionRefused("gone")), ScriptedProvider("b", LINE)
    world.catalog.put(down, [offer()])
    world.catalog.put(up, [offer(MODEL, Endpoint.OLLAMA_CHAT)])
    answer = await world.answer(claude(world))
    assert isinstance(answer, WholeAnswer)
    assert json.loads(answer.body)["content"] == [{"type": "text", "text": "Hi"}]
    assert len(down.asked) == len(up.asked) == 1


@virtual_time
async def test_whose_format_cannot_carry_the_request_is_not_asked() -> None:
    world, cannot, can = World(), ScriptedProvider("a", LINE), ScriptedProvider("b", CHAT_ANSWER)
    world.catalog.put(cannot, [offer(MODEL, Endpoint.OLLAMA_CHAT)])
    world.catalog.put(can, [offer()])
    url = {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}
    await world.answer(claude(world, messages=[{"role": "user", "content": [url]}]))
    assert (len(cannot.asked), len(can.asked)) == (0, 1)


def http_400() -> ErrorAnswer:
    body = b'{"error":"context length exceeded"}'
    headers = (("content-type", "application/json"), ("retry-after", "3"))
    return ErrorAnswer("no", status=400, headers=headers, body=body, is_json=True)


@virtual_time
async def test_the_next_format_is_tried_where_the_best_cannot_carry_the_request() -> None:
    world, chat, anthropic = World(), ScriptedProvider("a", CHAT_ANSWER), ScriptedProvider("b", http_400())
    world.catalog.put(anthropic, [offer(MODEL, Endpoint.ANTHROPIC_MESSAGES, Endpoint.OLLAMA_CHAT)])
    url = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}
    request = msgspec.structs.replace(
        world.ask(), body=msgspec.json.encode({"model": MODEL, "messages": [url], "logprobs": True})
    )
    with pytest.raises(NotTranslatable, match="logprobs"):
        await world.answer(request)
    assert not anthropic.asked
    request = msgspec.structs.replace(
        request, body=msgspec.json.encode({"model": MODEL, "messages": BODY["messages"], "logprobs": True})
    )
    with pytest.raises(ErrorAnswer):
        await world.answer(request)
    assert anthropic.asked[0].endpoint is Endpoint.OLLAMA_CHAT
    assert not chat.asked


@virtual_time
async def test_an_error_of_the_server_is_told_in_the_callers_format_with_its_status() -> None:
    world = World()
    world.catalog.put(ScriptedProvider("a", http_400()), [offer()])
    with pytest.raises(ErrorAnswer) as told:
        await world.answer(claude(world))
    assert (told.value.status, told.value.is_json, told.value.location) == (400, True, "a (http://a)")
    assert json.loads(told.value.body)["error"]["message"].startswith("prompt is too long")
    assert ("retry-after", "3") in told.value.headers
    assert told.value.headers.count(("content-type", "application/json")) == 1


@virtual_time
async def test_of_a_large_error_the_beginning_of_its_words_is_told() -> None:
    body = b'{"error":{"message":"too long' + b"\\n" * 400_000 + b'","type":"invalid_request_error"}}'
    world = World()
    error = ErrorAnswer("it answered 400", status=400, headers=(), body=body, is_json=True)
    world.catalog.put(ScriptedProvider("a", error), [offer()])
    with pytest.raises(ErrorAnswer) as told:
        await world.answer(claude(world))
    assert len(told.value.body) < 10_000
    assert json.loads(told.value.body)["error"]["message"].startswith("too long\n")


@virtual_time
async def test_privacy_holds_for_translated_requests() -> None:
    world, peer = World(), ScriptedPeer("p", CHAT_ANSWER)
    world.catalog.put(peer, [offer()])
    with pytest.raises(PrivacyRefused):
        await world.answer(claude(world, privacy=Privacy.LOCAL))
    assert not peer.asked


@virtual_time
@pytest.mark.parametrize("change", [{"may_translate": False}, {"requester": "peer"}])
async def test_a_strict_caller_and_a_peer_get_no_translation(change: dict[str, object]) -> None:
    world, own = World(), ScriptedProvider("a", CHAT_ANSWER)
    world.catalog.put(own, [offer()])
    with pytest.raises(DialectNotServed):
        await world.answer(msgspec.structs.replace(claude(world), **change))
    assert not own.asked


@virtual_time
async def test_what_no_conversation_can_give_is_not_translated() -> None:
    world, own = World(), ScriptedProvider("a", CHAT_ANSWER)
    world.catalog.put(own, [offer()])
    with pytest.raises(DialectNotServed):
        await world.answer(world.ask(endpoint=Endpoint.OPENAI_EMBEDDINGS))
    world.catalog.put(own, [offer(MODEL, Endpoint.OPENAI_EMBEDDINGS)])
    with pytest.raises(DialectNotServed):
        await world.answer(claude(world))


@virtual_time
async def test_an_own_server_without_the_endpoint_is_asked_through_one_that_it_has() -> None:
    missing = EndpointMissing("no such path", frozenset({Endpoint.OLLAMA_CHAT, Endpoint.OLLAMA_EMBED}))

    class Old(ScriptedProvider):
        async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
            self.asked.append(request)
            if request.endpoint is Endpoint.ANTHROPIC_MESSAGES:
                raise missing
            line = b'{"model":"tiny","message":{"role":"assistant","content":"Hi"},"done":true}'
            return WholeAnswer(200, (), line, DialectName.OLLAMA)

    world, old = World(), Old("a")
    world.catalog.put(
        old, [offer(MODEL, Endpoint.ANTHROPIC_MESSAGES, Endpoint.ANTHROPIC_COUNT_TOKENS, Endpoint.OLLAMA_CHAT)]
    )
    answer = await world.answer(claude(world))
    assert isinstance(answer, WholeAnswer)
    assert json.loads(answer.body)["content"] == [{"type": "text", "text": "Hi"}]
    assert [request.endpoint for request in old.asked] == [Endpoint.ANTHROPIC_MESSAGES, Endpoint.OLLAMA_CHAT]
    with pytest.raises(ErrorAnswer, match="container_upload` cannot be translated") as refused:
        await world.answer(claude(world, messages=[{"role": "user", "content": [{"type": "container_upload"}]}]))
    assert (refused.value.code, refused.value.status) == ("not_translatable", 400)
    with pytest.raises(EndpointMissing):
        await world.answer(msgspec.structs.replace(claude(world), may_translate=False))


@virtual_time
async def test_each_endpoint_is_tried_once_when_more_than_one_turns_out_to_be_missing() -> None:
    class Liar(ScriptedProvider):
        async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
            self.asked.append(request)
            raise EndpointMissing(
                "no such path", frozenset({Endpoint.OPENAI_CHAT, Endpoint.OLLAMA_CHAT, Endpoint.OPENAI_RESPONSES})
            )

    for endpoints in ([Endpoint.ANTHROPIC_MESSAGES], [Endpoint.OPENAI_CHAT]):
        world, liar = World(), Liar("a")
        world.catalog.put(liar, [offer(MODEL, *endpoints)])
        with pytest.raises(EndpointMissing):
            await world.answer(claude(world))
        tried = [request.endpoint for request in liar.asked]
        assert tried == [
            *endpoints,
            *(
                endpoint
                for endpoint in (Endpoint.OPENAI_CHAT, Endpoint.OLLAMA_CHAT, Endpoint.OPENAI_RESPONSES)
                if endpoint not in endpoints
            ),
        ]
        assert all(json.loads(request.body)["model"] == MODEL for request in liar.asked)


@virtual_time
async def test_tokens_are_estimated_and_nobody_is_asked() -> None:
    world, own = World(), ScriptedProvider("a", CHAT_ANSWER)
    world.catalog.put(own, [offer()])
    answer = await world.answer(msgspec.structs.replace(claude(world), endpoint=Endpoint.ANTHROPIC_COUNT_TOKENS))
    assert isinstance(answer, WholeAnswer)
    assert json.loads(answer.body)["input_tokens"] > 0
    assert ("x-masa-estimated", "input_tokens") in answer.headers
    assert not own.asked
    missing = ScriptedProvider("b", EndpointMissing("no", frozenset({Endpoint.OPENAI_CHAT})))
    world.catalog.put(missing, [offer("other", Endpoint.ANTHROPIC_COUNT_TOKENS)])
    request = msgspec.structs.replace(
        claude(world, model="other"), endpoint=Endpoint.ANTHROPIC_COUNT_TOKENS, model="other"
    )
    assert isinstance(await world.answer(request), WholeAnswer)


@virtual_time
async def test_a_stream_ends_with_its_source_and_is_whole_then() -> None:
    world = World()
    world.catalog.put(Streaming("a", [FIRST, TEXT, DONE]), [offer()])
    async with world.begun(claude(world, stream=True)) as answer:
        assert isinstance(answer, StreamedAnswer)
        assert ("content-type", "text/event-stream; charset=utf-8") in answer.headers
        assert not answer.is_whole()
        out = await all_of(answer)
    assert out.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
    assert answer.is_whole()


@virtual_time
async def test_a_source_that_breaks_behind_its_end_was_whole_and_before_it_is_cut() -> None:
    for is_whole in (True, False):
        world = World()
        world.catalog.put(Streaming("a", [TEXT, BrokenAnswer("cut")], is_whole=is_whole), [offer()])
        async with world.begun(claude(world, stream=True)) as answer:
            if is_whole:
                assert b"message_stop" in await all_of(answer)
            else:
                with pytest.raises(BrokenAnswer):
                    await all_of(answer)


@virtual_time
async def test_a_stream_that_nobody_asked_for_is_closed_when_it_cannot_be_read() -> None:
    world, own = World(), Streaming("a", [TEXT, b'data: {"choices":[{"delta":{"content":[7]}}]}\n\n'])
    world.catalog.put(own, [offer()])
    with pytest.raises(BrokenAnswer):
        await world.answer(claude(world))
    assert own.closed == 1


def chat(text: str) -> Request:
    """A request in OpenAI's format."""
    return Request(
        request_id=RequestId("r"),
        endpoint=Endpoint.OPENAI_CHAT,
        model=MODEL,
        wants_stream=False,
        body=msgspec.json.encode({"model": "tiny", "messages": [{"role": "user", "content": text}]}),
        headers=(),
        first_piece_deadline_s=1.0,
        idle_timeout_s=1.0,
    )


def test_a_large_request_is_translated_while_others_have_their_turn() -> None:
    async def check() -> None:
        other = asyncio.create_task(asyncio.sleep(0))
        translation = await translation_of(chat("x" * IN_A_THREAD_BYTES), [Endpoint.OLLAMA_CHAT])
        assert other.done()
        assert translation is not None
        assert len(translation.body) > IN_A_THREAD_BYTES

    asyncio.run(check())


def test_the_first_request_that_is_translated_has_the_code_for_it_imported_off_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = translator.__name__
    monkeypatch.setattr(translation, "translator", translator)  # so that it is there again behind the test
    monkeypatch.delitem(sys.modules, name)
    in_threads: list[object] = []

    async def to_thread(work: Callable[[], object]) -> object:
        in_threads.append(work)
        return work()

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    for _ in range(2):
        assert asyncio.run(translation_of(chat("Hello"), [Endpoint.OLLAMA_CHAT])) is not None
        assert name in sys.modules
        assert len(in_threads) == 1


@pytest.mark.parametrize("is_large", [True, False])
@pytest.mark.parametrize("kind", ["whole", "collected", "count"])
@virtual_time
async def test_what_takes_long_to_translate_is_done_off_the_loop_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, kind: str, *, is_large: bool
) -> None:
    in_threads: list[object] = []

    async def to_thread(work: Callable[[], object]) -> object:
        in_threads.append(work)
        return work()

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    text = b"x" * (IN_A_THREAD_BYTES if is_large else 1)
    world = World()
    request = claude(world, system=text.decode() if kind == "count" else "")
    own: ScriptedProvider
    if kind == "collected":
        own = Streaming("a", [FIRST, TEXT.replace(b"Hi", text), DONE])
    else:
        own = ScriptedProvider("a", msgspec.structs.replace(CHAT_ANSWER, body=CHAT_BODY.replace(b"Hi", text)))
    if kind == "count":
        request = msgspec.structs.replace(request, endpoint=Endpoint.ANTHROPIC_COUNT_TOKENS)
    world.catalog.put(own, [offer()])
    answer = await world.answer(request)
    assert isinstance(answer, WholeAnswer)
    assert (text in answer.body) is (kind != "count")
    assert len(in_threads) == is_large
