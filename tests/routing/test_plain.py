"""The plain way, step by step: what comes from the server goes on by calls, and whatever is not plain by a task."""

import asyncio

import msgspec
import pytest

from masa_node.chat.outcome import CALLER_GONE, Outcome
from masa_node.chat.request import Endpoint
from masa_node.dialects.condensing import LARGE_BYTES
from masa_node.routing.dispatch import Dispatcher
from masa_node.routing.plain import MAX_READS, Plain
from masa_node.routing.running.sweep import EVERY_S
from tests.routing.scripted import BEGIN_S, DEADLINE_S, IDLE_S, World, offer
from tests.routing.talking import DONE, LAST, PIECE, WHOLE, PlainCaller, TalkingServer, begin, world_of
from tests.virtual_time import now_s, virtual_time

CHAT = Endpoint.OPENAI_CHAT


def begun() -> tuple[World, TalkingServer, PlainCaller, Plain]:
    """A request that was sent."""
    server, caller = TalkingServer(), PlainCaller()
    world, way = world_of(server)
    plain = begin(world, way, caller)
    assert plain is not None
    return world, server, caller, plain


def is_tidy(world: World, server: TalkingServer, way: Dispatcher) -> bool:
    """Is nothing held any more?"""
    health = world.dispatcher.stats.health.of(server.name)
    return not (world.admission.running or health.running or len(way.sweep))


async def over(world: World) -> Outcome:
    """The outcome, once there is one."""
    while not world.outcomes:  # noqa: ASYNC110 - in virtual time
        await asyncio.sleep(0.01)
    return world.outcome


# ---- answers ----


@virtual_time
async def test_a_whole_answer_passes_without_a_task() -> None:
    world, server, caller, _ = begun()
    server.talk.heads(content_type="application/json")
    server.talk.says(WHOLE[:9])
    server.talk.says(WHOLE[9:], is_over=True)
    assert caller.task is None
    assert caller.is_over
    assert caller.text == WHOLE
    assert (world.outcome.error, world.outcome.pieces, world.outcome.input_tokens) == (None, 1, 3)
    assert world.outcome.answer_bytes == len(WHOLE)
    assert server.talk.finished
    assert server.talk.was_answered
    assert is_tidy(world, server, world.dispatcher)


@virtual_time
async def test_a_whole_answer_that_is_offered_is_given_in_the_same_call_as_one_that_is_read() -> None:
    world, server, caller, _ = begun()
    assert server.talk.offers(WHOLE)
    assert caller.task is None
    assert caller.is_over
    assert caller.text == WHOLE
    assert is_tidy(world, server, world.dispatcher)
    other, other_server, _, _ = begun()
    other_server.talk.heads(content_type="application/json")
    other_server.talk.says(WHOLE, is_over=True)
    own = {"request_id": world.outcome.request_id, "ended_at_unix_ns": world.outcome.ended_at_unix_ns}
    assert world.outcome == msgspec.structs.replace(other.outcome, **own)


@virtual_time
@pytest.mark.parametrize("body", [b"hello", b'{"error":{"message":"no"}}', b'[{"choices":[]}]'])
async def test_what_is_offered_and_no_whole_answer_is_told_by_a_task(body: bytes) -> None:
    world, server, caller, _ = begun()
    assert not server.talk.offers(body)
    outcome = await over(world)
    assert outcome.error is not None
    assert caller.task is not None
    await asyncio.wait([caller.task])
    assert is_tidy(world, server, world.dispatcher)


@virtual_time
async def test_a_whole_answer_is_not_taken_while_the_caller_does_not_read() -> None:
    world, server, caller, _ = begun()
    caller.is_ready = False
    assert not server.talk.offers(WHOLE)
    await over(world)
    assert caller.text == WHOLE


@virtual_time
async def test_a_whole_answer_that_cannot_be_given_leaves_the_response_to_the_task_that_tells_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("oh")

    monkeypatch.setattr(PlainCaller, "give", fails)
    world, server, caller, _ = begun()
    assert not server.talk.offers(WHOLE)
    assert caller.task is not None
    with pytest.raises(RuntimeError):
        await caller.task
    assert server.talk.closed
    assert is_tidy(world, server, world.dispatcher)


