"""A peer's request is served by calls; whatever is odd about it, or about the LLM, ends as over the way of tasks.

Covers: `plain_serving`, `peer_sink`.
"""

import asyncio
import contextlib
import gc
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from masa_node.accounts.under_way import UnderWay
from masa_node.chat.answer import Answer
from masa_node.chat.errors import MasaError, StakeDemanded
from masa_node.chat.outcome import Attempt, Outcome
from masa_node.chat.request import Request
from masa_node.dialects.condensing import LARGE_BYTES
from masa_node.network.links.frames import FrameKind, FrameReader, frame, header_frame
from masa_node.network.requests.frames import AnswerEnd, AnswerHead, RequestFailure, RequestHeader
from masa_node.network.requests.plain_serving import LINGER_S, PlainServing
from masa_node.network.requests.server import NO_HOOKS, ServingHooks
from masa_node.network.transport.interfaces import NodeId
from masa_node.routing.provider import Sign, no_sign
from tests.network.requests.request_world import LIMITS, MODEL, Node, World, ask, take, world
from tests.network.said import SaidStream
from tests.routing.talking import DONE, LAST, PIECE, WHOLE, Talk, TalkingServer
from tests.virtual_time import now_s, settle, virtual_time

STREAM = PIECE + PIECE + LAST + DONE
BODY = b'{"model":"tiny","stream":true}'
OVER, BREAKS, HEADS, HEADS_JSON, FAILS = "over", "breaks", "heads", "heads_json", "fails"
LEAVES, FINISHES, GOES_ON, NEWS, LOST = "leaves", "finishes", "goes_on", "news", "lost"
_HEADS = {HEADS: (200, "text/event-stream"), HEADS_JSON: (200, "application/json"), FAILS: (500, "application/json")}
Step = bytes | float | str  # of the LLM: bytes of its answer, seconds to wait, or what happens


class Llm(TalkingServer):
    """It says the same whether it is asked by calls or by a task."""

    def __init__(self, said: Sequence[Step]) -> None:
        super().__init__("llm")
        self.said = said

    def ask_now(self, request: Request) -> Talk | None:
        talk = super().ask_now(request)
        if talk is not None:
            self._begin(talk)
        return talk

    async def answer(self, ask: Request, sign: Sign = no_sign) -> Answer:
        talk = Talk(ask)
        self.talks.append(talk)
        self._begin(talk)
        return await talk.answer(ask, sign)

    def _begin(self, talk: Talk) -> None:
        asyncio.get_running_loop().create_task(self._say(talk)).add_done_callback(lambda _: None)

    async def _say(self, talk: Talk) -> None:
        await settle()  # a task reads in its next turn: what is said in one turn would be one piece to it alone
        for step, following in zip(self.said, [*self.said, None][1:], strict=True):
            match step:
                case float():
                    await asyncio.sleep(step)
                case bytes():
                    talk.says(step, is_over=following == OVER)
                case "heads" | "heads_json" | "fails":
                    if not talk.status:
                        talk.heads(*_HEADS[step])
                case "over":
                    talk.says(is_over=True)
                case _:
                    talk.breaks()
            await settle()


@dataclass
class Came:
    """What the requester got, and what the serving node says of it."""

    head: AnswerHead | None = None
    body: bytes = b""
    last: object = None
    cut: str = ""
    signs: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    logged: list[object] = field(default_factory=list)
    took_s: float = 0.0

    def note(self, kind: FrameKind, payload: bytes) -> None:
        if kind is FrameKind.HEAD:
            self.head = msgspec.msgpack.decode(payload, type=AnswerHead)
        elif kind is FrameKind.PIECE:
            self.body += payload
        elif kind is FrameKind.END:
            end = msgspec.msgpack.decode(payload, type=AnswerEnd)
            self.last = (end.bytes, end.input_tokens, end.output_tokens)
        elif kind is FrameKind.FAIL:
            self.last = msgspec.msgpack.decode(payload, type=RequestFailure)
        elif kind is FrameKind.ALIVE:
            self.signs += 1

    def alike(self) -> object:
        """All of it that is no time, and no words: what they quote was read in one piece, or in several."""
        last = msgspec.structs.replace(self.last, message="") if isinstance(self.last, RequestFailure) else self.last
        timeless = [
            msgspec.structs.replace(
                each,
                attempts=tuple(Attempt(made.provider, made.result, 0.0, 0.0) for made in each.attempts),
                queued_s=0.0, total_s=0.0, first_piece_s=None, deadline_s=0.0, ended_at_unix_ns=0,
            )
            for each in self.outcomes
        ]  # fmt: skip
        return self.head, self.body, last, self.cut, timeless, self.logged


