"""Signs of life over a hop: a peer whose LLM works on the prompt is not silent, and a peer's word has its bounds.

Covers: `frames`, `request_reader`, `response_reader`, `sign_teller`.
"""

import asyncio

import msgspec
import pytest

from masa_node.chat.answer import Answer, StreamedAnswer
from masa_node.chat.errors import FirstPieceTimeout, ProtocolFault, ProviderError, Stalled
from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import DialectName, Endpoint, Request
from masa_node.dialects.registry import DIALECTS
from masa_node.network.links.frames import FrameKind, FrameReader, header_frame
from masa_node.network.requests import sign_teller
from masa_node.network.requests.frames import Alive, AnswerHead, request_frames
from masa_node.network.requests.response_reader import MAX_SIGNS
from masa_node.network.transport.interfaces import NodeId
from masa_node.routing.admission import Admission
from masa_node.routing.answers.reader import take_answer
from masa_node.routing.catalog import Catalog
from masa_node.routing.dispatch import Dispatcher
from masa_node.routing.provider import Sign, no_sign
from tests.fakes.sinks import Keeps
from tests.network.requests.request_world import MODEL, Node, World, ask, take, world
from tests.network.said import SaidStream
from tests.routing.answers.test_odd_answers import Said
from tests.routing.scripted import SIGN, WHOLE, ScriptedPeer, ScriptedProvider, ScriptedStream, Step
from tests.virtual_time import now_s, virtual_time

CHUNK = b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n'
ALIVE = header_frame(FrameKind.ALIVE, Alive())


class Speaks(ScriptedStream):
    """A stream whose bytes are an answer in OpenAI's format."""

    def as_answer(self) -> StreamedAnswer:
        self.open = True
        usual = super().as_answer()
        return StreamedAnswer(
            200, usual.headers, usual.dialect, CHUNK, self.next_piece, self.close, usual.frames, usual.usage
        )


def requester(here: World, *others: ScriptedPeer) -> Dispatcher:
    """The node that asks: the peer at the other end, and these."""
    catalog = Catalog()
    for peer in (here.peer, *others):
        catalog.put(peer, [ModelOffer(MODEL, frozenset({Endpoint.OPENAI_CHAT}))])
    return Dispatcher(catalog, Admission(10, 10), _nothing, lambda _: None)


async def _nothing() -> None:
    pass


async def first_piece(dispatcher: Dispatcher, **changes: object) -> str:
    """Ask; the name of the provider that answered."""
    caller = Keeps()
    outcome = await dispatcher.answer(msgspec.structs.replace(ask(), **changes), caller)
    if caller.error is not None:
        raise caller.error
    assert outcome.served_by is not None
    return outcome.served_by


def llm(*steps: Step) -> ScriptedProvider:
    return ScriptedProvider("llm", *steps, Speaks([]))


async def frames_of(stream: SaidStream) -> list[FrameKind]:
    """What the peer says on this stream."""
    reader, kinds = FrameReader(), []
    while FrameKind.END not in kinds and (data := await stream.read()):
        kinds += [kind for kind, _ in reader.feed(data)]
    return kinds


async def until_reset(stream: SaidStream) -> None:
    try:
        while await stream.read():
            pass
    except ProviderError:
        pass
    stream.abort()


@virtual_time
async def test_a_peer_whose_llm_has_begun_may_take_longer_than_the_deadline() -> None:
    node = Node((llm(0.005, SIGN, 100.0),))
    async with world(node.serve) as here:
        assert await first_piece(requester(here)) == here.peer.name
        assert 100 < now_s() < 101


@virtual_time
async def test_a_peer_whose_llm_shows_nothing_is_given_up_at_the_deadline() -> None:
    node = Node((llm(100.0),))
    async with world(node.serve) as here:
        with pytest.raises(FirstPieceTimeout, match="LLM_TIMEOUT"):
            await first_piece(requester(here))
        assert now_s() == pytest.approx(30.0, abs=0.01)


@virtual_time
async def test_the_signs_of_a_peers_llm_pass_on_as_they_come() -> None:
    beats: list[Step] = [step for _ in range(4) for step in (SIGN, 100.0)]
    node = Node((llm(*beats),))
    async with world(node.serve) as here:
        assert await first_piece(requester(here)) == here.peer.name
        assert 400 < now_s() < 401


@virtual_time
async def test_an_asking_node_with_little_patience_hears_each_sign_in_time() -> None:
    beats: list[Step] = [step for _ in range(40) for step in (SIGN, 1.5)]
    node = Node((llm(*beats),))
    async with world(node.serve) as here:
        assert await first_piece(requester(here), idle_timeout_s=2.0) == here.peer.name
        assert 60 < now_s() < 61


@virtual_time
async def test_a_peer_whose_llm_begins_and_falls_silent_is_given_up_after_the_idle_time() -> None:
    node = Node((ScriptedProvider("llm", SIGN),))
    async with world(node.serve) as here:
        with pytest.raises(Stalled):
            await first_piece(requester(here))
        assert 120 <= now_s() < 121


