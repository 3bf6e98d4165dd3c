"""The product's own endpoint: one format, chosen before anybody is asked, whoever answers first.

Covers: `candidates`.
"""

import asyncio
import json
from collections.abc import Sequence

import msgspec
import pytest

from masa_node.chat.answer import Answer, Usage, WholeAnswer
from masa_node.chat.offer import AnyName
from masa_node.chat.request import DialectName, Endpoint, Privacy, Request
from masa_node.network.transport.memory import MemoryNetwork
from masa_node.routing.native import in_one_format
from masa_node.routing.provider import Sign, no_sign
from tests.network.nodes import Told, introduce, make, running
from tests.routing.scripted import (
    MODEL,
    ScriptedPeer,
    ScriptedProvider,
    TrustedPeer,
    World,
    http_error,
    nothing_new,
    offer,
)
from tests.virtual_time import virtual_time

HI = [{"role": "user", "content": "hi"}]
ASKS = 20
JSON = (("content-type", "application/json"),)
OPENAI_BODY = b'{"id":"c","choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}]}'
OLLAMA_BODY = b'{"model":"tiny","message":{"role":"assistant","content":"Hi"},"done":true,"done_reason":"stop"}'
ANTHROPIC_BODY = (
    b'{"id":"a","type":"message","role":"assistant","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn"}'
)
OPENAI = WholeAnswer(200, JSON, OPENAI_BODY, DialectName.OPENAI, Usage(3, 4))
OLLAMA = WholeAnswer(200, JSON, OLLAMA_BODY, DialectName.OLLAMA, Usage(3, 4))
ANTHROPIC = WholeAnswer(200, JSON, ANTHROPIC_BODY, DialectName.ANTHROPIC, Usage(3, 4))
# What servers of each kind serve.
OPENAIS = (Endpoint.NATIVE, Endpoint.OPENAI_CHAT)
OLLAMAS = (Endpoint.NATIVE, Endpoint.OLLAMA_CHAT, Endpoint.OLLAMA_GENERATE)
ANTHROPICS = (Endpoint.NATIVE, Endpoint.ANTHROPIC_MESSAGES)


def native(world: World, privacy: Privacy = Privacy.ANY, **body: object) -> Request:
    request = world.ask(endpoint=Endpoint.NATIVE, privacy=privacy)
    encoded = msgspec.json.encode({"model": MODEL, "messages": HI, **body})
    return msgspec.structs.replace(request, body=encoded, wants_stream=body.get("stream") is True)


async def settled(world: World, wanted: DialectName | None = None, **body: object) -> Request:
    return await world.dispatcher.in_one_format(native(world, **body), wanted)


def world_of(*offers: tuple[ScriptedProvider, Sequence[Endpoint]]) -> World:
    world = World()
    for provider, endpoints in offers:
        world.catalog.put(provider, [offer(MODEL, *endpoints)])
    return world


@virtual_time
async def test_a_race_of_two_kinds_is_answered_in_one_format_whoever_wins() -> None:
    answered_by: set[str | None] = set()
    for at in range(ASKS):
        first, second = (0.1, 0.5) if at % 2 else (0.5, 0.1)
        one, two = ScriptedPeer("openai", first, OPENAI), ScriptedPeer("ollama", second, OLLAMA)
        world = world_of((one, OPENAIS), (two, OLLAMAS))
        request = await settled(world, stream=False)
        answer = await world.answer(request)
        assert isinstance(answer, WholeAnswer)
        assert (answer.dialect, json.loads(answer.body)["message"]["content"]) == (DialectName.OLLAMA, "Hi")
        assert [asked.endpoint for asked in one.asked] == [Endpoint.OPENAI_CHAT]
        assert [asked.endpoint for asked in two.asked] == [Endpoint.OLLAMA_CHAT]
        answered_by.add(world.outcome.served_by)
    assert answered_by == {"openai", "ollama"}


@virtual_time
@pytest.mark.parametrize(("stream", "wants"), [({}, True), ({"stream": True}, True), ({"stream": False}, False)])
async def test_ollamas_default_is_to_stream(stream: dict[str, bool], *, wants: bool) -> None:
    world = world_of((ScriptedPeer("a"), OPENAIS), (ScriptedPeer("b"), OLLAMAS))
    request = await settled(world, **stream)
    assert (request.endpoint, request.wants_stream) == (Endpoint.OLLAMA_CHAT, wants)