@virtual_time
async def test_a_stream_passes_piece_by_piece_without_a_task() -> None:
    world, server, caller, _ = begun()
    server.talk.heads()
    server.talk.says(b": ping\n\n")
    assert caller.text == b""
    server.talk.says(PIECE[:20])
    server.talk.says(PIECE[20:])
    assert caller.text == b": ping\n\n" + PIECE
    server.talk.says(PIECE + LAST)
    server.talk.says(DONE, is_over=True)
    assert caller.task is None
    assert caller.is_over
    assert caller.text == b": ping\n\n" + 2 * PIECE + LAST + DONE
    assert (world.outcome.error, world.outcome.pieces) == (None, 4)
    assert is_tidy(world, server, world.dispatcher)


@virtual_time
async def test_a_stream_without_a_terminal_frame_ends_with_its_connection() -> None:
    world, server, caller, _ = begun()
    server.talk.heads()
    server.talk.says(PIECE + LAST)
    server.talk.says(is_over=True)
    assert caller.task is None
    assert caller.text == PIECE + LAST
    assert world.outcome.error is None


@pytest.mark.parametrize("behind", [b"", DONE])
@virtual_time
async def test_an_error_of_the_llms_own_behind_its_first_piece_is_passed_on_and_told_of(behind: bytes) -> None:
    world, server, caller, _ = begun()
    error = b'data: {"error":{"message":"no"}}\n\n'
    server.talk.heads()
    server.talk.says(PIECE)
    server.talk.says(error)
    server.talk.says(behind, is_over=True)
    outcome = await over(world)
    assert caller.text == PIECE + error + behind
    assert caller.sink.error is None
    assert (outcome.status, outcome.error) == (200, "error_in_stream")
    assert [attempt.result for attempt in outcome.attempts] == ["won"]


@pytest.mark.parametrize(
    ("status", "said", "error"),
    [
        (500, [b"oops"], "error_answer"),
        (200, [b""], "broken_answer"),
        (200, [b"<html>"], "not_an_answer"),
        (200, [b'{"error":{"message":"no"}}'], "not_an_answer"),
        (200, [b"data: hello\n\n"], "not_an_answer"),
        (200, [DONE], "broken_answer"),
        (200, [PIECE], "broken_answer"),
        (200, [PIECE, b"data: {"], "broken_answer"),
        (200, [PIECE + DONE], "broken_answer"),
    ],
)
@virtual_time
async def test_what_is_no_whole_answer_is_told_by_a_task(status: int, said: list[bytes], error: str) -> None:
    world, server, caller, _ = begun()
    server.talk.heads(status)
    for piece in said[:-1]:
        server.talk.says(piece)
    server.talk.says(said[-1], is_over=True)
    outcome = await over(world)
    assert caller.task is not None
    assert caller.sink.error is not None
    assert outcome.error == error
    assert [attempt.provider for attempt in outcome.attempts] == ["own"]
    assert len(server.talks) == 1
    assert server.asked == []


@pytest.mark.parametrize("after", [0, 1, 2, 3])
@virtual_time
async def test_a_server_that_breaks_off_is_told_of_as_ever(after: int) -> None:
    """Before its head, after it, within the first piece, and after that."""
    world, server, caller, _ = begun()
    steps = [server.talk.heads, lambda: server.talk.says(PIECE[:9]), lambda: server.talk.says(PIECE[9:])]
    for step in steps[:after]:
        step()
    server.talk.breaks()
    outcome = await over(world)
    assert outcome.error == ("connection_closed" if after == 0 else "broken_answer")
    assert outcome.status == (200 if after == len(steps) else 502)
    assert caller.sink.error is not None


@virtual_time
async def test_what_is_much_is_read_by_a_task_from_its_begin() -> None:
    world, server, caller, _ = begun()
    body = WHOLE[:-1] + b',"pad":"' + b"x" * LARGE_BYTES + b'"}'
    server.talk.heads(content_type="application/json")
    server.talk.says(body[:-9])
    assert caller.task is not None
    server.talk.says(body[-9:], is_over=True)
    assert (await over(world)).error is None
    assert caller.text == body


