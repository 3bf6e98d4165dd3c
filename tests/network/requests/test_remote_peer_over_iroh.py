"""What was proved in memory, once more over real sockets: the transport's own ways of ending streams are part of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from masa_node.chat.answer import StreamedAnswer
from masa_node.chat.errors import PeerBusy, PeerRefused
from masa_node.chat.request import DialectName
from masa_node.network.requests.remote_peer import RemotePeer
from masa_node.network.transport.interfaces import NodeId
from tests.network.requests.request_world import Node, ask, take
from tests.network.requests.test_remote_peer import CHUNK, DONE, STOP, Says
from tests.network.requests.test_server import Speaks, limits, provider
from tests.network.said import SaidMux
from tests.network.transport.iroh.iroh_nodes import HANGS_AFTER_S, node
from tests.routing.scripted import WHOLE, ScriptedProvider

ROOMY = limits(requests_per_peer=1_000, requests_per_minute=100_000)


@asynccontextmanager
async def asking(serving: Node) -> AsyncIterator[RemotePeer]:
    """A peer over the real transport that serves so."""
    async with asyncio.timeout(HANGS_AFTER_S), node() as us, node() as them, asyncio.TaskGroup() as group:
        link = SaidMux(await us.dial(them.address()))
        theirs = SaidMux(await them.accept())

        async def accept() -> None:
            while True:
                group.create_task(serving.serve(theirs.peer, await theirs.accept()))

        async def reach(_: NodeId) -> SaidMux:
            return link

        tasks = [group.create_task(each) for each in (link.run(), theirs.run(), accept())]
        yield RemotePeer(them.keys.node_id, reach, lambda _: False)
        for task in tasks:
            task.cancel()


async def until(is_so: Callable[[], bool]) -> None:
    """What another thread of the transport has set off becomes true."""
    while not is_so():  # noqa: ASYNC110 - nobody is there to set an event
        await asyncio.sleep(0.01)


async def test_streams_and_whole_answers_come_byte_for_byte() -> None:
    pieces = (CHUNK, *[CHUNK] * 600, STOP + DONE)
    async with asking(Node((Says(DialectName.OPENAI, *pieces),), limits=ROOMY, max_running=100)) as peer:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(take(peer, ask())) for _ in range(20)]
        assert {task.result().body for task in tasks} == {b"".join(pieces)}
    async with asking(Node((provider(WHOLE),))) as peer:
        got = await take(peer, ask(b'{"model":"tiny"}', wants_stream=False))
        assert (got.error, got.body) == (None, WHOLE.body)


async def test_a_long_body_arrives_and_a_refusal_is_heard() -> None:
    llm = provider(WHOLE)
    body = b'{"model":"tiny","x":"' + b"x" * 900_000 + b'"}'
    async with asking(Node((llm,))) as peer:
        assert (await take(peer, ask(body, wants_stream=False))).error is None
        assert llm.asked[0].body == body
        too_long = b'{"model":"tiny","x":"' + b"x" * 5_000_000 + b'"}'
        assert isinstance((await take(peer, ask(too_long, wants_stream=False))).error, PeerRefused)
        assert isinstance((await take(peer, ask(b"{}", wants_stream=False))).error, PeerRefused)


async def test_who_is_too_many_hears_it() -> None:
    async with asking(Node((provider(WHOLE),), limits=limits(requests_per_peer=0))) as peer:
        for _ in range(20):
            assert isinstance((await take(peer, ask())).error, PeerBusy)


@pytest.mark.parametrize("is_streaming", [False, True])
async def test_the_llm_is_stopped_when_the_requester_closes(*, is_streaming: bool) -> None:
    stream = Speaks([CHUNK, *([0.01, CHUNK] * 10_000)])
    llm: ScriptedProvider = provider(stream) if is_streaming else provider()
    serving = Node((llm,))
    async with asking(serving) as peer:
        task = asyncio.create_task(peer.answer(ask()))
        if is_streaming:
            answer = await task
            assert isinstance(answer, StreamedAnswer)
            answer.close()
        else:
            await until(lambda: llm.at_work == 1)
            task.cancel()
        await until(lambda: not (stream.open or llm.at_work or serving.admission.running))
        assert serving.outcome.error == "caller_gone"


async def test_a_stalled_reader_does_not_cost_the_connection() -> None:
    many = Says(DialectName.OPENAI, *[CHUNK] * 20_000, STOP + DONE)
    async with asking(Node((many,), limits=ROOMY, max_running=100)) as peer:
        stalled = [await peer.answer(ask()) for _ in range(5)]
        got = await take(peer, ask())
        assert got.error is None
        assert got.body.count(CHUNK) == 20_000
        for answer in stalled:
            answer.close()
