"""Covers: `candidates`, `provider`."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from masa_node.chat.errors import (
    BrokenAnswer,
    CallerStalled,
    ConnectionRefused,
    DialectNotServed,
    ErrorAnswer,
    FirstPieceTimeout,
    Overloaded,
    ProviderError,
    Stalled,
    UnknownModel,
)
from masa_node.chat.outcome import CALLER_GONE
from masa_node.chat.request import Endpoint
from masa_node.routing.candidates import MAX_OWN
from masa_node.routing.health import OPENS_AFTER
from masa_node.routing.running.sweep import EVERY_S
from tests.fakes.sinks import Keeps
from tests.routing.scripted import (
    DEADLINE_S,
    IDLE_S,
    MODEL,
    TURN,
    WHOLE,
    ScriptedProvider,
    ScriptedStream,
    World,
    http_error,
    offer,
)
from tests.virtual_time import now_s, settle, virtual_time


def refused() -> ConnectionRefused:
    return ConnectionRefused("nothing listens there")


# ---- who is asked, and who answers ----


@virtual_time
async def test_the_first_who_serves_the_model_answers() -> None:
    first, second = ScriptedProvider("a", WHOLE), ScriptedProvider("b", WHOLE)
    world = World([first, second])
    request = world.ask()
    assert await world.answer(request) is WHOLE
    assert first.asked == [request]
    assert second.asked == []
    assert world.outcome.served_by == "a"


@virtual_time
async def test_a_fast_error_does_not_win() -> None:
    fast, slow = ScriptedProvider("fast", http_error(500)), ScriptedProvider("slow", 20.0, WHOLE)
    world = World([fast, slow])
    assert await world.answer() is WHOLE
    assert [(attempt.provider, attempt.result) for attempt in world.outcome.attempts] == [
        ("fast", "http_500"),
        ("slow", "won"),
    ]


@pytest.mark.parametrize("error", [refused(), BrokenAnswer("cut"), http_error(400), http_error(503)], ids=str)
@virtual_time
async def test_whatever_the_error_the_next_one_is_asked(error: ProviderError) -> None:
    world = World([ScriptedProvider("a", 1.0, error), ScriptedProvider("b", 1.0, WHOLE)])
    assert await world.answer() is WHOLE


@virtual_time
async def test_they_are_asked_in_the_order_in_which_they_were_named() -> None:
    world = World([ScriptedProvider(name, refused()) for name in "cab"])
    with pytest.raises(ConnectionRefused):
        await world.answer()
    assert [attempt.provider for attempt in world.outcome.attempts] == ["c", "a", "b"]


@virtual_time
async def test_no_more_than_a_bounded_number_is_asked() -> None:
    providers = [ScriptedProvider(str(number), refused()) for number in range(MAX_OWN + 3)]
    world = World(providers)
    with pytest.raises(ConnectionRefused):
        await world.answer()
    assert [len(provider.asked) for provider in providers] == [1] * MAX_OWN + [0] * 3


@virtual_time
async def test_attempts_say_when_each_was_asked_and_why_it_did_not_answer() -> None:
    world = World([ScriptedProvider("a", 2.0, refused()), ScriptedProvider("b", 3.0, WHOLE)])
    await world.answer()
    first, second = world.outcome.attempts
    assert (first.result, first.asked_after_s, first.ended_after_s) == ("connection_refused", 0.0, 2.0)
    assert (second.result, second.asked_after_s, second.ended_after_s) == ("won", 2.0, 5.0)
    assert world.outcome.first_piece_s == pytest.approx(5.0)


@virtual_time
async def test_when_all_fail_the_most_useful_error_is_told() -> None:
    told = http_error(400)
    world = World(
        [ScriptedProvider("a", refused()), ScriptedProvider("b", told), ScriptedProvider("c", http_error(502))]
    )
    with pytest.raises(ErrorAnswer) as failed:
        await world.answer()
    assert failed.value is told
    assert failed.value.location == "b (http://b)"


@virtual_time
async def test_who_fails_again_and_again_is_asked_last_and_first_again_after_a_pause() -> None:
    bad, good = ScriptedProvider("bad", refused()), ScriptedProvider("good", WHOLE)
    world = World([bad, good])
    for _ in range(OPENS_AFTER):
        await world.answer()
    assert len(bad.asked) == OPENS_AFTER
    await world.answer()
    assert len(bad.asked) == OPENS_AFTER
    await asyncio.sleep(1.0)
    await world.answer()
    assert len(bad.asked) == OPENS_AFTER + 1


@virtual_time
async def test_who_is_not_well_is_asked_anyway_when_there_is_no_other() -> None:
    only = ScriptedProvider("only", refused())
    world = World([only])
    for _ in range(OPENS_AFTER + 2):
        with pytest.raises(ConnectionRefused):
            await world.answer()
    assert len(only.asked) == OPENS_AFTER + 2


@virtual_time
async def test_an_error_of_the_callers_making_is_not_held_against_the_provider() -> None:
    strict = ScriptedProvider("strict", http_error(400))
    world = World([strict])
    for _ in range(OPENS_AFTER + 1):
        with pytest.raises(ErrorAnswer):
            await world.answer()
    assert world.dispatcher.stats.health.of(strict.name).is_well(asyncio.get_running_loop().time())


# ---- models that are not here ----


@virtual_time
async def test_an_unknown_model_is_looked_for_once_more_before_it_is_refused() -> None:
    looked = 0

    async def look() -> None:
        nonlocal looked
        looked += 1

    world = World([ScriptedProvider("a", WHOLE)], refresh=look)
    with pytest.raises(UnknownModel, match=r"'tinny'.* Nearest: tiny\."):
        await world.answer(world.ask("tinny"))
    assert looked == 1
    assert (world.outcome.model_known, world.outcome.attempts) == (False, ())


@virtual_time
async def test_a_model_that_appeared_since_the_last_listing_is_found() -> None:
    fresh = ScriptedProvider("fresh", WHOLE)

    async def look() -> None:
        await asyncio.sleep(0.1)
        world.catalog.put(fresh, [offer("new")])

    world = World([ScriptedProvider("a", WHOLE)], refresh=look)
    assert await world.answer(world.ask("new")) is WHOLE
    assert world.outcome.model_known


@virtual_time
async def test_a_known_model_is_not_looked_for_again() -> None:
    async def look() -> None:
        raise AssertionError

    await World([ScriptedProvider("a", WHOLE)], refresh=look).answer()


@virtual_time
async def test_without_any_model_the_error_asks_whether_a_server_runs() -> None:
    with pytest.raises(UnknownModel, match="Is an LLM server running"):
        await World().answer()


@virtual_time
async def test_who_has_no_list_is_asked_for_a_model_that_nobody_lists() -> None:
    listed, unlisted = ScriptedProvider("a", WHOLE), ScriptedProvider("b", WHOLE)
    world = World([listed])
    world.catalog.put(unlisted, None)
    await world.answer(world.ask("anything"))
    assert (len(listed.asked), len(unlisted.asked)) == (0, 1)


@virtual_time
async def test_who_has_no_list_is_not_asked_for_a_model_that_another_lists() -> None:
    listed, unlisted = ScriptedProvider("a", refused()), ScriptedProvider("b", WHOLE)
    world = World([listed])
    world.catalog.put(unlisted, None)
    with pytest.raises(ConnectionRefused):
        await world.answer()
    assert unlisted.asked == []


@virtual_time
async def test_a_model_that_is_served_at_other_endpoints_only_names_their_paths() -> None:
    world = World()
    world.catalog.put(ScriptedProvider("a", WHOLE), [offer(MODEL, Endpoint.OLLAMA_CHAT, Endpoint.NATIVE)])
    strict = msgspec.structs.replace(world.ask(), may_translate=False)
    with pytest.raises(DialectNotServed, match=r"POST /api/chat, POST /api/v1/chat"):
        await world.answer(strict)


@virtual_time
@pytest.mark.parametrize(
    ("asked", "served", "words"),
    [
        (Endpoint.OLLAMA_EMBED, Endpoint.OPENAI_EMBEDDINGS, "gives embeddings through: POST /v1/embeddings"),
        (Endpoint.OLLAMA_EMBEDDINGS, Endpoint.OPENAI_EMBEDDINGS, "gives embeddings through: POST /v1/embeddings"),
        (Endpoint.OPENAI_EMBEDDINGS, Endpoint.OLLAMA_EMBED, "gives embeddings through: POST /api/embed"),
        (
            Endpoint.OPENAI_EMBEDDINGS,
            Endpoint.ANTHROPIC_MESSAGES,
            "A chat with it goes through: POST /v1/chat/completions",
        ),
    ],
)
async def test_who_asks_for_embeddings_is_told_of_embeddings(asked: Endpoint, served: Endpoint, words: str) -> None:
    world = World()
    world.catalog.put(ScriptedProvider("a", WHOLE), [offer(MODEL, served, Endpoint.OPENAI_CHAT)])
    with pytest.raises(DialectNotServed, match=words):
        await world.answer(msgspec.structs.replace(world.ask(endpoint=asked), may_translate=False))


@virtual_time
async def test_a_provider_whose_streams_keep_breaking_is_not_well() -> None:
    breaking = ScriptedProvider("a", ScriptedStream([BrokenAnswer("cut")]))
    world = World([breaking])
    for _ in range(OPENS_AFTER):
        with pytest.raises(BrokenAnswer) as caught:
            await world.answer()
        breaking.steps = (ScriptedStream([BrokenAnswer("cut")]),)
    assert caught.value.location == breaking.location
    assert not world.dispatcher.stats.health.of(breaking.name).is_well(now_s())


# ---- time ----


@virtual_time
async def test_without_a_first_piece_in_time_the_caller_is_told_the_timer_and_who_was_asked() -> None:
    silent = ScriptedProvider("silent")
    world = World([ScriptedProvider("gone", 1.0, refused()), silent])
    with pytest.raises(FirstPieceTimeout, match=r"within 30 s \(LLM_TIMEOUT\); asked: gone, silent"):
        await world.answer()
    assert now_s() == pytest.approx(DEADLINE_S)
    assert silent.at_work == 0


@virtual_time
async def test_a_silent_provider_is_held_against_it() -> None:
    silent, good = ScriptedProvider("silent"), ScriptedProvider("good", WHOLE)
    world = World([silent, good])
    for _ in range(OPENS_AFTER):
        with pytest.raises(FirstPieceTimeout):
            await world.answer()
    assert await world.answer() is WHOLE
    assert len(silent.asked) == OPENS_AFTER


@virtual_time
async def test_the_attempt_that_ran_out_of_time_says_so() -> None:
    world = World([ScriptedProvider("silent")])
    with pytest.raises(FirstPieceTimeout):
        await world.answer()
    assert [attempt.result for attempt in world.outcome.attempts] == ["first_piece_timeout"]


@virtual_time
async def test_a_400_outranks_the_timeout_of_another() -> None:
    told = http_error(400)
    world = World([ScriptedProvider("a", told), ScriptedProvider("silent")])
    with pytest.raises(ErrorAnswer) as failed:
        await world.answer()
    assert failed.value is told
    assert now_s() == pytest.approx(DEADLINE_S)


@virtual_time
async def test_a_timeout_outranks_a_refused_connection() -> None:
    world = World([ScriptedProvider("a", refused()), ScriptedProvider("silent")])
    with pytest.raises(FirstPieceTimeout):
        await world.answer()


@virtual_time
async def test_who_waited_for_a_place_all_the_time_is_told_that_nobody_was_asked() -> None:
    world = World([ScriptedProvider("a", WHOLE)], max_running=1)
    await world.admission.acquire()
    with pytest.raises(FirstPieceTimeout, match="asked: nobody: all slots were taken"):
        await world.answer()
    assert (world.admission.running, world.admission.waiting) == (1, 0)
    assert world.outcome.queued_s == pytest.approx(DEADLINE_S)


@virtual_time
async def test_a_listing_that_takes_too_long_is_not_called_a_lack_of_places() -> None:
    async def look() -> None:
        await asyncio.sleep(3600)

    world = World([ScriptedProvider("a", WHOLE)], refresh=look)
    with pytest.raises(FirstPieceTimeout) as failed:
        await world.answer(world.ask("unknown"))
    assert "slots" not in failed.value.message
    assert "asked: nobody: the lists of models did not come in time" in failed.value.message


@virtual_time
async def test_the_time_in_the_queue_counts_and_is_told() -> None:
    world = World([ScriptedProvider("a", WHOLE)], max_running=1)
    await world.admission.acquire()
    asyncio.get_running_loop().call_later(5.0, world.admission.release)
    await world.answer()
    assert world.outcome.queued_s == pytest.approx(5.0)
    assert world.outcome.attempts[0].asked_after_s == pytest.approx(5.0)


@virtual_time
async def test_when_the_queue_is_full_the_caller_is_told_at_once_and_holds_no_place() -> None:
    world = World([ScriptedProvider("a", WHOLE)], max_running=1, max_waiting=0)
    await world.admission.acquire()
    with pytest.raises(Overloaded):
        await world.answer()
    assert world.admission.running == 1


@virtual_time
async def test_those_who_wait_are_let_in_by_their_keys_in_turn() -> None:
    world = World([ScriptedProvider("a", WHOLE)], max_running=1)
    await world.admission.acquire()
    asks = [msgspec.structs.replace(world.ask(), key=key) for key in ("many", "many", "few")]
    tasks = [asyncio.create_task(world.dispatcher.answer(ask, Keeps())) for ask in asks]
    await settle()
    world.admission.release()
    await asyncio.wait(tasks)
    assert [outcome.key for outcome in world.outcomes] == ["many", "few", "many"]


# ---- streams ----


@virtual_time
async def test_every_piece_goes_to_the_caller_in_order() -> None:
    stream = ScriptedStream([b"a", 1.0, b"b", 2.0, b"c"])
    world = World([ScriptedProvider("a", stream)])
    caller = Keeps()
    await world.dispatcher.answer(world.ask(), caller)
    assert caller.came == [b"first", b"a", b"b", b"c", b""]
    assert not stream.open
    outcome = world.outcome
    assert (outcome.status, outcome.error, outcome.pieces, outcome.answer_bytes) == (200, None, 4, 8)
    assert (outcome.input_tokens, outcome.output_tokens) == (5, 6)
    assert outcome.total_s == pytest.approx(3.0)


@virtual_time
async def test_the_next_piece_is_taken_only_when_the_caller_took_the_last_one() -> None:
    stream = ScriptedStream([b"a", b"b"])
    world = World([ScriptedProvider("a", stream)])
    left: list[int] = []

    async def write(piece: bytes) -> None:
        await asyncio.sleep(50.0)
        left.append(len(stream.steps))

    await world.dispatcher.answer(world.ask(), Keeps(write))
    assert left == [2, 1, 0]


@virtual_time
async def test_a_cut_answer_is_told_with_its_place_and_keeps_its_status() -> None:
    stream = ScriptedStream([b"a", BrokenAnswer("cut")])
    world = World([ScriptedProvider("a", stream)])
    with pytest.raises(BrokenAnswer) as told:
        await world.answer()
    assert told.value.location == "a (http://a)"
    assert (world.outcome.status, world.outcome.error, world.outcome.served_by) == (200, "broken_answer", "a")
    assert not stream.open


@virtual_time
async def test_a_stream_that_falls_silent_is_given_up_after_the_idle_time() -> None:
    stream = ScriptedStream([b"a", 3600.0])
    world = World([ScriptedProvider("a", stream)])
    with pytest.raises(Stalled, match=r"120 s \(LLM_IDLE_TIMEOUT\)") as told:
        await world.answer()
    assert told.value.location == "a (http://a)"
    assert world.outcome.error == "stalled"
    assert not stream.open


@virtual_time
async def test_a_caller_who_does_not_read_is_given_up_after_the_idle_time() -> None:
    stream = ScriptedStream([b"a"])
    world = World([ScriptedProvider("a", stream)])

    async def never(piece: bytes) -> None:
        await asyncio.sleep(3600)

    await world.dispatcher.answer(world.ask(), Keeps(never))
    assert world.outcome.error == CallerStalled.code
    assert IDLE_S <= now_s() <= IDLE_S + 2 * EVERY_S
    assert not stream.open


@virtual_time
async def test_a_slow_llm_and_a_slow_caller_are_not_added_up() -> None:
    stream = ScriptedStream([IDLE_S - 1, b"a", IDLE_S - 1, b"b"])
    world = World([ScriptedProvider("a", stream)])

    async def slow(piece: bytes) -> None:
        await asyncio.sleep(IDLE_S - 1)

    await world.dispatcher.answer(world.ask(), Keeps(slow))
    assert world.outcome.error is None


@pytest.mark.untraced
@virtual_time
async def test_a_stream_has_no_limit_but_the_idle_time() -> None:
    stream = ScriptedStream([step for _ in range(100) for step in (100.0, b"a")])
    world = World([ScriptedProvider("a", stream)])
    await world.answer()
    assert world.outcome.total_s == pytest.approx(10_000)


# ---- the end ----


@virtual_time
async def test_the_outcome_says_what_happened_and_nothing_of_what_was_said() -> None:
    world = World([ScriptedProvider("a", 2.0, WHOLE)])
    assert await world.answer() is WHOLE
    outcome = world.outcome
    assert (outcome.request_id, outcome.endpoint, outcome.model, outcome.model_known) == (
        "r-1",
        Endpoint.OPENAI_CHAT,
        MODEL,
        True,
    )
    assert (outcome.status, outcome.error, outcome.served_by, outcome.wants_stream) == (200, None, "a", True)
    assert (outcome.body_bytes, outcome.answer_bytes, outcome.pieces) == (16, 14, 1)
    assert (outcome.input_tokens, outcome.output_tokens) == (3, 4)
    assert outcome.first_piece_s == outcome.total_s == pytest.approx(2.0)


@virtual_time
async def test_an_answer_whose_caller_goes_before_its_first_piece_is_closed_once() -> None:
    stream = ScriptedStream([b"a"])
    world = World([ScriptedProvider("a", stream)], max_running=1)
    async with world.begun():
        assert (world.admission.running, stream.open) == (1, True)
    assert (world.admission.running, stream.closed) == (0, 1)
    assert (world.outcome.status, world.outcome.error) == (200, CALLER_GONE)


# ---- the caller goes away ----

Build = Callable[[], tuple[World, list[ScriptedStream]]]


def failover_and_stream() -> tuple[World, list[ScriptedStream]]:
    """Waits for a place, looks for the model, fails over once, streams: every await there is."""
    stream = ScriptedStream([TURN, b"a", TURN, TURN, b"b", TURN])
    second = ScriptedProvider("second", TURN, TURN, stream)

    async def look() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        world.catalog.put(ScriptedProvider("first", TURN, refused()), [offer()])
        world.catalog.put(second, [offer()])

    world = World(max_running=1, refresh=look)
    return world, [stream]


async def turn_of_the_loop(piece: bytes) -> None:
    await asyncio.sleep(0)


async def gone_after(turns: int) -> bool:
    """One request whose caller goes away after so many turns of the loop; was the caller still there at its end?"""
    world, streams = failover_and_stream()
    await world.admission.acquire()
    task = asyncio.create_task(world.dispatcher.answer(world.ask(), Keeps(turn_of_the_loop)))
    for turn in range(turns):
        await asyncio.sleep(0)
        if turn == 2:
            world.admission.release()
    task.cancel()
    await asyncio.wait([task])
    if turns <= 2:
        world.admission.release()
    assert (world.admission.running, world.admission.waiting) == (0, 0)
    assert [stream.open for stream in streams] == [False] * len(streams)
    assert all(
        provider.at_work == 0 for provider, _ in world.catalog.all_offers() if isinstance(provider, ScriptedProvider)
    )
    if turns == 0:
        assert world.outcomes == []  # it had not begun
    else:
        assert world.outcome.error == (CALLER_GONE if task.cancelled() else None)
    return not task.cancelled()


def test_a_caller_who_goes_away_at_any_await_leaves_nothing_open() -> None:
    was_there = []

    @virtual_time
    async def run(turns: int) -> None:
        was_there.append(await gone_after(turns))

    for turns in range(40):
        run(turns)
    assert was_there == sorted(was_there)
    assert 12 < was_there.index(True) < 40  # else not every await was visited


@pytest.mark.parametrize("after_s", [1.0, 29.999])
@virtual_time
async def test_a_cancel_of_the_caller_is_no_timeout_and_no_fault_of_the_provider(after_s: float) -> None:
    silent = ScriptedProvider("silent")
    world = World([silent])
    for _ in range(OPENS_AFTER):
        task = asyncio.create_task(world.answer())
        await asyncio.sleep(after_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert silent.at_work == 0
    assert [attempt.result for outcome in world.outcomes for attempt in outcome.attempts] == ["cancelled"] * OPENS_AFTER
    assert {outcome.error for outcome in world.outcomes} == {CALLER_GONE}
    assert world.dispatcher.stats.health.of(silent.name).is_well(asyncio.get_running_loop().time())


@virtual_time
async def test_an_answer_at_the_very_deadline_is_won_or_lost_but_never_left_open() -> None:
    for early_s in (0.0, 1e-9, 1e-6):
        stream = ScriptedStream([b"a"])
        world = World([ScriptedProvider("a", DEADLINE_S - early_s, TURN, stream)])
        try:
            await world.answer()
        except FirstPieceTimeout:
            assert stream.closed == 0
        assert not stream.open
        assert world.admission.running == 0
        assert len(world.outcomes) == 1


@virtual_time
async def test_the_next_in_the_queue_is_let_in_when_a_caller_goes_away() -> None:
    world = World([ScriptedProvider("silent")], max_running=1)
    first = asyncio.create_task(world.answer())
    second = asyncio.create_task(world.answer())
    await settle()
    assert (world.admission.running, world.admission.waiting) == (1, 1)
    first.cancel()
    await settle()
    assert (world.admission.running, world.admission.waiting) == (1, 0)
    second.cancel()
    await settle()
    assert world.admission.running == 0
    assert len(world.outcomes) == 2