@virtual_time
async def test_many_small_pieces_are_gathered_by_a_task() -> None:
    world, server, caller, _ = begun()
    server.talk.heads(content_type="application/json")
    for at in range(len(WHOLE)):
        server.talk.says(WHOLE[at : at + 1], is_over=at == len(WHOLE) - 1)
    assert len(WHOLE) > MAX_READS
    assert (await over(world)).error is None
    assert caller.text == WHOLE


@virtual_time
async def test_a_server_that_writes_many_pieces_at_once_needs_no_task() -> None:
    world, server, caller, _ = begun()
    server.talk.heads()
    server.talk.says(PIECE * 150)
    server.talk.says(PIECE * 150 + LAST + DONE, is_over=True)
    assert caller.task is None
    assert caller.text == PIECE * 300 + LAST + DONE
    assert (world.outcome.error, world.outcome.pieces) == (None, 302)


@virtual_time
async def test_a_slow_caller_gets_a_task_and_every_piece() -> None:
    world, server, caller, _ = begun()
    caller.sink.slow = asyncio.sleep(5)
    server.talk.heads()
    server.talk.says(PIECE)
    assert caller.task is not None
    server.talk.says(LAST + DONE, is_over=True)
    assert (await over(world)).error is None
    assert caller.text == PIECE + LAST + DONE


@virtual_time
async def test_a_caller_that_does_not_read_yet_gets_its_answer_by_a_task() -> None:
    world, server, caller, _ = begun()
    caller.is_ready = False
    server.talk.heads(content_type="application/json")
    server.talk.says(WHOLE, is_over=True)
    assert caller.text == b""
    assert (await over(world)).error is None
    assert caller.text == WHOLE


# ---- time ----


@virtual_time
async def test_silence_ends_at_the_deadline_and_not_before() -> None:
    world, _, caller, _ = begun()
    began_s = now_s()
    outcome = await over(world)
    assert outcome.error == "first_piece_timeout"
    assert DEADLINE_S <= now_s() - began_s <= DEADLINE_S + 2 * EVERY_S
    assert [attempt.result for attempt in outcome.attempts] == ["first_piece_timeout"]
    assert caller.sink.error is not None


@virtual_time
async def test_a_head_is_a_sign_of_life() -> None:
    world, server, _, _ = begun()
    began_s = now_s()
    server.talk.heads()
    assert (await over(world)).error == "stalled"
    assert IDLE_S <= now_s() - began_s <= IDLE_S + 2 * EVERY_S


@virtual_time
async def test_signs_alone_keep_no_request_for_ever() -> None:
    world, server, _, _ = begun()
    began_s = now_s()
    server.talk.heads()
    while not world.outcomes:
        server.talk.says(b": ping\n\n")
        await asyncio.sleep(IDLE_S / 2)
    assert world.outcome.error == "first_piece_timeout"
    assert BEGIN_S <= now_s() - began_s <= BEGIN_S + IDLE_S


@virtual_time
async def test_a_stream_that_falls_silent_is_cut() -> None:
    world, server, caller, _ = begun()
    server.talk.heads()
    server.talk.says(PIECE)
    began_s = now_s()
    outcome = await over(world)
    assert (outcome.error, outcome.status) == ("stalled", 200)
    assert IDLE_S <= now_s() - began_s <= IDLE_S + 3 * EVERY_S
    assert caller.sink.error is not None
    assert "nothing came for" in caller.sink.error.message
    assert server.talk.closed


@virtual_time
async def test_a_stream_of_comments_alone_is_cut_later() -> None:
    world, server, caller, _ = begun()
    server.talk.heads()
    server.talk.says(PIECE)
    began_s = now_s()
    while not world.outcomes:
        server.talk.says(b": ping\n\n")
        await asyncio.sleep(IDLE_S / 4)
    assert world.outcome.error == "stalled"
    assert 3 * IDLE_S <= now_s() - began_s <= 4 * IDLE_S
    assert caller.sink.error is not None
    assert "no piece of it came for" in caller.sink.error.message


@virtual_time
async def test_a_server_that_keeps_silent_after_its_end_is_not_waited_for() -> None:
    world, server, caller, _ = begun()
    server.talk.heads()
    server.talk.says(PIECE + LAST + DONE)
    await asyncio.sleep(2 * EVERY_S)
    assert caller.task is not None
    server.talk.says(is_over=True)
    assert (await over(world)).error is None


