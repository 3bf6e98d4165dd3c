"""Races carried out: own servers and peers behind one dispatcher, on virtual time.

Covers: `attempts`, `provider_stats`.
"""

import asyncio
import gc

import pytest

from masa_node.chat.answer import Answer, StreamedAnswer
from masa_node.chat.errors import (
    BrokenAnswer,
    ConnectionRefused,
    ErrorAnswer,
    FirstPieceTimeout,
    MasaError,
    NotAnAnswer,
    PeerBusy,
    PrivacyRefused,
    ProviderError,
    UnknownModel,
)
from masa_node.chat.outcome import CALLER_GONE, MAX_TRAIL, Outcome, abridged
from masa_node.chat.request import Endpoint, Privacy, RaceMode, RaceRule, Request
from masa_node.routing.health import FIRST_PAUSE_S, OPENS_AFTER, HealthBook
from masa_node.routing.provider import Sign, no_sign
from masa_node.routing.racing.hedging import START_S
from masa_node.routing.racing.provider_stats import RaceEvent
from masa_node.routing.racing.race_runner import ranked
from tests.fakes.sinks import Keeps
from tests.routing.scripted import (
    DEADLINE_S,
    HEDGE,
    MODEL,
    SIGN,
    TURN,
    WHOLE,
    ScriptedPeer,
    ScriptedProvider,
    ScriptedStream,
    Step,
    TrustedPeer,
    World,
    http_error,
    offer,
)
from tests.virtual_time import now_s, settle, virtual_time


