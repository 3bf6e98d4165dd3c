"""The only peer that serves a model is asked by calls; whatever it says, that ends as over the way of tasks.

Covers: `remote_peer`, `response_reader`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.errors import MasaError
from masa_node.chat.offer import ModelOffer
from masa_node.chat.outcome import Outcome
from masa_node.chat.request import Endpoint, Request
from masa_node.network.links.frames import FrameKind, FrameReader, frame, header_frame
from masa_node.network.requests.frames import Alive, AnswerEnd, AnswerHead, RequestFailure
from masa_node.network.transport.interfaces import NodeId
from masa_node.routing.admission import Admission
from masa_node.routing.catalog import Catalog
from masa_node.routing.dispatch import Dispatcher
from tests.fakes.sinks import Keeps
from tests.network.requests.request_world import MODEL, World, ask, world
from tests.network.said import SaidStream
from tests.routing.talking import DONE, LAST, PIECE, WHOLE, PlainCaller
from tests.virtual_time import now_s, settle, virtual_time

FINISH, CUT = "finish", "cut"
# frames, seconds to wait, how the peer ends, or frames that come in one read with its end
Said = bytes | float | str | tuple[bytes]

STREAM = PIECE + PIECE + LAST + DONE
SIGN = header_frame(FrameKind.ALIVE, Alive())
BUSY = header_frame(FrameKind.FAIL, RequestFailure("peer_busy", "full"))
OTHER = frame(FrameKind.IGNORED, b"news")


def head(status: int = 200, *, is_stream: bool = True, model: str = MODEL) -> bytes:
    kind = "text/event-stream" if is_stream else "application/json"
    return header_frame(FrameKind.HEAD, AnswerHead(status, model, "openai", is_stream, (("content-type", kind),)))


def piece(data: bytes) -> bytes:
    return frame(FrameKind.PIECE, data)


def end(*pieces: bytes) -> bytes:
    return header_frame(FrameKind.END, AnswerEnd(len(pieces), len(b"".join(pieces)), 7, 9))


def whole(body: bytes = WHOLE) -> bytes:
    return head(is_stream=False) + piece(body) + end(body)


@dataclass
class Came:
    """What the caller got, and how that was told of."""

    text: bytes
    error: str | None
    outcome: Outcome

    def alike(self) -> object:
        """All of it that is no time."""
        made = [(each.provider, each.result, each.is_local) for each in self.outcome.attempts]
        timeless = msgspec.structs.replace(
            self.outcome, attempts=(), queued_s=0.0, total_s=0.0, first_piece_s=None, deadline_s=0.0, ended_at_unix_ns=0
        )
        return self.text, self.error, timeless, made


@dataclass
class Asking:
    """The asking node: the peer is the only provider it has."""

    linked: World
    outcomes: list[Outcome]
    dispatcher: Dispatcher

    @classmethod
    async def one(cls, linked: World) -> "Asking":
        stream = await linked.link.open()
        await stream.begin()
        await settle()
        stream.abort()  # the first channel is there, and free
        await settle()
        catalog, outcomes = Catalog(), list[Outcome]()
        catalog.put(linked.peer, [ModelOffer(MODEL, frozenset(Endpoint))])
        return cls(linked, outcomes, Dispatcher(catalog, Admission(4, 4), _nothing, outcomes.append))

    async def by_calls(self, request: Request) -> tuple[Came, bool]:
        """Whether a task was needed, too."""
        way, caller = self.dispatcher, PlainCaller()
        row = way.row(request.model, request.endpoint)
        assert row is not None
        assert way.begin(row, request, caller) is not None
        while not self.outcomes:  # noqa: ASYNC110 - in virtual time
            await asyncio.sleep(0.01)
        assert len(way.sweep) == 0
        return self._came(caller.text, caller.sink.error), caller.task is not None

    async def by_task(self, request: Request) -> Came:
        sink = Keeps()
        await self.dispatcher.answer(request, sink)
        return self._came(b"".join(sink.came), sink.error)

    def _came(self, text: bytes, error: MasaError | None) -> Came:
        assert self.dispatcher.stats.health.of(self.linked.peer.name).running == 0
        return Came(text, None if error is None else error.code, self.outcomes.pop())


async def _nothing() -> None:
    pass


async def both(said: Sequence[Said], lost_after_s: float | None = None) -> tuple[Came, Came, bool]:
    """The same answer over both ways, each on links of its own, which may be lost meanwhile; was a task needed?"""
    came: list[Came] = []
    needed = False

    async def serve(peer: NodeId, stream: SaidStream) -> None:
        del peer
        await _say(stream, said)

    for is_by_calls in (True, False):
        async with world(serve) as linked:
            asking = await Asking.one(linked)
            request = ask()
            if lost_after_s is not None:
                asyncio.get_running_loop().call_later(lost_after_s, linked.link.close, "gone")
            if is_by_calls:
                one, needed = await asking.by_calls(request)
                came.append(one)
            else:
                came.append(await asking.by_task(request))
    return came[0], came[1], needed


async def _say(stream: SaidStream, said: Sequence[Said]) -> None:
    try:
        await stream.read()  # all of the request: it was sent in one write
        for each in said:
            if isinstance(each, float):
                await asyncio.sleep(each)
            elif each == CUT:
                return
            elif isinstance(each, str):
                stream.finish()
                while await stream.read():
                    pass
            elif isinstance(each, tuple):
                stream.send_now(*FrameReader().feed(each[0]), is_last=True)
            else:
                await stream.write(each)
        await asyncio.sleep(60)
    except MasaError:
        return  # the asking node has given it up
    finally:
        stream.abort()


PLAIN: list[list[Said]] = [
    [whole(), FINISH],
    [head() + piece(STREAM) + end(STREAM), FINISH],
    [head() + piece(PIECE), 0.5, piece(PIECE), 0.5, piece(LAST + DONE) + end(PIECE, PIECE, LAST + DONE), FINISH],
    [head(), 1.0, piece(STREAM[:30]), 1.0, piece(STREAM[30:]) + end(STREAM[:30], STREAM[30:]), FINISH],
    [OTHER + head() + OTHER + piece(STREAM) + OTHER + end(STREAM) + OTHER, FINISH],
]


@pytest.mark.parametrize("said", PLAIN)
@virtual_time
async def test_what_is_whole_needs_no_task_and_is_the_same(said: list[Said]) -> None:
    calls, tasks, needed = await both(said)
    assert not needed
    assert calls.alike() == tasks.alike()
    assert (calls.outcome.error, calls.outcome.output_tokens) == (None, 9)
    assert calls.outcome.race == "all"


ODD: list[list[Said]] = [
    [SIGN, 1.0, whole(), FINISH],
    [SIGN, 1.0, SIGN, 1.0, head() + piece(STREAM) + end(STREAM), FINISH],
    [SIGN, 40.0, whole(), FINISH],
    [head(), 40.0, piece(STREAM) + end(STREAM), FINISH],
    [BUSY, FINISH],
    [head() + piece(PIECE), 0.5, header_frame(FrameKind.FAIL, RequestFailure("broken_answer", "cut")), FINISH],
    [head(404, is_stream=False) + piece(b'{"error":{"message":"no"}}') + end(b'{"error":{"message":"no"}}'), FINISH],
    [head(model="other"), FINISH],
    [head() + piece(STREAM), 0.5, end(STREAM), 0.5, FINISH],
    [head() + piece(STREAM) + end(PIECE), FINISH],
    [head() + piece(STREAM) + end(STREAM) + piece(PIECE), FINISH],
    [piece(PIECE), FINISH],
    [frame(FrameKind.HEAD, b"?"), FINISH],
    [head() + head(), FINISH],
    [head() + piece(PIECE) + end(PIECE), FINISH],
    [head() + piece(PIECE), FINISH],
    [head() + piece(PIECE), CUT],
    [head(), CUT],
    [FINISH],
    [CUT],
    [whole(b'{"error":{"message":"no"}}'), FINISH],
    [whole(b"<html>"), FINISH],
    [head(is_stream=False) + end(), FINISH],
    [40.0],
    [head() + piece(PIECE), 1.0, SIGN, 100.0, SIGN, 100.0, SIGN, 100.0, CUT],
]


@pytest.mark.parametrize("said", ODD)
@virtual_time
async def test_whatever_is_odd_ends_as_over_the_way_of_tasks(said: list[Said]) -> None:
    calls, tasks, _ = await both(said)
    assert calls.alike() == tasks.alike()


FAILS = header_frame(FrameKind.FAIL, RequestFailure("broken_answer", "cut"))


@pytest.mark.parametrize("last", [b"", FAILS])
@pytest.mark.parametrize("begun", [b'{"choices":[', PIECE[:9], b": a comment\n\n"])
@virtual_time
async def test_a_peer_that_ends_in_the_middle_is_not_waited_for(begun: bytes, last: bytes) -> None:
    began_s = now_s()
    calls, tasks, _ = await both([(head() + piece(begun) + last,)])
    assert calls.alike() == tasks.alike()
    assert calls.error == "broken_answer"
    assert now_s() - began_s < 2 * 10  # each world has 5 s of its own


FRAMES = [head(), piece(PIECE), piece(LAST), piece(DONE), piece(b""), SIGN, OTHER, BUSY, end(PIECE), whole()]


@pytest.mark.parametrize("said", [[], [SIGN], [head()], [head() + piece(PIECE[:9])], [head() + piece(PIECE)]])
@virtual_time
async def test_a_link_that_is_lost_is_told_of_as_over_the_way_of_tasks(said: list[Said]) -> None:
    calls, tasks, _ = await both([*said, 60.0], lost_after_s=2.0)
    assert calls.alike() == tasks.alike()
    assert calls.error is not None


@virtual_time
async def test_a_sign_of_life_before_the_head_is_waited_on_beyond_the_deadline() -> None:
    calls, _, needed = await both([SIGN, 40.0, whole(), FINISH])
    assert needed
    assert (calls.text, calls.outcome.error) == (WHOLE, None)


SOME = st.lists(st.one_of(st.sampled_from(FRAMES), st.just(0.05), st.just(4.0)), max_size=6)


@given(SOME, st.sampled_from([FINISH, CUT]))
def test_any_row_of_frames_ends_the_same(said: list[Said], last: str) -> None:
    @virtual_time
    async def run() -> None:
        calls, tasks, _ = await both([*said, last])
        assert calls.alike() == tasks.alike()

    run()


@virtual_time
async def test_a_caller_that_leaves_stops_the_peer() -> None:
    for said in ([], [head() + piece(PIECE)]):
        left = asyncio.Event()

        async def serve(peer: NodeId, stream: SaidStream, said: list[bytes] = said, left: asyncio.Event = left) -> None:
            del peer
            await _say(stream, said)
            left.set()

        async with world(serve) as linked:
            asking = await Asking.one(linked)
            left.clear()
            way, caller, request = asking.dispatcher, PlainCaller(), ask()
            row = way.row(request.model, request.endpoint)
            assert row is not None
            plain = way.begin(row, request, caller)
            assert plain is not None
            await asyncio.sleep(1)
            plain.cancel()
            await asyncio.wait_for(left.wait(), 1)
            assert [outcome.error for outcome in asking.outcomes] == ["caller_gone"]