def request_frames(body: bytes = BODY, *, within_ms: int = 30_000) -> bytes:
    header = RequestHeader(
        "r-1", "openai.chat", MODEL, wants_stream=True, body_bytes=len(body), first_piece_within_ms=within_ms
    )
    return header_frame(FrameKind.REQUEST, header) + frame(FrameKind.BODY, body)


async def asked(here: World, then: Sequence[Step], within_ms: int = 30_000) -> Came:
    """What comes for one request; meanwhile its requester does this."""
    came, began_s = Came(), now_s()
    stream = await here.link.open()
    await stream.write(request_frames(within_ms=within_ms))
    doing = asyncio.get_running_loop().create_task(_do(here, stream, then))
    try:
        while data := await stream.read():
            for kind, payload in FrameReader().feed(data):
                came.note(kind, payload)
    except MasaError as exc:
        came.cut = exc.code
    came.took_s = now_s() - began_s
    await doing
    with contextlib.suppress(MasaError):
        await stream.finish()
    return came


async def _do(here: World, stream: SaidStream, then: Sequence[Step]) -> None:
    for step in then:
        with contextlib.suppress(MasaError):  # it is over already
            match step:
                case float():
                    await asyncio.sleep(step)
                case "leaves":
                    stream.abort()
                case "finishes":
                    await stream.finish()
                case "goes_on":
                    await stream.write(frame(FrameKind.BODY, b"more"))
                case "news":
                    await stream.write(frame(FrameKind.IGNORED, b"news"))
                case _:
                    here.link.close("gone")


async def served(said: Sequence[Step], then: Sequence[Step] = (), *, by_calls: bool, within_ms: int = 30_000) -> Came:
    llm, under_way = Llm(said), UnderWay()
    hooks = msgspec.structs.replace(NO_HOOKS, under_way=under_way)
    node = Node((llm,), hooks=hooks, by_calls=by_calls)
    with capture_logs() as lines:
        async with world(node.serve) as here:
            came = await asked(here, then, within_ms)
            await asyncio.sleep(LINGER_S + 1)
            while llm.talks and not node.outcomes:  # noqa: ASYNC110 - in virtual time
                await asyncio.sleep(0.1)
            peer = here.requester_id
            quota = node.server._quotas.of(peer, now_s())
            assert (quota.at_work, quota.held_bytes, node.admission.running) == (0, 0, 0)
            assert (under_way.requests(), len(node.dispatcher.sweep)) == ([], 0)
            assert node.dispatcher.stats.health.of(llm.name).running == 0
    came.outcomes, came.logged = node.outcomes, [(line["event"], line.get("why")) for line in lines]
    return came


async def both(said: Sequence[Step], then: Sequence[Step] = (), within_ms: int = 30_000) -> tuple[Came, Came]:
    calls = await served(said, then, by_calls=True, within_ms=within_ms)
    return calls, await served(said, then, by_calls=False, within_ms=within_ms)


PLAIN: list[list[Step]] = [
    [HEADS_JSON, WHOLE, OVER],
    [HEADS_JSON, WHOLE[:9], 0.05, WHOLE[9:], OVER],
    [HEADS, STREAM, OVER],
    [0.02, HEADS, PIECE[:20], 0.02, PIECE[20:], 3.0, PIECE, LAST, DONE, OVER],
    [0.5, HEADS, PIECE, LAST, OVER],
    [HEADS_JSON, WHOLE[:-1] + b" " * (LARGE_BYTES - len(WHOLE)) + WHOLE[-1:], OVER],
]


