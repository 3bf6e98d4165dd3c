"""Nobody's content holds the event loop: the longest turn of every reader, in the worst cases, in CPU time.

Measured in units of this machine, now: so much as a plain loop takes that takes about half a millisecond on a usual
one. Forty of them are the 20 ms that nothing may take.
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from masa_node.chat.answer import StreamedAnswer
from masa_node.chat.errors import MasaError
from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import DialectName, Endpoint, Headers
from masa_node.dialects.bodies.body_format import BODY_DEPTH, body_format, fewer_messages
from masa_node.dialects.bodies.peek import peek
from masa_node.dialects.condensing import LARGE_BYTES, MAX_PARTS, REQUEST_DEPTH, Steps
from masa_node.dialects.framing import MAX_FRAME_BYTES
from masa_node.dialects.registry import DIALECTS
from masa_node.network.gossip.own_advert import AboutNode, Advertiser
from masa_node.network.requests.body_check import check_body
from masa_node.network.requests.sharing import SharedCatalog, read_policy
from masa_node.network.transport.interfaces import PeerAddress
from masa_node.network.transport.memory import MemoryNetwork
from masa_node.routing.answers.reader import take_answer
from masa_node.routing.catalog import Catalog
from masa_node.routing.running.steps import in_steps, readable
from masa_node.upstreams.http.answer import HttpAnswer
from masa_node.upstreams.servers.anthropic import AnthropicServer
from masa_node.upstreams.servers.cloudflare import CloudflareServer
from masa_node.upstreams.servers.listing import MAX_MODELS
from masa_node.upstreams.servers.ollama import OllamaServer
from masa_node.upstreams.servers.openai import OpenAiServer
from masa_node.upstreams.servers.server import Server
from tests.counted_calls import calls_by_turn
from tests.routing.answers.test_odd_answers import Said
from tests.routing.scripted import ScriptedProvider
from tests.virtual_time import virtual_time

pytestmark = pytest.mark.untraced
SIZE = 1_000_000
READ_BYTES = 256 * 1024  # what a transport gives at most at once
MOST_UNITS = 40.0  # what is allowed; the worst take half of it, and what this is for took 400 and more
MOST_CALLS_A_MODEL = 36  # in one turn; the worst takes 27, and 20 ms are about 45
TRIES = 9  # more, when a turn was too long: the machine may have done something else in the middle of it


def filled(part: bytes, begin: bytes = b"", end: bytes = b"") -> bytes:
    return begin + part * (SIZE // len(part)) + end


def distinct(field: bytes, begin: bytes = b"", end: bytes = b"") -> bytes:
    """With as many names as are looked at, no two of them alike."""
    return begin + b"".join([field % number for number in range(MAX_PARTS - 1_000)]) + end


VALUES = {
    "plain": filled(b"x", b'"', b'"'),
    "line ends": filled(rb"\n", b'"', b'"'),
    "backslashes": filled(rb"\\", b'"', b'"'),
    "quotes": filled(rb"\"", b'"', b'"'),
    "halves of emojis": filled(rb"\ud83d", b'"', b'"'),
    "colons": filled(b":", b'"', b'"'),
    "names in a text": filled(rb"\"model\":", b'"', b'"'),
    "numbers that are none": filled(b"NaN,", b"[", b"1]"),
    "empty lists": filled(b"[],", b"[", b"1]"),
    "empty texts": filled(b'"",', b"[", b"1]"),
    "short escaped texts": filled(rb'"\n",', b"[", b"1]"),
    "brackets of both kinds": filled(b'[{"a":[]}],', b"[", b"1]"),
    "pairs of pairs": filled(b"[[],[]],{},", b"[", b"1]"),
    "brackets in texts": filled(b'{"a":"}]"},', b"[", b"1]"),
    "objects": filled(b'{"a":{"b":[{"c":[1]}]}},', b"[", b"1]"),
    "fields": filled(b'"":0,', b"{", b'"":0}'),
    "other fields": distinct(b'"%06d":0,', b"{", b'"":0}'),
    "other long fields": distinct(b'"%026d":' + b"7" * 28 + b",", b"{", b'"":0}'),
    "depth": filled(b"[" * 400 + b"]" * 400 + b",", b"[", b"1]"),
    "endless depth": b"[" * (SIZE // 2) + b"]" * (SIZE // 2),
    "spaces": filled(b" ", b"", b"1"),
    "digits": filled(b"7"),
}
CHOICES = b'"choices":[{"index":0,"delta":{"content":"a"},"message":{},"finish_reason":"stop"}]'
BODIES = {
    **{name: b'{"model":"tiny","x":%s,%s}' % (value, CHOICES) for name, value in VALUES.items()},
    "fields at the top": filled(b'"a":0,', b'{"model":"tiny",', CHOICES + b"}"),
    "other fields at the top": distinct(b'"%06d":0,', b'{"model":"tiny",', CHOICES + b"}"),
    "other long fields at the top": distinct(b'"%026d":' + b"7" * 28 + b",", b'{"model":"tiny",', CHOICES + b"}"),
    "other fields of an error": distinct(b'"%06d":0,', b'{"error":{', b'"":0}}'),
    "no object": filled(b'[{"a":[]}],'),
    "choices": filled(b"{},", b'{"model":"tiny","choices":[', b"{}]}"),
    "no JSON": filled(b"x"),
    "nothing but quotes": filled(b'"'),
    "nothing but backslashes": filled(b"\\", b'{"'),
}
PIECE = b"data: {%s}\n\n" % CHOICES.replace(b'"stop"', b"null")
FRAMES = {
    "tiny frames": b"a\n\n" * 60_000,
    "tiny events": b"data: {}\n\n" * 20_000,
    "comments": b":\n\n" * 60_000,
    "comment lines of one frame": filled(b":\n"),
    "empty lines": filled(b"\n"),
    "returns": filled(b"\r"),
    "lines of data": filled(b"data:\n"),
    "colons": filled(b":"),
    "odd ends": filled(b"\n\r"),
    **{name: b'data: {"x":%s,%s}\n\n' % (value, CHOICES) for name, value in VALUES.items()},
}


def unit_s() -> float:
    def loop() -> float:
        began_s = time.thread_time()
        total = 0
        for number in range(15_000):
            total += number
        return time.thread_time() - began_s

    return min(loop() for _ in range(5))


async def turns_s(reading: Callable[[], Awaitable[object]]) -> list[float]:
    """Of the loop, in CPU time of its thread, while this is read; what the tests before left is not looked through."""
    turns: list[float] = []
    gc.collect()
    gc.freeze()

    async def read() -> None:
        try:
            await reading()
        except MasaError:
            return

    task = asyncio.create_task(read())
    while not task.done():
        began_s = time.thread_time()
        await asyncio.sleep(0)
        turns.append(time.thread_time() - began_s)
    await task
    return turns


async def check(reading: Callable[[], Awaitable[object]]) -> None:
    """Every try has the same turns. One that is really too long is so in each of them; what the machine did meanwhile
    hits another one each time.
    """
    units = await turns_in_units(reading)
    for _ in range(TRIES):
        if max(units) < MOST_UNITS:
            break
        units = [min(turns) for turns in zip(units, await turns_in_units(reading), strict=True)]
    assert max(units) < MOST_UNITS


async def turns_in_units(reading: Callable[[], Awaitable[object]]) -> list[float]:
    """The unit is measured before and after: the greater one tells how slow the machine was just then."""
    before_s = unit_s()
    turns = await turns_s(reading)
    unit = max(before_s, unit_s())
    return [turn_s / unit for turn_s in turns]


def pieces_of(raw: bytes) -> list[bytes]:
    return [raw[at : at + READ_BYTES] for at in range(0, len(raw), READ_BYTES)]


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@virtual_time
async def test_no_request_holds_the_loop(body: bytes) -> None:
    async def reading() -> None:
        small = await readable(body, REQUEST_DEPTH)
        peek(small, Endpoint.OPENAI_CHAT)
        check_body(small, Endpoint.OPENAI_CHAT, "tiny", wants_stream=False)

    await check(reading)


def messages(part: bytes) -> bytes:
    return filled(part, b'{"model":"tiny","messages":[', b'{"":0}]}')


MESSAGES = {
    "messages": messages(b'{"":0},'),
    "messages that say something": messages(b'{"role":"developer"},'),
    "messages with calls": messages(b'{"tool_calls":[{},{"":0},{"function":{"arguments":""}}]},'),
    "messages with parts": messages(b'{"content":[{"type":"image"},{"type":""}]},'),
    "messages to be mended": messages(rb'{"a":NaN,"b":"\ud83d","c":"\u0065"},'),
    "messages with ends of none": messages(b'{"a":[%s{"":0}]},' % (b'{"":0},' * 9_000)),
    "messages to be mended with ends of none": messages(
        rb'{"c":"\ud83d","a":[%s{"":0}]},' % (rb'{"":"\ud83d"},' * 4_000)
    ),
}


@pytest.mark.parametrize("body", [*BODIES.values(), *MESSAGES.values()], ids=[*BODIES.keys(), *MESSAGES.keys()])
@virtual_time
async def test_no_request_whose_format_is_looked_for_holds_the_loop(body: bytes) -> None:
    async def reading() -> None:
        body_format(await readable(await in_steps(fewer_messages(body)), BODY_DEPTH))

    await check(reading)


@pytest.mark.parametrize("dialect", [DialectName.OPENAI, DialectName.OLLAMA, DialectName.OPENAI_RESPONSES])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@virtual_time
async def test_no_whole_answer_holds_the_loop(body: bytes, dialect: DialectName) -> None:
    await check(lambda: take_answer(Said(*pieces_of(body)), DIALECTS[dialect], is_stream=False))


@pytest.mark.parametrize("frames", FRAMES.values(), ids=FRAMES.keys())
@virtual_time
async def test_no_stream_holds_the_loop(frames: bytes) -> None:
    async def reading() -> None:
        answer = await take_answer(Said(PIECE, *pieces_of(frames)), DIALECTS[DialectName.OPENAI], is_stream=True)
        assert isinstance(answer, StreamedAnswer)
        piece = answer.first
        while piece:
            piece = await answer.next_piece()
            await asyncio.sleep(0)

    await check(reading)


# As large as is looked at without being condensed: readers that each mended what they read took 300 ms.
ODD_VALUES = {
    "numbers that are none": b"[" + b"NaN," * 26_000 + b"1]",
    "empty texts": b"[NaN," + b'"",' * 34_000 + b"1]",
    "short escaped texts": b"[NaN," + rb'"\n",' * 20_500 + b"1]",
    "halves of emojis": b'"' + rb"\ud83d" * 17_000 + b'"',
}


@pytest.mark.parametrize("dialect", [DialectName.OPENAI, DialectName.OLLAMA])
@pytest.mark.parametrize("value", ODD_VALUES.values(), ids=ODD_VALUES.keys())
@virtual_time
async def test_no_json_that_has_to_be_mended_holds_the_loop(value: bytes, dialect: DialectName) -> None:
    body = b'{"model":"tiny","x":%s,%s}' % (value, CHOICES)
    assert len(body) < LARGE_BYTES
    await check(lambda: take_answer(Said(body), DIALECTS[dialect], is_stream=False))


JUST_BELOW = LARGE_BYTES - 1_000


def dense(part: bytes, begin: bytes, end: bytes) -> bytes:
    return begin + part * ((JUST_BELOW - len(begin) - len(end)) // len(part)) + end


DENSE = {
    "choices": dense(b"{},", b'{"model":"tiny","choices":[', b"{}]}"),
    "choices that say nothing": dense(b'{"delta":{}},', b'{"model":"tiny","choices":[', b"{}]}"),
    "choices of odd values": dense(b'{"index":"","delta":1,"message":2},', b'{"model":"tiny","choices":[', b"{}]}"),
    "choices that are no JSON": dense(b'{"delta":{"\xff":1}},', b'{"model":"tiny","choices":[', b"{}]}"),
    "contents": dense(b"{},", b'{"model":"tiny","content":[', b"{}]}"),
    "outputs": dense(b"{},", b'{"model":"tiny","output":[', b"{}]}"),
    "embeddings": dense(b"{},", b'{"model":"tiny","data":[', b"{}]}"),
    "fields": dense(b'"a":0,', b'{"model":"tiny",', CHOICES + b"}"),
    "usage": dense(b'"a":0,', b'{"model":"tiny",%s,"usage":{' % CHOICES, b'"b":0}}'),
}


@pytest.mark.parametrize("dialect", [DialectName.OPENAI, DialectName.OLLAMA, DialectName.ANTHROPIC])
@pytest.mark.parametrize("body", DENSE.values(), ids=DENSE.keys())
@virtual_time
async def test_what_is_just_small_enough_to_be_read_as_it_is_does_not_hold_the_loop(
    body: bytes, dialect: DialectName
) -> None:
    assert JUST_BELOW - 100 < len(body) < LARGE_BYTES
    await check(lambda: take_answer(Said(body), DIALECTS[dialect], is_stream=False))
    await check(lambda: take_answer(Said(b"data: %s\n\n" % body), DIALECTS[dialect], is_stream=True))
    await check(lambda: take_answer(Said(body + b"\n"), DIALECTS[dialect], is_stream=True))


@virtual_time
async def test_the_longest_line_of_a_stream_does_not_hold_the_loop() -> None:
    pieces = pieces_of(b'data: {"x":"%s",%s}\n\n' % (b"x" * (MAX_FRAME_BYTES - 1_000), CHOICES))

    class Arriving(Said):
        async def read_piece(self) -> bytes:
            await asyncio.sleep(0)
            return await super().read_piece()

    async def reading() -> None:
        answer = await take_answer(Arriving(PIECE, *pieces), DIALECTS[DialectName.OPENAI], is_stream=True)
        assert isinstance(answer, StreamedAnswer)
        piece = answer.first
        while piece:
            piece = await answer.next_piece()
            await asyncio.sleep(0)

    await check(reading)


LISTS = {
    **{name: b'{"object":"list","data":[{"id":"a","x":%s}]}' % value for name, value in VALUES.items()},
    **{f"{name} for a list": b'{"x":{},"data":%s}' % value for name, value in VALUES.items()},
    **{f"{name} for an error": b'{"error":%s}' % value for name, value in VALUES.items()},
    "names": filled(b'"a",', b"[", b'"a"]'),
    "numbers": filled(b"1,", b'{"data":[', b"1]}"),
    "entries": filled(b'{"id":"a"},', b'{"data":[', b"{}]}"),
    "fields at the top": filled(b'"a":0,', b"{", b'"data":[]}'),
    "large entries": filled(b'{"id":"a","x":[%s{}]},' % (b"{}," * 5_000), b'{"data":[', b"{}]}"),
    "aliases": filled(b'{"id":"a","aliases":[%s""]},' % (b'"b",' * 3_900), b'{"data":[', b"{}]}"),
    "nothing but commas": filled(b",", b"[", b"]"),
    "nothing but quotes": filled(b'"', b"["),
}


KEYS = MemoryNetwork().keys(1)


class Lists:
    """An HTTP client to a server that answers every GET with this list."""

    def __init__(self, body: bytes, show: bytes = b"{}") -> None:
        self._body = body
        self._show = show

    async def get(self, url: str, headers: Headers) -> HttpAnswer:
        del url, headers
        return cast("HttpAnswer", Said(*pieces_of(self._body)))

    async def post(self, url: str, headers: Headers, body: bytes) -> HttpAnswer:
        del url, headers, body
        return cast("HttpAnswer", Said(*pieces_of(self._show)))


SERVERS: dict[str, Callable[[], Server]] = {
    "openai": lambda: OpenAiServer(("http://llm/v1",), ""),
    "anthropic": lambda: AnthropicServer("http://llm/v1", ""),
    "cloudflare": lambda: CloudflareServer("http://llm/accounts/a/ai/run", "", "http://llm"),
    "ollama": lambda: OllamaServer("http://llm", ""),
}


@pytest.mark.parametrize("body", LISTS.values(), ids=LISTS.keys())
@virtual_time
async def test_no_list_of_models_holds_the_loop(body: bytes) -> None:
    await check(lambda: SERVERS["openai"]().list_models(Lists(body)))


@pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS.keys())
@virtual_time
async def test_no_kind_of_server_holds_the_loop_with_what_it_lists(server: Callable[[], Server]) -> None:
    entry = b'{"id":"a","name":"a","modified_at":"","details":{"x":[%s0]}},' % (b"0," * 7_000)
    short = b'{"id":"a","name":"a","modified_at":"2026-05-05T14:33:21.123456789+02:00"},'
    for body in (*(filled(each, b'{"data":[', b"{}]}") for each in (entry, short)), LISTS["entries"], LISTS["names"]):
        await check(lambda body=body: server().list_models(Lists(body)))  # type: ignore[misc]


@pytest.mark.parametrize("share", ["all", "none", "a*,b*,c*,d*,e*,f*,m*"])
@virtual_time
async def test_as_many_models_as_one_server_may_list_do_not_hold_the_loop(share: str) -> None:
    """Nor does it when all of them have other names the next time, or when another server is there, too.

    All of it is calls of short functions: they are counted, since another process may take a quarter more of time.
    """
    endpoints = frozenset(Endpoint)

    def listed(name: str) -> list[ModelOffer]:
        return [ModelOffer(f"{name}/llama-{number}-instruct:7b", endpoints) for number in range(MAX_MODELS)]

    one, another = ScriptedProvider("one"), ScriptedProvider("another")
    lists = ((one, listed("m")), (another, listed("n")), (one, listed("o")))

    async def reading() -> None:
        catalog, shared = Catalog(), SharedCatalog(read_policy(share))
        catalog.watch(lambda: asyncio.get_running_loop().call_soon(shared.follow, catalog))
        advertiser = Advertiser(KEYS, shared.offers, lambda: AboutNode("1", "", PeerAddress(KEYS.node_id, ()), 0, 4))
        shared.catalog.watch(advertiser.offers_changed)
        for provider, offers in lists:
            await asyncio.sleep(0)
            catalog.put(provider, offers)
            for _ in range(2):  # shared in the next turn, told in one after that
                await asyncio.sleep(0)
            advertiser.due(0.0, 0.0)

    turns = await calls_by_turn(reading)
    assert max(turns) < MOST_CALLS_A_MODEL * MAX_MODELS


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
@virtual_time
async def test_no_model_that_is_shown_holds_the_loop(value: bytes) -> None:
    show = b'{"model_info":{"a.context_length":8,"x":%s},"tensors":%s,"capabilities":["tools"]}' % (value, value)
    await check(lambda: OllamaServer("http://llm", "").list_models(Lists(b'{"models":["a"]}', show)))


@virtual_time
async def test_between_two_steps_others_have_their_turn() -> None:
    turns: list[str] = []

    async def other() -> None:
        for _ in range(3):
            turns.append("other")
            await asyncio.sleep(0)

    def steps() -> Steps[int]:
        for _ in range(3):
            turns.append("step")
            yield
        return 7

    task = asyncio.create_task(other())
    assert await in_steps(steps()) == 7
    await task
    assert turns[:4] == ["step", "other", "step", "other"]


@virtual_time
async def test_what_is_small_is_read_as_it_is_and_too_many_parts_are_nobodys_json() -> None:
    small = b'{"model":"m"}'
    assert await readable(small, 1) is small
    many = await readable(b"{" + b'"a":1,' * 200_000 + b'"a":1}', 1)
    with pytest.raises(MasaError):
        peek(many, Endpoint.OPENAI_CHAT)