# ---- the caller's leaving ----


@pytest.mark.parametrize("after", [0, 1, 2, 3])
@virtual_time
async def test_a_caller_that_leaves_stops_the_server(after: int) -> None:
    world, server, caller, plain = begun()
    steps = [server.talk.heads, lambda: server.talk.says(PIECE[:9]), lambda: server.talk.says(PIECE[9:])]
    for step in steps[:after]:
        step()
    plain.cancel()
    assert world.outcome.error == CALLER_GONE
    assert world.outcome.status == (200 if after == len(steps) else 499)
    assert server.talk.closed
    assert caller.task is None
    assert is_tidy(world, server, world.dispatcher)
    server.talk.says(PIECE)
    assert len(world.outcomes) == 1


@virtual_time
async def test_a_caller_that_leaves_with_all_of_its_answer_was_served() -> None:
    world, server, _, plain = begun()
    server.talk.heads()
    server.talk.says(PIECE + LAST + DONE)
    plain.cancel()
    assert world.outcome.error is None


@virtual_time
async def test_cancelling_what_goes_on_in_a_task_stops_the_server() -> None:
    world, server, caller, plain = begun()
    server.talk.heads(content_type="application/json")
    server.talk.says(WHOLE[:-1] + b"x" * LARGE_BYTES)
    assert caller.task is not None
    plain.cancel()  # that is its task's matter now
    assert world.outcomes == []
    await asyncio.sleep(0)
    caller.task.cancel()
    assert (await over(world)).error == CALLER_GONE
    assert server.talk.closed


@virtual_time
async def test_another_server_is_asked_when_the_first_has_failed() -> None:
    """It came up while the first was asked."""
    world, server, caller, _ = begun()
    second = TalkingServer("second")
    world.catalog.put(second, [offer()])
    server.talk.breaks()
    while caller.task is None or not second.asked:  # noqa: ASYNC110 - in virtual time
        await asyncio.sleep(0)
    caller.task.cancel()
    outcome = await over(world)
    assert [attempt.provider for attempt in outcome.attempts] == ["own", "second"]


# ---- requests of peers ----


def begun_of_a_peer(given_up_s: float = DEADLINE_S) -> tuple[World, TalkingServer, PlainCaller, list[float]]:
    """A peer's request that was sent, and when it was to hear that the server works."""
    server, caller, told = TalkingServer(), PlainCaller(), list[float]()
    world, way = world_of(server)
    request = msgspec.structs.replace(world.ask(), requester="ada", given_up_s=given_up_s)
    row = way.row(request.model, request.endpoint)
    assert row is not None
    assert way.begin(row, request, caller, lambda: told.append(now_s())) is not None
    return world, server, caller, told


@virtual_time
async def test_a_peer_hears_soon_that_the_server_works() -> None:
    world, server, caller, told = begun_of_a_peer()
    server.talk.heads()
    await asyncio.sleep(3 * EVERY_S)
    assert told
    assert told[0] <= 2 * EVERY_S
    server.talk.says(PIECE + LAST + DONE, is_over=True)
    assert (await over(world)).error is None
    assert caller.text == PIECE + LAST + DONE


@virtual_time
async def test_a_peer_that_gives_up_ends_the_wait_and_is_told_no_sign() -> None:
    world, server, caller, told = begun_of_a_peer(given_up_s=1.0)
    assert (await over(world)).error == "first_piece_timeout"
    assert now_s() <= 1.0 + 2 * EVERY_S
    assert (told, caller.task is not None) == ([], True)
    assert world.dispatcher.stats.health.of(server.name).failures == 0


@virtual_time
async def test_a_peer_that_has_its_first_piece_in_time_hears_of_no_sign() -> None:
    world, server, caller, told = begun_of_a_peer(given_up_s=1.0)
    server.talk.heads()
    server.talk.says(PIECE)
    await asyncio.sleep(3)
    server.talk.says(LAST + DONE, is_over=True)
    assert (await over(world)).error is None
    assert (caller.text, told, caller.task) == (PIECE + LAST + DONE, [], None)