@pytest.mark.parametrize("said", PLAIN)
@virtual_time
async def test_what_is_whole_needs_no_task_and_is_the_same(said: list[Step], monkeypatch: pytest.MonkeyPatch) -> None:
    gone_on: list[object] = []
    monkeypatch.setattr(PlainServing, "go_on", lambda self, rest: gone_on.append(rest))
    calls = await served(said, by_calls=True)
    monkeypatch.undo()
    tasks = await served(said, by_calls=False)
    assert gone_on == []
    assert calls.alike() == tasks.alike()
    assert (calls.outcomes[0].error, calls.cut, calls.head is not None) == (None, "", True)


ODD: list[list[Step]] = [
    [HEADS, 3.0, STREAM, OVER],
    [HEADS, b": ping\n\n", 1.0, b": ping\n\n", 50.0, STREAM, OVER],
    [HEADS, PIECE, 3.0, PIECE[:20], 3.0, PIECE[20:40], 3.0, PIECE[40:] + LAST + DONE, OVER],
    [HEADS, PIECE, 0.5, BREAKS],
    [HEADS, PIECE, OVER],
    [HEADS, DONE, OVER],
    [HEADS, BREAKS],
    [BREAKS],
    [0.5, BREAKS],
    [FAILS, b'{"error":{"message":"no"}}', OVER],
    [FAILS, b"oops", OVER],
    [HEADS_JSON, b'{"error":{"message":"no"}}', OVER],
    [HEADS_JSON, b"<html>", OVER],
    [HEADS_JSON, OVER],
    [HEADS, PIECE + b"data: {", OVER],
    [HEADS, PIECE, 500.0],
    [HEADS, 700.0],
    [40.0],
    [HEADS, STREAM, 1.0, BREAKS],
    [HEADS, STREAM, 2.0],
]


@pytest.mark.parametrize("said", ODD)
@virtual_time
async def test_whatever_is_odd_ends_as_over_the_way_of_tasks(said: list[Step]) -> None:
    calls, tasks = await both(said)
    assert calls.alike() == tasks.alike()
    assert bool(calls.signs) is bool(tasks.signs)
    assert abs(calls.took_s - tasks.took_s) <= 0.2


@pytest.mark.parametrize("then", [LEAVES, FINISHES, GOES_ON, LOST])
@pytest.mark.parametrize(
    "said",
    [[], [HEADS], [HEADS, PIECE], [HEADS, PIECE, *([0.01, PIECE] * 400)], [HEADS, 0.3, PIECE, *([0.01, PIECE] * 400)]],
)
@virtual_time
async def test_a_requester_that_says_more_or_nothing_any_more_stops_the_llm_at_once(
    said: list[Step], then: str
) -> None:
    calls, tasks = await both(said, [1.0, then])
    assert [each.error for each in calls.outcomes] == ["caller_gone"]
    assert calls.took_s <= 1.1
    assert (calls.cut, calls.logged) == (tasks.cut, tasks.logged)
    assert calls.logged == ([("peer misbehaves", "it sent a BODY frame behind its request.")] * (then == GOES_ON))


@virtual_time
async def test_news_that_this_node_does_not_know_stops_nothing() -> None:
    calls, tasks = await both([HEADS, 0.2, PIECE, 1.0, LAST + DONE, OVER], [0.1, NEWS, 0.5, NEWS, 0.1, NEWS])
    assert calls.alike() == tasks.alike()
    assert calls.body == PIECE + LAST + DONE


@virtual_time
async def test_a_requester_that_says_something_after_the_end_is_noted() -> None:
    calls, tasks = await both([HEADS_JSON, WHOLE, OVER], [0.5, GOES_ON])
    assert calls.logged == tasks.logged == [("peer misbehaves", "it sent a BODY frame behind its request.")]
    assert calls.outcomes[0].error is None