@virtual_time
async def test_two_kinds_of_which_neither_is_ollamas_answer_in_ollamas_all_the_same() -> None:
    for winner, loser in ((0.1, 0.5), (0.5, 0.1)):
        one, two = ScriptedPeer("o", winner, OPENAI), ScriptedPeer("a", loser, ANTHROPIC)
        world = world_of((one, OPENAIS), (two, ANTHROPICS))
        answer = await world.answer(await settled(world, stream=False))
        assert answer.dialect is DialectName.OLLAMA
        assert (len(one.asked), len(two.asked)) == (1, 1)


@virtual_time
async def test_the_header_counts_before_the_body_and_the_body_before_the_servers() -> None:
    world = world_of((ScriptedPeer("a"), OPENAIS), (ScriptedPeer("b"), OLLAMAS))
    assert (await settled(world, DialectName.ANTHROPIC, options={})).endpoint is Endpoint.ANTHROPIC_MESSAGES
    assert (await settled(world, stop_sequences=["x"])).endpoint is Endpoint.ANTHROPIC_MESSAGES
    assert (await settled(world, n=1)).endpoint is Endpoint.OPENAI_CHAT
    assert (await settled(world, n=1)).wants_stream is False
    only = world_of((ScriptedPeer("a"), OPENAIS))
    assert (await settled(only, keep_alive=1)).endpoint is Endpoint.OLLAMA_CHAT


@virtual_time
@pytest.mark.parametrize(
    ("endpoints", "endpoint"),
    [(OPENAIS, Endpoint.OPENAI_CHAT), (OLLAMAS, Endpoint.OLLAMA_CHAT), (ANTHROPICS, Endpoint.ANTHROPIC_MESSAGES)],
)
async def test_where_all_have_the_same_format_of_their_own_it_is_that(
    endpoints: Sequence[Endpoint], endpoint: Endpoint
) -> None:
    world = world_of((ScriptedProvider("a"), endpoints), (ScriptedPeer("b"), endpoints))
    assert (await settled(world)).endpoint is endpoint


@virtual_time
@pytest.mark.parametrize("body", [{}, {"messages": None, "prompt": "hi"}])
async def test_of_servers_of_responses_alone_it_is_openais_other_format(body: dict[str, object]) -> None:
    """Such a body has no `input`: they would refuse it, and it can be translated into theirs."""
    world = world_of((ScriptedPeer("a"), (Endpoint.NATIVE, Endpoint.OPENAI_RESPONSES)))
    endpoint = Endpoint.OPENAI_COMPLETIONS if body else Endpoint.OPENAI_CHAT
    assert (await settled(world, **body)).endpoint is endpoint
    world.catalog.put(ScriptedPeer("b"), [offer(MODEL, Endpoint.NATIVE, Endpoint.OPENAI_RESPONSES)])
    request = await world.dispatcher.in_one_format(native(world, messages=None, input="hi"), None)
    assert request.endpoint is Endpoint.OPENAI_RESPONSES


@virtual_time
async def test_only_those_count_who_may_be_asked() -> None:
    world = world_of((ScriptedProvider("a"), OPENAIS), (TrustedPeer("t"), OPENAIS), (ScriptedPeer("b"), OLLAMAS))
    for privacy, endpoint in (
        (Privacy.LOCAL, Endpoint.OPENAI_CHAT),
        (Privacy.TRUSTED, Endpoint.OPENAI_CHAT),
        (Privacy.ANY, Endpoint.OLLAMA_CHAT),
    ):
        request = await world.dispatcher.in_one_format(native(world, privacy), None)
        assert request.endpoint is endpoint


@virtual_time
async def test_without_translation_it_is_a_format_that_somebody_speaks() -> None:
    def strict(world: World) -> Request:
        return msgspec.structs.replace(native(world), may_translate=False)

    world = world_of((ScriptedPeer("a"), ANTHROPICS), (ScriptedPeer("b"), OPENAIS))
    request = await world.dispatcher.in_one_format(strict(world), None)
    assert (request.endpoint, request.translates_beside) == (Endpoint.OPENAI_CHAT, False)
    world = world_of((ScriptedPeer("a"), ANTHROPICS), (ScriptedPeer("b"), OLLAMAS))
    assert (await world.dispatcher.in_one_format(strict(world), None)).endpoint is Endpoint.OLLAMA_CHAT