@pytest.fixture(autouse=True, params=[False, True], ids=["tasks", "at once"])
def begins_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A race goes alike whether each of its peers has a task from the start, or none until it says something."""
    monkeypatch.setattr(ScriptedPeer, "begins_at_once", request.param)
    return bool(request.param)


def refused() -> ConnectionRefused:
    return ConnectionRefused("nothing listens there")


def busy() -> PeerBusy:
    return PeerBusy("it serves as many as it may.")


def peers(*steps: Step | tuple[Step, ...]) -> list[ScriptedPeer]:
    """Peers p0, p1, ... with these steps."""
    return [
        ScriptedPeer(f"p{number}", *(each if isinstance(each, tuple) else (each,))) for number, each in enumerate(steps)
    ]


def trail(outcome: Outcome) -> dict[str, str]:
    return {attempt.provider: attempt.result for attempt in outcome.attempts}


def nobody_works(world: World) -> bool:
    return all(provider.at_work == 0 for provider in world.providers)


# ---- own first, then all ----


@virtual_time
async def test_who_has_an_own_llm_asks_no_peer_and_waits_for_it() -> None:
    own, peer = ScriptedProvider("own", 25.0, WHOLE), ScriptedPeer("peer", WHOLE)
    world = World([peer, own])
    await world.answer()
    assert peer.asked == []
    assert (world.outcome.served_by, world.outcome.race) == ("own", None)


@virtual_time
async def test_the_fastest_of_all_peers_wins_and_the_others_are_stopped_at_once() -> None:
    field = peers((3.0, WHOLE), (1.0, WHOLE), (2.0, WHOLE), 60.0)
    world = World(field)
    await world.answer()
    assert now_s() == 1.0
    assert nobody_works(world)
    assert trail(world.outcome) == {"p0": "cancelled", "p1": "won", "p2": "cancelled", "p3": "cancelled"}
    assert (world.outcome.served_by, world.outcome.race) == ("p1", RaceMode.ALL)
    assert not any(attempt.is_local for attempt in world.outcome.attempts)


@pytest.mark.parametrize("error", [refused(), http_error(404), http_error(500), http_error(429), BrokenAnswer("cut")])
@virtual_time
async def test_when_the_own_llm_fails_the_peers_are_asked(error: ProviderError) -> None:
    world = World([ScriptedProvider("own", 1.0, error), *peers((1.0, WHOLE), (2.0, WHOLE))])
    await world.answer()
    assert now_s() == 2.0
    assert trail(world.outcome)["p0"] == "won"


@pytest.mark.parametrize("status", [400, 413, 422])
@virtual_time
async def test_what_the_own_llm_refuses_is_not_shown_to_peers(status: int) -> None:
    peer = ScriptedPeer("peer", WHOLE)
    world = World([ScriptedProvider("own", http_error(status)), peer])
    with pytest.raises(ErrorAnswer):
        await world.answer()
    assert peer.asked == []


@virtual_time
async def test_an_own_server_that_let_callers_wait_in_vain_is_asked_after_the_peers() -> None:
    hung, peer = ScriptedProvider("own"), ScriptedPeer("peer", 1.0, WHOLE)
    world = World([hung, peer])
    for _ in range(OPENS_AFTER):
        with pytest.raises(FirstPieceTimeout):
            await world.answer()
    started_s = now_s()
    await world.answer()
    assert now_s() - started_s == 1.0
    assert len(hung.asked) == OPENS_AFTER


@virtual_time
async def test_an_own_server_that_fails_at_once_is_tried_first_each_time() -> None:
    down = ScriptedProvider("own", refused())
    world = World([down, ScriptedPeer("peer", WHOLE)])
    for _ in range(OPENS_AFTER + 2):
        await world.answer()
    assert len(down.asked) == OPENS_AFTER + 2


@virtual_time
async def test_a_model_that_is_at_another_endpoint_here_and_at_this_one_at_a_peer_is_asked_there() -> None:
    own, peer = ScriptedProvider("own", WHOLE), ScriptedPeer("peer", WHOLE)
    world = World([peer])
    world.catalog.put(own, [offer(MODEL, Endpoint.OLLAMA_CHAT)])
    await world.answer()
    assert (len(own.asked), len(peer.asked)) == (0, 1)


@virtual_time
async def test_who_has_no_list_is_not_asked_for_what_a_peer_lists() -> None:
    unlisted = ScriptedProvider("own", WHOLE)
    world = World(peers(WHOLE))
    world.catalog.put(unlisted, None)
    await world.answer()
    assert unlisted.asked == []


# ---- what wins ----


@virtual_time
async def test_fast_errors_of_any_kind_do_not_win() -> None:
    world = World(peers(http_error(400), NotAnAnswer("garbage"), busy(), http_error(500), (20.0, WHOLE)))
    await world.answer()
    assert trail(world.outcome)["p4"] == "won"


@virtual_time
async def test_when_all_have_failed_the_most_useful_error_is_told() -> None:
    useful = http_error(400)
    world = World(peers(refused(), busy(), (1.0, useful)))
    with pytest.raises(ErrorAnswer) as failed:
        await world.answer()
    assert failed.value is useful
    assert trail(world.outcome) == {"p0": "connection_refused", "p1": "peer_busy", "p2": "http_400"}


@virtual_time
async def test_when_all_peers_are_busy_that_is_told() -> None:
    with pytest.raises(PeerBusy):
        await World(peers(busy(), busy(), refused())).answer()


@virtual_time
async def test_when_nobody_answers_in_time_those_who_were_asked_are_named() -> None:
    world = World([ScriptedProvider("own", 1.0, refused()), *peers(60.0, NotAnAnswer("garbage"), 60.0)])
    with pytest.raises(FirstPieceTimeout, match=r"within 30 s \(LLM_TIMEOUT\); asked: own, p1, p[02], p[02]\."):
        await world.answer()
    assert now_s() == DEADLINE_S
    assert trail(world.outcome)["p0"] == trail(world.outcome)["p2"] == "first_piece_timeout"
    assert nobody_works(world)


@virtual_time
async def test_a_message_names_a_few_of_many_that_were_asked() -> None:
    world = World(peers(*[60.0] * 20))
    with pytest.raises(FirstPieceTimeout, match=f"and {20 - MAX_TRAIL} more"):
        await world.answer()
    assert len(abridged(world.outcome.attempts)) == MAX_TRAIL


@virtual_time
async def test_the_winner_is_told_however_many_failed_before() -> None:
    world = World(peers(*[refused()] * 20, (1.0, WHOLE)))
    await world.answer()
    shown = abridged(world.outcome.attempts)
    assert (len(shown), shown[-1].result) == (MAX_TRAIL, "won")


@virtual_time
async def test_two_answers_in_one_turn_are_one_winner_and_one_that_is_closed() -> None:
    streams = [ScriptedStream([b"a"]) for _ in range(3)]
    world = World(peers(*((1.0, stream) for stream in streams)))
    async with world.begun() as answer:
        assert isinstance(answer, StreamedAnswer)
        assert sum(stream.open for stream in streams) == 1
    assert not any(stream.open for stream in streams)
    assert sorted(trail(world.outcome).values()) == ["cancelled", "cancelled", "won"]


class Stubborn(ScriptedPeer):
    """Answers although it was cancelled."""

    begins_at_once = False

    def __init__(self, name: str, stream: ScriptedStream) -> None:
        super().__init__(name)
        self.stream = stream

    async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
        try:
            return await super().answer(request, sign)
        except asyncio.CancelledError:
            return self.stream.as_answer()


@virtual_time
async def test_an_answer_that_comes_after_the_cancel_is_closed() -> None:
    late = ScriptedStream([b"late"])
    world = World([Stubborn("late", late), ScriptedPeer("fast", 1.0, WHOLE)])
    await world.answer()
    assert (late.open, late.closed) == (False, 1)
    assert trail(world.outcome) == {"fast": "won", "late": "cancelled"}


@virtual_time
async def test_after_the_first_piece_there_is_no_switch() -> None:
    world = World(peers((1.0, ScriptedStream([1.0, BrokenAnswer("cut")])), (1.5, WHOLE)))
    with pytest.raises(BrokenAnswer) as broken:
        await world.answer()
    assert broken.value.location == "p0 (http://p0)"
    assert len(world.providers[1].asked) == 1


# ---- how many, and who ----


@virtual_time
async def test_no_more_than_the_width_are_asked_at_once_and_a_failed_one_is_replaced() -> None:
    world = World(peers((1.0, refused()), (1.0, refused()), (1.0, refused()), (1.0, refused())))
    most = 0

    def watch(event: RaceEvent) -> None:
        nonlocal most
        most = max(most, sum(provider.at_work for provider in world.providers))

    world.dispatcher.stats.watch = watch
    with pytest.raises(ConnectionRefused):
        await world.answer(world.ask(race=RaceRule(RaceMode.ALL, 2)))
    assert most <= 2
    assert [len(provider.asked) for provider in world.providers] == [1, 1, 1, 1]
    assert now_s() == 2.0


@virtual_time
async def test_a_peer_that_keeps_failing_costs_no_asks_while_others_are_well() -> None:
    bad, good = ScriptedPeer("bad", refused()), ScriptedPeer("good", 0.01, WHOLE)
    world = World([bad, good])
    for _ in range(OPENS_AFTER + 5):
        await world.answer()
    assert len(bad.asked) == OPENS_AFTER
    await asyncio.sleep(FIRST_PAUSE_S)
    await asyncio.gather(*(world.answer() for _ in range(5)))
    assert len(bad.asked) == OPENS_AFTER + 1  # one try decides


@virtual_time
async def test_a_peer_that_is_not_well_is_asked_when_the_well_ones_have_failed() -> None:
    bad = ScriptedPeer("bad", WHOLE)
    world = World([bad, ScriptedPeer("good", refused())])
    for _ in range(OPENS_AFTER):
        world.dispatcher.stats.health.of(bad.name).failed(asyncio.get_running_loop().time())
    await world.answer()
    assert trail(world.outcome) == {"good": "connection_refused", "bad": "won"}


@virtual_time
async def test_a_refusal_is_held_against_a_peer_when_another_answers() -> None:
    liar = ScriptedPeer("liar", http_error(400))
    world = World([liar, ScriptedPeer("good", 0.01, WHOLE)])
    for _ in range(OPENS_AFTER):
        await world.answer()
    assert not world.dispatcher.stats.health.of(liar.name).is_well(asyncio.get_running_loop().time())


@virtual_time
async def test_losing_and_being_cancelled_are_no_failures() -> None:
    slow = ScriptedPeer("slow", 5.0, WHOLE)
    world = World([slow, ScriptedPeer("fast", 1.0, WHOLE)])
    for _ in range(OPENS_AFTER + 1):
        await world.answer()
    assert world.dispatcher.stats.health.of(slow.name).failures == 0


@virtual_time
async def test_only_those_who_had_half_of_the_time_fail_by_their_silence() -> None:
    early, late = ScriptedPeer("early", 16.0, refused()), ScriptedPeer("late")
    world = World([early, late])
    health = world.dispatcher.stats.health.of(late.name)
    health.answered(0.1, asyncio.get_running_loop().time())  # so the unknown one comes first
    with pytest.raises(FirstPieceTimeout):
        await world.answer(world.ask(race=RaceRule(RaceMode.ALL, 1)))
    assert [attempt.provider for attempt in world.outcome.attempts] == ["early", "late"]
    assert health.failures == 0
    world.catalog.remove(early)
    with pytest.raises(FirstPieceTimeout):
        await world.answer()
    assert health.failures == 1


def test_the_best_come_first_and_the_number_is_bounded() -> None:
    book, field = HealthBook(), peers(*[WHOLE] * 5)
    for number, took_s in enumerate((0.5, 0.1, 0.3, 0.2, 0.4)):
        book.of(f"p{number}").answered(took_s, 0.0)
    for _ in range(OPENS_AFTER):
        book.of("p1").failed(0.0)
    well, ill = ranked(field, book, 0.0, 10)
    assert ([peer.name for peer in well], [peer.name for peer in ill]) == (["p3", "p2", "p4", "p0"], ["p1"])
    well, ill = ranked(field, book, 0.0, 4)
    assert (len(well), len(ill)) == (4, 0)


# ---- hedge ----


@virtual_time
async def test_hedge_asks_one_while_it_answers_as_usual() -> None:
    world = World(peers((0.5, WHOLE), (0.5, WHOLE)))
    await world.answer(world.ask(race=HEDGE))
    assert sum(len(provider.asked) for provider in world.providers) == 1
    assert (world.outcome.race, world.outcome.hedges) == (RaceMode.HEDGE, 0)


@virtual_time
async def test_hedge_asks_the_next_when_the_best_is_silent_and_the_next_wins() -> None:
    stalled, good = ScriptedPeer("stalled"), ScriptedPeer("good", 0.1, WHOLE)
    world = World([stalled, good])
    world.dispatcher.stats.health.of(good.name).answered(
        0.1, asyncio.get_running_loop().time()
    )  # so the unknown one comes first
    await world.answer(world.ask(race=HEDGE))
    assert now_s() == pytest.approx(START_S + 0.1)
    assert (world.outcome.hedges, trail(world.outcome)) == (1, {"good": "won", "stalled": "cancelled"})
    await world.answer(world.ask(race=HEDGE))
    assert len(stalled.asked) == 1  # passed over once, it is not the best any more


@virtual_time
async def test_hedge_asks_the_next_at_once_when_one_fails() -> None:
    world = World(peers(refused(), refused(), refused()))
    with pytest.raises(ConnectionRefused):
        await world.answer(world.ask(race=HEDGE))
    assert (now_s(), world.outcome.hedges, len(world.outcome.attempts)) == (0.0, 0, 3)


@virtual_time
async def test_with_one_peer_of_ten_stalled_hedges_cost_no_more_than_a_tenth() -> None:
    world = World([*peers(*[(0.1, WHOLE)] * 9), ScriptedPeer("stalled")])
    took: list[float] = []
    for _ in range(300):
        began_s = now_s()
        await world.answer(world.ask(race=HEDGE))
        took.append(now_s() - began_s)
        await asyncio.sleep(0.1)
    requests = sum(len(provider.asked) for provider in world.providers)
    assert requests <= 330
    assert sorted(took)[296] <= 0.13  # p99
    assert nobody_works(world)
    assert all(world.dispatcher.stats.health.of(provider.name).running == 0 for provider in world.providers)


@virtual_time
async def test_when_everybody_is_slow_the_budget_keeps_the_requests_down() -> None:
    world = World(peers(*[(5.0, WHOLE)] * 10), max_running=1_000)
    await asyncio.gather(*(world.answer(world.ask(race=HEDGE)) for _ in range(200)))
    assert sum(len(provider.asked) for provider in world.providers) <= 220
    assert sum(outcome.hedges for outcome in world.outcomes) == 20


# ---- privacy ----


@virtual_time
async def test_a_local_request_never_leaves_the_node() -> None:
    peer, trusted = ScriptedPeer("peer", WHOLE), TrustedPeer("friend", WHOLE)
    world = World([peer, trusted])
    with pytest.raises(PrivacyRefused, match=r"2 peers serve 'tiny'.*`local` \(X-Masa-Privacy, or PRIVACY"):
        await world.answer(world.ask(privacy=Privacy.LOCAL))
    assert (peer.asked, trusted.asked) == ([], [])
    assert world.outcome.race is None


@virtual_time
async def test_a_local_request_whose_own_llm_fails_ends_with_its_error() -> None:
    peer = ScriptedPeer("peer", WHOLE)
    world = World([ScriptedProvider("own", refused()), peer])
    with pytest.raises(ConnectionRefused):
        await world.answer(world.ask(privacy=Privacy.LOCAL))
    assert peer.asked == []


@virtual_time
async def test_a_trusted_request_goes_to_trusted_peers_only() -> None:
    peer, friend = ScriptedPeer("peer", WHOLE), TrustedPeer("friend", 5.0, WHOLE)
    world = World([peer, friend])
    await world.answer(world.ask(privacy=Privacy.TRUSTED))
    assert (peer.asked, world.outcome.served_by) == ([], "friend")


@virtual_time
async def test_without_a_trusted_peer_a_trusted_request_is_refused() -> None:
    world = World(peers(WHOLE))
    with pytest.raises(PrivacyRefused, match=r"1 peer serves 'tiny'.*none of them is marked as trusted.*peers trust"):
        await world.answer(world.ask(privacy=Privacy.TRUSTED))


@virtual_time
async def test_a_private_request_for_a_model_that_nobody_serves_is_a_404() -> None:
    with pytest.raises(UnknownModel, match="Nearest: tiny"):
        await World(peers(WHOLE)).answer(World().ask("other", privacy=Privacy.LOCAL))


@virtual_time
async def test_a_private_request_may_go_to_an_own_server_without_a_list() -> None:
    unlisted = ScriptedProvider("own", WHOLE)
    world = World(peers(WHOLE))
    world.catalog.put(unlisted, None)
    await world.answer(world.ask(privacy=Privacy.LOCAL))
    assert len(unlisted.asked) == 1


# ---- the live view ----


@virtual_time
async def test_each_step_is_told_as_it_happens() -> None:
    world = World([ScriptedProvider("own", 1.0, refused()), *peers((2.0, WHOLE), (3.0, WHOLE))])
    told_of: list[tuple[str, str, float, str | None]] = []
    world.dispatcher.stats.watch = lambda event: told_of.append(
        (event.step.value, event.provider, event.after_s, event.why)
    )
    await world.answer()
    assert told_of[:2] == [("asked", "own", 0.0, None), ("failed", "own", 1.0, "connection_refused")]
    assert sorted(told_of[2:4]) == [("asked", "p0", 1.0, None), ("asked", "p1", 1.0, None)]
    assert told_of[4:] == [("won", "p0", 3.0, None), ("cancelled", "p1", 3.0, None)]


# ---- nothing is left ----


async def turn(piece: bytes) -> None:
    await asyncio.sleep(0)


def many_ways() -> tuple[World, list[ScriptedStream]]:
    streams = [ScriptedStream([TURN, b"a", TURN]) for _ in range(2)]
    world = World(
        [
            ScriptedProvider("own", TURN, refused()),
            *peers((TURN, refused()), (TURN, TURN, streams[0]), (TURN, TURN, streams[1]), 60.0),
        ]
    )
    return world, streams


def test_a_caller_who_goes_away_at_any_await_of_a_race_leaves_nothing() -> None:
    ends: list[str | None] = []

    async def gone_after(turns: int) -> None:
        world, streams = many_ways()
        task = asyncio.create_task(world.dispatcher.answer(world.ask(), Keeps(turn)))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert len(asyncio.all_tasks()) == 1
        assert nobody_works(world)
        assert not any(stream.open for stream in streams)
        assert world.admission.running == 0
        assert all(world.dispatcher.stats.health.of(provider.name).running == 0 for provider in world.providers)
        ends.extend(outcome.error for outcome in world.outcomes)

    for turns in range(30):
        virtual_time(gone_after)(turns)
    assert CALLER_GONE in ends
    assert ends[-1] is None


@virtual_time
async def test_an_answer_at_the_very_deadline_is_won_or_lost_but_never_left_open() -> None:
    for early_s in (0.0, 1e-9, 1e-6):
        streams = [ScriptedStream([b"a"]) for _ in range(2)]
        world = World(peers(*((DEADLINE_S - early_s, TURN, stream) for stream in streams)))
        with_error: MasaError | None = None
        try:
            await world.answer()
        except FirstPieceTimeout as exc:
            with_error = exc
        assert not any(stream.open for stream in streams), with_error
        assert len(asyncio.all_tasks()) == 1
        assert nobody_works(world)


@virtual_time
async def test_peers_that_say_nothing_need_no_task(begins_at_once: bool) -> None:  # noqa: FBT001 - a fixture
    world = World(peers(*[()] * 64))
    before = len(asyncio.all_tasks())
    asking = asyncio.create_task(world.answer())
    await settle()
    assert sum(peer.at_work for peer in world.providers) == 64
    assert len(asyncio.all_tasks()) - before == 1 + (0 if begins_at_once else 64)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert nobody_works(world)
    assert list(trail(world.outcome).values()) == ["cancelled"] * 64


@virtual_time
async def test_those_that_speak_as_another_wins_are_given_up() -> None:
    world = World(peers(*[(1.0, WHOLE)] * 3))
    await world.answer()
    assert sorted(trail(world.outcome).values()) == ["cancelled", "cancelled", "won"]
    assert nobody_works(world)
    assert all(world.dispatcher.stats.health.of(peer.name).running == 0 for peer in world.providers)


@virtual_time
async def test_a_silent_one_fails_at_the_deadline_while_another_shows_that_it_works() -> None:
    world = World(peers((1.0, SIGN, 45.0, WHOLE), ()))
    await world.answer()
    assert now_s() == 46.0
    assert trail(world.outcome) == {"p0": "won", "p1": FirstPieceTimeout.code}
    assert nobody_works(world)


@virtual_time
async def test_a_bug_in_one_provider_ends_the_others_too() -> None:
    class Broken(ScriptedPeer):
        begins_at_once = False

        async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
            await asyncio.sleep(1.0)
            raise LookupError

    world = World([Broken("broken"), ScriptedPeer("silent")])
    with pytest.raises(ExceptionGroup):
        await world.answer()
    assert nobody_works(world)
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.untraced
@virtual_time
async def test_after_thousands_of_races_no_task_is_left() -> None:
    field = peers(*[(0.01, WHOLE)] * 5, *[(0.02, WHOLE)] * 5, (0.005, refused()))
    silent = ScriptedPeer("silent")
    world = World([ScriptedProvider("own", refused()), *field], max_running=200, max_waiting=10_000)
    for batch in range(10):
        rule = HEDGE if batch % 2 else RaceRule()
        if batch == 6:  # a sixth of the next begin with it: by then a tenth of all that were asked is more hedges
            world.catalog.put(silent, [offer()])
        await asyncio.gather(*(world.answer(world.ask(race=rule)) for _ in range(200)))
        world.outcomes.clear()
    await settle()
    assert len(asyncio.all_tasks()) == 1
    assert nobody_works(world)
    assert (len(silent.asked) > 0, silent.at_work) == (True, 0)
    assert (world.admission.running, world.admission.waiting) == (0, 0)
    assert all(world.dispatcher.stats.health.of(provider.name).running == 0 for provider in world.providers)
    loop = asyncio.get_running_loop()
    gc.collect()
    assert not [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