@virtual_time
async def test_a_requester_that_has_no_time_left_is_told_so() -> None:
    calls, tasks = await both([60.0], within_ms=1_000)
    assert calls.alike() == tasks.alike()
    assert isinstance(calls.last, RequestFailure)
    assert calls.last.code == "first_piece_timeout"
    assert calls.took_s < 1.3


@virtual_time
async def test_a_sign_of_life_is_told_in_time_and_the_rest_is_waited_for() -> None:
    calls, _ = await both([HEADS, 20.0, STREAM, OVER], within_ms=1_000)
    assert calls.signs >= 1
    assert calls.body == STREAM


SAYS: list[Step] = [PIECE, PIECE[:20], PIECE[20:], PIECE + DONE, LAST, DONE, WHOLE, OVER, BREAKS, 0.05, 0.3, 3.0]
SOME = st.lists(st.sampled_from(SAYS), max_size=6)
HEAD = st.sampled_from([[HEADS], [HEADS_JSON], [0.02, HEADS], [FAILS], []])  # nothing comes before it
THEN = st.lists(st.sampled_from([0.02, 0.5, LEAVES, FINISHES, GOES_ON, NEWS, LOST]), max_size=3)


@given(HEAD, SOME)
@example([HEADS_JSON], [PIECE[20:], PIECE, PIECE + DONE])
def test_any_answer_ends_the_same(head: list[Step], said: list[Step]) -> None:
    """What breaks in the turn of its first piece has failed before it for calls, of which nothing is sent yet."""

    @virtual_time
    async def run() -> None:
        calls, tasks = await both([*head, *said] if head else [])
        if calls.body == b"" != tasks.body:
            assert isinstance(calls.last, RequestFailure)
            assert isinstance(tasks.last, RequestFailure)
            assert calls.last.code == tasks.last.code
        else:
            assert calls.alike() == tasks.alike()

    run()


@given(HEAD, SOME, THEN)
def test_whatever_the_requester_does_nothing_is_left(head: list[Step], said: list[Step], then: list[Step]) -> None:
    @virtual_time
    async def run() -> None:
        came = await served([*head, *said] if head else [BREAKS], then, by_calls=True)
        assert len(came.outcomes) <= 1

    run()


# ---- what is not plain is a task's from the start ----


@pytest.mark.parametrize("said", [[OVER], [BREAKS]])
@pytest.mark.parametrize("is_stop", [False, True], ids=["one", "all"])
@virtual_time
async def test_the_owner_ends_it_or_the_node_and_the_requester_is_told(said: list[Step], *, is_stop: bool) -> None:
    for before in ([], [HEADS], [HEADS, PIECE]):
        llm, under_way = Llm([*before, 5.0, *said]), UnderWay()
        node = Node((llm,), hooks=msgspec.structs.replace(NO_HOOKS, under_way=under_way))
        async with world(node.serve) as here:
            asking = asyncio.get_running_loop().create_task(asked(here, ()))
            await asyncio.sleep(0.05)
            (listed,) = under_way.requests()
            assert listed.peer == here.requester_id
            if is_stop:
                under_way.stop()
            else:
                assert under_way.end(listed.request_id) == 1
            came = await asking
            assert isinstance(came.last, RequestFailure)
            assert came.last.message == ("it is stopping." if is_stop else "its owner has ended the request.")
            assert (under_way.requests(), node.admission.running) == ([], 0)
            assert len(node.outcomes) == 1


@virtual_time
async def test_whoever_is_not_vetted_yet_is_vetted_in_a_task() -> None:
    vetted: list[NodeId] = []

    async def vet(peer: NodeId) -> None:
        vetted.append(peer)
        raise StakeDemanded("no.")

    known = True
    llm = Llm([HEADS_JSON, WHOLE, OVER])
    node = Node((llm,), hooks=ServingHooks(vet, is_vetted=lambda peer: known))
    async with world(node.serve) as here:
        assert (await take(here.peer, ask(BODY))).is_whole
        assert vetted == []
        known = False
        got = await take(here.peer, ask(BODY))
        assert isinstance(got.error, StakeDemanded)
        assert (vetted, len(llm.talks)) == ([here.requester_id], 1)