@virtual_time
async def test_the_asking_nodes_own_idle_time_ends_a_peer_that_would_wait_longer() -> None:
    node = Node((ScriptedProvider("llm", SIGN),))
    async with world(node.serve) as here:
        with pytest.raises(Stalled, match=r"40 s \(LLM_IDLE_TIMEOUT\)"):
            await first_piece(requester(here), idle_timeout_s=40.0)
        assert 40 <= now_s() < 41
        await asyncio.sleep(1)
        assert node.providers[0].at_work == 0  # type: ignore[attr-defined]


@virtual_time
async def test_signs_of_a_peer_keep_no_caller_for_ever() -> None:
    async def goes_on(peer: NodeId, stream: SaidStream) -> None:
        del peer
        try:
            while True:
                await stream.write(ALIVE)
                await asyncio.sleep(50)
        except ProviderError:
            stream.abort()

    async with world(goes_on) as here:
        with pytest.raises(FirstPieceTimeout, match="LLM_BEGIN_TIMEOUT"):
            await first_piece(requester(here))
        assert 600 <= now_s() < 601
        await asyncio.sleep(60)


@virtual_time
async def test_a_peer_that_only_says_that_it_works_does_not_win() -> None:
    async def says(peer: NodeId, stream: SaidStream) -> None:
        del peer
        await stream.write(ALIVE)
        await stream.read()
        stream.abort()

    async with world(says) as here:
        assert await first_piece(requester(here, ScriptedPeer("other", 5.0, WHOLE))) == "other"


@virtual_time
async def test_a_flood_of_signs_is_a_breach() -> None:
    async def floods(peer: NodeId, stream: SaidStream) -> None:
        del peer
        for _ in range(MAX_SIGNS + 1):
            await stream.write(ALIVE)
        await until_reset(stream)

    async with world(floods) as here:
        got = await take(here.peer, ask())
    assert isinstance(got.error, ProtocolFault)


class Drips(Said):
    """A response whose pieces take a minute each, but for the first."""

    async def read_piece(self) -> bytes:
        piece = await super().read_piece()
        await asyncio.sleep(0 if piece.startswith(b"data") and len(piece) < 1_000 else 60)
        return piece


class SendsAFrameOfMegabytes:
    """An LLM whose second event takes minutes to come in full."""

    name = location = "llm"
    is_local = is_trusted = True
    is_hosted = False
    priority = 0

    def __init__(self, parts: int) -> None:
        self.frame = b'data: {"choices":[{"delta":{"content":"%s"},"finish_reason":"stop"}]}\n\n' % (b"x" * 1_000_000)
        self._parts = parts

    async def answer(self, asked: Request, sign: Sign = no_sign) -> Answer:
        del asked, sign
        size = len(self.frame) // self._parts + 1
        parts = [self.frame[at : at + size] for at in range(0, len(self.frame), size)]
        first = CHUNK.replace(b'"stop"', b"null")
        return await take_answer(Drips(first, *parts), DIALECTS[DialectName.OPENAI], is_stream=True)


@virtual_time
async def test_a_frame_that_comes_in_for_minutes_is_no_silence_over_a_hop() -> None:
    provider = SendsAFrameOfMegabytes(5)
    node = Node((provider,))
    async with world(node.serve) as here:
        caller = Keeps()
        await requester(here).answer(msgspec.structs.replace(ask(), idle_timeout_s=100.0), caller)
    assert isinstance(caller.answer, StreamedAnswer)
    assert b"".join(caller.came).endswith(provider.frame)
    assert now_s() > 300


@virtual_time
async def test_a_flood_of_signs_after_the_head_is_a_breach() -> None:
    async def goes_on(peer: NodeId, stream: SaidStream) -> None:
        del peer
        await stream.write(header_frame(FrameKind.HEAD, AnswerHead(200, MODEL, "openai", is_stream=True)))
        for _ in range(MAX_SIGNS + 1):
            await stream.write(ALIVE)
        await until_reset(stream)

    async with world(goes_on) as here:
        got = await take(here.peer, ask())
    assert isinstance(got.error, ProtocolFault)


@virtual_time
async def test_an_llm_that_begins_and_answers_soon_costs_no_frame() -> None:
    node = Node((llm(SIGN, sign_teller.FIRST_AFTER_S / 2),))
    async with world(node.serve) as here:
        kinds = await _kinds_of_an_ask(here)
    assert kinds == [FrameKind.HEAD, FrameKind.PIECE, FrameKind.END]


@virtual_time
async def test_however_many_signs_an_llm_shows_one_in_a_while_is_told() -> None:
    beats: list[Step] = [step for _ in range(10_000) for step in (SIGN, 0.001)]
    node = Node((llm(*beats),))
    async with world(node.serve) as here:
        kinds = await _kinds_of_an_ask(here)
    assert kinds == [FrameKind.ALIVE] * kinds.count(FrameKind.ALIVE) + [FrameKind.HEAD, FrameKind.PIECE, FrameKind.END]
    assert 1 < kinds.count(FrameKind.ALIVE) <= 10 / sign_teller.EVERY_S + 1


async def _kinds_of_an_ask(here: World) -> list[FrameKind]:
    stream = await here.link.open()
    for kind, payload in request_frames(ask(), 30.0, "r-1"):
        await stream.send(kind, payload)
    try:
        return await frames_of(stream)
    finally:
        stream.abort()