@virtual_time
async def test_an_own_server_of_another_kind_takes_over_from_the_first() -> None:
    first, second = ScriptedProvider("a", http_error(500)), ScriptedProvider("b", OPENAI)
    world = world_of((first, OLLAMAS), (second, OPENAIS))
    answer = await world.answer(await settled(world, stream=False))
    assert (answer.dialect, world.outcome.served_by) == (DialectName.OLLAMA, "b")


@virtual_time
async def test_whose_format_cannot_carry_the_request_is_left_out() -> None:
    one, two = ScriptedPeer("a", 0.1, ANTHROPIC), ScriptedPeer("b", 0.5, OPENAI)
    world = world_of((one, ANTHROPICS), (two, OPENAIS))
    answer = await world.answer(await settled(world, DialectName.OPENAI, n=2, stream=False))
    assert (answer.dialect, one.asked) == (DialectName.OPENAI, [])


@virtual_time
async def test_a_lone_server_of_which_nothing_is_known_answers_in_its_own_format() -> None:
    world = World()
    world.catalog.put(ScriptedProvider("a", OPENAI), None)
    assert (await settled(world)).endpoint is Endpoint.NATIVE
    world.catalog.put(ScriptedProvider("b", OPENAI), None)
    assert (await settled(world)).endpoint is Endpoint.OLLAMA_CHAT


@virtual_time
async def test_a_server_that_answers_to_any_name_answers_in_its_own_format() -> None:
    world = World()
    any_name = msgspec.structs.replace(offer("other", *OPENAIS), any_name=AnyName.SEEN)
    world.catalog.put(ScriptedProvider("a", OPENAI), [any_name])
    assert (await settled(world)).endpoint is Endpoint.NATIVE


@virtual_time
async def test_a_model_that_has_just_appeared_is_looked_for_before_the_format_is_chosen() -> None:
    world = World()

    async def appears() -> None:
        world.catalog.put(ScriptedProvider("a"), [offer(MODEL, *OPENAIS)])

    request = await in_one_format(native(world), None, world.catalog, appears)
    assert request.endpoint is Endpoint.OPENAI_CHAT
    request = await in_one_format(native(World()), None, World().catalog, nothing_new)
    assert request.endpoint is Endpoint.OLLAMA_CHAT


@virtual_time
async def test_the_marks_of_a_large_body_are_seen() -> None:
    world = world_of((ScriptedPeer("a"), OPENAIS))
    messages = [{"role": "user", "content": "x" * 600_000}, {"role": "user", "content": "hi", "images": ["A" * 99]}]
    assert (await settled(world, messages=messages)).endpoint is Endpoint.OLLAMA_CHAT


class OneKind(ScriptedProvider):
    """A server that speaks one format, behind a peer; it answers whole."""

    def __init__(self, name: str, answer: WholeAnswer) -> None:
        super().__init__(name)
        self._answer = answer

    async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
        self.asked.append(request)
        return self._answer


@virtual_time
async def test_over_a_hop_peers_of_two_kinds_answer_in_one_format() -> None:
    asking, one, two = three = make(MemoryNetwork(), 3)
    openai, ollama = OneKind("openai", OPENAI), OneKind("ollama", OLLAMA)
    one.catalog.put(openai, [offer(MODEL, *OPENAIS)])
    two.catalog.put(ollama, [offer(MODEL, *OLLAMAS)])
    async with running(*three):
        introduce(three)
        await asyncio.sleep(5)
        for _ in range(ASKS):
            plain = asking.a_request(model=MODEL)
            body = msgspec.json.encode({"model": MODEL, "messages": HI, "stream": False})
            asked = msgspec.structs.replace(plain, endpoint=Endpoint.NATIVE, body=body, wants_stream=False)
            told = Told()
            await asking.dispatcher.answer(await asking.dispatcher.in_one_format(asked, None), told)
            assert json.loads(told.body)["message"]["content"] == "Hi"
    assert {request.endpoint for request in openai.asked} <= {Endpoint.OPENAI_CHAT}
    assert {request.endpoint for request in ollama.asked} <= {Endpoint.OLLAMA_CHAT}