@pytest.mark.parametrize(
    "body",
    [b'{"model":"other","stream":true}', b'{"model":"tiny"}', b"not json", b'{"model":"tiny","Model":"x"}', b"{}"],
)
@virtual_time
async def test_what_is_refused_costs_no_more_of_the_quota_than_one_request(body: bytes) -> None:
    llm = Llm([HEADS_JSON, WHOLE, OVER])
    node = Node((llm,), limits=msgspec.structs.replace(LIMITS, requests_per_minute=5))
    async with world(node.serve) as here:
        for _ in range(4):
            got = await take(here.peer, ask(body))
            assert got.error is not None
            assert got.error.code == "peer_refused"
        assert (await take(here.peer, ask(BODY))).is_whole
        got = await take(here.peer, ask(BODY))
        assert got.error is not None
        assert "times a minute" in got.error.message
    assert len(llm.talks) == 1


@pytest.mark.parametrize("after_s", [0.0, 0.05, 1.0, 20.0])
@virtual_time
async def test_a_request_in_parts_is_waited_for(after_s: float) -> None:
    llm = Llm([HEADS_JSON, WHOLE, OVER])
    node = Node((llm,))
    async with world(node.serve) as here:
        stream = await here.link.open()
        header, body = FrameReader().feed(request_frames())
        await stream.send(*header)
        await settle()
        await asyncio.sleep(after_s)
        assert llm.talks == []
        await stream.send(*body)
        await asyncio.sleep(1)
        assert WHOLE in await stream.read()
        await stream.finish()
    assert [each.error for each in node.outcomes] == [None]


@virtual_time
async def test_a_request_whose_rest_never_comes_is_told_so_and_counts_meanwhile() -> None:
    node = Node((Llm([]),))
    async with world(node.serve) as here:
        stream = await here.link.open()
        header, _ = FrameReader().feed(request_frames())
        await stream.send(*header)
        await asyncio.sleep(1)
        assert node.server._quotas.of(here.requester_id, now_s()).at_work == 1
        told = FrameReader().feed(await stream.read())
        failure = msgspec.msgpack.decode(next(told)[1], type=RequestFailure)
        assert "did not arrive within 30 s" in failure.message
        assert now_s() < 31
    assert len(node.dispatcher.sweep) == 0


@virtual_time
async def test_a_request_that_is_over_before_it_is_said_costs_nothing() -> None:
    llm = Llm([])
    node = Node((llm,))
    async with world(node.serve) as here:
        stream = await here.link.open()
        await stream.begin()
        stream.abort()
        await settle()
    assert (llm.talks, node.outcomes) == ([], [])


@pytest.mark.parametrize("by_calls", [True, False])
@virtual_time
async def test_a_requester_that_finishes_with_its_request_keeps_no_llm_busy(*, by_calls: bool) -> None:
    """All of it comes in one read."""
    llm = Llm([HEADS, 1.0, STREAM, OVER])
    node = Node((llm,), by_calls=by_calls)
    async with world(node.serve) as here:
        stream = await here.link.open()
        await stream.write(request_frames())
        await stream.finish()
        with pytest.raises(MasaError):
            await stream.read()
    assert now_s() < 6
    assert (llm.talks, node.outcomes) == ([], [])


@virtual_time
async def test_requests_that_were_served_leave_nothing_to_the_garbage_collector() -> None:
    def left() -> int:
        return sum(isinstance(each, PlainServing | Request | Talk) for each in gc.get_objects())

    node = Node((Llm([HEADS, PIECE, 0.05, LAST + DONE, OVER]),))
    async with world(node.serve) as here:
        gc.collect()
        before = left()
        gc.disable()
        try:
            for then in ([], [0.01, LEAVES], [0.01, GOES_ON]):
                await asked(here, then)
                await asyncio.sleep(LINGER_S + 1)
                node.providers[0].talks.clear()  # type: ignore[attr-defined]
                assert left() == before
        finally:
            gc.enable()
