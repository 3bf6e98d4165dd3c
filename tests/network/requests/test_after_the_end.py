"""After the terminal frame, over a hop: the caller that closes then was served, at both nodes.

Covers: `response_reader`, `response_writer`.
"""

import asyncio

import pytest

from masa_node.chat.answer import StreamedAnswer, Usage
from masa_node.chat.offer import ModelOffer
from masa_node.chat.outcome import CALLER_GONE, Outcome
from masa_node.chat.request import DialectName, Endpoint, Request
from masa_node.network.links.frames import FrameKind, frame, header_frame
from masa_node.network.requests.frames import AnswerEnd, AnswerHead, request_frames
from masa_node.network.requests.response_reader import AFTER_END_S
from masa_node.network.transport.interfaces import NodeId
from masa_node.routing.admission import Admission
from masa_node.routing.catalog import Catalog
from masa_node.routing.dispatch import Dispatcher
from masa_node.routing.provider import Sign, no_sign
from tests.fakes.sinks import Keeps
from tests.network.requests.request_world import MODEL, Node, World, ask, world
from tests.network.said import SaidStream
from tests.routing.scripted import WHOLE, ScriptedProvider
from tests.virtual_time import now_s, virtual_time

FIRST = b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
LAST = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


class Lingers:
    """An LLM that gives all of its answer, and then takes a minute to end it."""

    name = location = "llm"
    is_local = is_trusted = True
    is_hosted = False
    priority = 0

    async def answer(self, asked: Request, sign: Sign = no_sign) -> StreamedAnswer:
        del asked, sign
        left = [LAST]

        async def next_piece() -> bytes:
            if left:
                await asyncio.sleep(1)
                return left.pop()
            await asyncio.sleep(60)
            return b""

        return StreamedAnswer(
            200, (), DialectName.OPENAI, FIRST, next_piece, lambda: None, lambda: 2, Usage(), lambda: not left
        )


async def _nothing() -> None:
    pass


async def served(here: World, leaves_at: bytes | None) -> tuple[Outcome, bytes]:
    """Ask the peer; the caller leaves when it has read this, or stays to the end. What the asking node says of it."""
    outcomes: list[Outcome] = []
    catalog = Catalog()
    catalog.put(here.peer, [ModelOffer(MODEL, frozenset({Endpoint.OPENAI_CHAT}))])
    dispatcher = Dispatcher(catalog, Admission(10, 10), _nothing, outcomes.append)
    came = bytearray()
    has_left = asyncio.Event()

    async def write(piece: bytes) -> None:
        came.extend(piece)
        if leaves_at is not None and came.endswith(leaves_at):
            has_left.set()

    answering = asyncio.create_task(dispatcher.answer(ask(), Keeps(write)))
    answering.add_done_callback(lambda _: has_left.set())
    await has_left.wait()
    await asyncio.sleep(0)
    answering.cancel()
    await asyncio.wait([answering])
    return outcomes[0], bytes(came)


@virtual_time
async def test_a_caller_that_closes_after_the_terminal_frame_was_served_says_either_node() -> None:
    node = Node((Lingers(),))
    async with world(node.serve) as here:
        outcome, _ = await served(here, LAST)
    assert (outcome.status, outcome.error) == (200, None)
    assert (node.outcome.status, node.outcome.error) == (200, None)


@virtual_time
async def test_a_caller_that_closes_before_has_gone_says_either_node() -> None:
    node = Node((Lingers(),))
    async with world(node.serve) as here:
        outcome, _ = await served(here, FIRST)
    assert outcome.error == node.outcome.error == CALLER_GONE


@pytest.mark.parametrize("then", ["nothing", "reset", "garbage", "a wrong END", "a lost link"])
@virtual_time
async def test_no_error_follows_the_terminal_frame_whatever_the_peer_or_the_link_does(then: str) -> None:
    async def serve(peer: NodeId, stream: SaidStream) -> None:
        del peer
        head = header_frame(FrameKind.HEAD, AnswerHead(200, MODEL, "openai", is_stream=True))
        await stream.write(head + frame(FrameKind.PIECE, FIRST + LAST))
        await asyncio.sleep(1)
        if then == "garbage":
            await stream.write(b"\xff\xff\xff\xff")
        elif then == "a wrong END":
            await stream.write(header_frame(FrameKind.END, AnswerEnd(7, 7)))
        elif then == "a lost link":
            here.link.close("gone")
        if then != "reset":
            await asyncio.sleep(AFTER_END_S + 1)
        stream.abort()

    async with world(serve) as here:
        outcome, came = await served(here, None)
        assert now_s() < AFTER_END_S + 1
    assert (outcome.status, outcome.error, came) == (200, None, FIRST + LAST)


@virtual_time
async def test_a_whole_answer_comes_with_its_end_and_nothing_behind_it() -> None:
    """In one write: whoever asked reads all of it at once, and needs no task for the end."""
    node = Node((ScriptedProvider("llm", WHOLE),))
    async with world(node.serve) as here:
        stream = await here.link.open()
        for kind, payload in request_frames(ask(), 30.0, "0123456789abcdef"):
            await stream.send(kind, payload)
        frames = await stream.receive()
        assert [kind for kind, _ in frames] == [FrameKind.HEAD, FrameKind.PIECE, FrameKind.END]
        assert stream.receive_now() is None
        stream.finish()


@virtual_time
async def test_a_caller_gets_all_of_an_answer_whose_sender_does_not_wait_for_its_reader() -> None:
    async def serve(peer: NodeId, stream: SaidStream) -> None:
        del peer
        head = header_frame(FrameKind.HEAD, AnswerHead(200, MODEL, "openai", is_stream=True))
        await stream.write(head + frame(FrameKind.PIECE, FIRST))
        await asyncio.sleep(1)
        end = header_frame(FrameKind.END, AnswerEnd(2, len(FIRST + LAST)))
        await stream.write(frame(FrameKind.PIECE, LAST) + end)
        stream.finish()
        stream.abort()

    async with world(serve) as here:
        answer = await here.peer.answer(ask())
        assert isinstance(answer, StreamedAnswer)
        await asyncio.sleep(10)
        assert (answer.first, await answer.next_piece(), await answer.next_piece()) == (FIRST, LAST, b"")
