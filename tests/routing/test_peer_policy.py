"""A rule from outside says which peers may be asked: who comes first, who only then, and who never."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from masa_node.chat.errors import ConnectionRefused, FirstPieceTimeout, NoStakedPeer, PrivacyRefused, ProviderError
from masa_node.chat.request import Privacy, RaceRule
from masa_node.routing.candidates import ChoiceRules
from masa_node.routing.health import FIRST_PAUSE_S, OPENS_AFTER
from masa_node.routing.peer_policy import Selection
from masa_node.routing.provider import Provider
from masa_node.routing.racing.provider_stats import RaceEvent, RaceStep
from tests.routing.scripted import ALL, HEDGE, WHOLE, ScriptedPeer, ScriptedProvider, TrustedPeer, World
from tests.virtual_time import now_s, virtual_time


class Rule:
    """Groups by names; `refreshed_as`, if given, holds once somebody waited for it."""

    def __init__(self, *groups: str, refreshed_as: "Rule | None" = None) -> None:
        self.groups = [names.split() for names in groups]
        self.refreshed_as = refreshed_as
        self.sifted: list[list[str]] = []
        self.waited = 0

    def select(self, peers: Sequence[Provider]) -> Selection:
        self.sifted.append([peer.name for peer in peers])
        groups = tuple(group for names in self.groups if (group := [peer for peer in peers if peer.name in names]))
        return Selection(groups, None if groups else NoStakedPeer("none of them is staked."))

    async def refresh(self, peers: Sequence[Provider]) -> None:
        self.waited += 1
        if self.refreshed_as is not None:
            self.groups = self.refreshed_as.groups


def sifted(providers: Sequence[ScriptedProvider], rule: Rule) -> World:
    return World(providers, rules=ChoiceRules(policy=rule))


@virtual_time
async def test_who_is_left_out_is_not_asked_even_if_he_alone_would_answer() -> None:
    good, bad = ScriptedPeer("good", 1.0, ConnectionRefused("gone")), ScriptedPeer("bad", WHOLE)
    world = sifted([good, bad], Rule("good"))
    with pytest.raises(ProviderError):
        await world.answer()
    assert (len(good.asked), bad.asked) == (1, [])


@virtual_time
async def test_the_second_group_is_asked_when_all_of_the_first_have_failed() -> None:
    first = [ScriptedPeer(f"good{number}", float(number), ConnectionRefused("gone")) for number in (1, 2)]
    late = ScriptedPeer("bad", 1.0, WHOLE)
    world = sifted([late, *first], Rule("good1 good2", "bad"))
    await world.answer()
    assert world.outcome.served_by == "bad"
    assert now_s() == 3.0


@virtual_time
async def test_the_second_group_is_not_asked_while_one_of_the_first_may_answer() -> None:
    good, bad = ScriptedPeer("good", 9.0, WHOLE), ScriptedPeer("bad", WHOLE)
    world = sifted([bad, good], Rule("good", "bad"))
    await world.answer(world.ask(race=HEDGE))
    assert (world.outcome.served_by, bad.asked) == ("good", [])


@pytest.mark.parametrize("race", [ALL, HEDGE], ids=["all", "hedge"])
@virtual_time
async def test_when_the_first_group_is_silent_for_a_third_of_the_time_the_second_is_asked_beside_it(
    race: RaceRule,
) -> None:
    hung, bad = ScriptedPeer("good", 60.0, WHOLE), ScriptedPeer("bad", WHOLE)
    world = sifted([bad, hung], Rule("good", "bad"))
    await world.answer(world.ask(race=race))
    assert (world.outcome.served_by, now_s()) == ("bad", 10.0)
    assert world.outcome.hedges == 1


@virtual_time
async def test_well_peers_of_a_later_group_go_before_those_that_keep_failing() -> None:
    good, bad = ScriptedPeer("good", 60.0), ScriptedPeer("bad", WHOLE)
    world = sifted([bad, good], Rule("good", "bad"))
    for _ in range(OPENS_AFTER):
        world.dispatcher.stats.health.of(good.name).failed(asyncio.get_running_loop().time())
    await world.answer()
    assert world.outcome.served_by == "bad"
    assert now_s() < FIRST_PAUSE_S


@virtual_time
async def test_the_refusal_of_the_rule_is_what_the_caller_reads_when_nobody_is_left() -> None:
    world = sifted([ScriptedPeer("bad", WHOLE)], Rule("good"))
    with pytest.raises(NoStakedPeer):
        await world.answer()


@virtual_time
async def test_what_is_being_found_out_is_waited_for_before_a_request_is_refused() -> None:
    rule = Rule("good", refreshed_as=Rule("late"))
    world = sifted([ScriptedPeer("late", WHOLE)], rule)
    await world.answer()
    assert (world.outcome.served_by, rule.waited) == ("late", 1)


@virtual_time
async def test_an_own_llm_serves_its_owner_whatever_the_rule_says() -> None:
    rule = Rule("nobody")
    world = sifted([ScriptedProvider("own", WHOLE), ScriptedPeer("bad", WHOLE)], rule)
    await world.answer()
    assert (world.outcome.served_by, rule.waited) == ("own", 0)


@virtual_time
async def test_when_the_own_llm_fails_its_error_is_told_and_nobody_left_out_is_asked() -> None:
    bad = ScriptedPeer("bad", WHOLE)
    world = sifted([ScriptedProvider("own", ConnectionRefused("gone")), bad], Rule("nobody"))
    with pytest.raises(ConnectionRefused):
        await world.answer()
    assert bad.asked == []


@virtual_time
async def test_an_own_server_that_lists_no_models_is_tried_before_a_request_is_refused() -> None:
    unlisted = ScriptedProvider("own", WHOLE)
    world = sifted([ScriptedPeer("bad", WHOLE)], Rule("nobody"))
    world.catalog.put(unlisted, None)
    await world.answer()
    assert world.outcome.served_by == "own"


@virtual_time
async def test_peers_that_privacy_forbids_are_not_even_looked_at() -> None:
    rule = Rule("p")
    world = sifted([ScriptedPeer("p", WHOLE)], rule)
    with pytest.raises(PrivacyRefused):
        await world.answer(world.ask(privacy=Privacy.LOCAL))
    assert rule.sifted == []


WIDTH_1 = RaceRule(width=1)
RULES = pytest.mark.parametrize("race", [ALL, HEDGE, WIDTH_1], ids=["all", "hedge", "width 1"])


@RULES
@virtual_time
async def test_groups_come_in_their_order_after_the_own_llm_by_whatever_rule_they_race(race: RaceRule) -> None:
    failing = [ScriptedPeer(name, 0.5, ConnectionRefused("gone")) for name in ("good1", "good2", "unknown")]
    own, bad, worse = ScriptedProvider("own", ConnectionRefused("gone")), ScriptedPeer("bad", WHOLE), ScriptedPeer("no")
    world = sifted([worse, bad, *failing, own], Rule("good1 good2", "unknown", "bad"))
    await world.answer(world.ask(race=race))
    trail = [attempt.provider for attempt in world.outcome.attempts]
    assert (trail[0], sorted(trail[1:3]), trail[3:]) == ("own", ["good1", "good2"], ["unknown", "bad"])
    assert worse.asked == []


@RULES
@virtual_time
async def test_who_is_left_out_is_not_asked_however_slow_or_ill_the_others_are(race: RaceRule) -> None:
    slow, ill, bad = ScriptedPeer("slow", 20.0, ConnectionRefused("gone")), ScriptedPeer("ill", 5.0), ScriptedPeer("no")
    own = ScriptedProvider("own", 2.0, ConnectionRefused("gone"))
    world = sifted([bad, slow, ill, own], Rule("slow ill"))
    for _ in range(OPENS_AFTER):
        for provider in (ill, own):
            world.dispatcher.stats.health.of(provider.name).failed(asyncio.get_running_loop().time(), 2.0)
    with pytest.raises(ProviderError):
        await world.answer(world.ask(race=race))
    assert (len(slow.asked), len(ill.asked), bad.asked) == (1, 1, [])


@RULES
@virtual_time
async def test_of_the_groups_only_trusted_peers_see_what_only_they_may(race: RaceRule) -> None:
    trusted, good = TrustedPeer("trusted", 1.0, WHOLE), ScriptedPeer("good", WHOLE)
    world = sifted([good, trusted], Rule("good", "trusted"))
    await world.answer(world.ask(race=race, privacy=Privacy.TRUSTED))
    assert (world.outcome.served_by, good.asked) == ("trusted", [])


@virtual_time
async def test_what_holds_when_a_place_is_there_decides_and_not_what_held_when_the_request_came() -> None:
    rule = Rule("was was2")
    peers = [ScriptedPeer("was", WHOLE), ScriptedPeer("is", WHOLE)]
    world = sifted(peers, rule)
    for _ in range(world.max_running):
        await world.admission.acquire()
    asking = asyncio.create_task(world.answer())
    await asyncio.sleep(10)
    rule.groups = [["is"]]
    world.admission.release()
    await asking
    assert (peers[0].asked, world.outcome.served_by) == ([], "is")


# ---- silent groups ----


async def seconds_for_each(world: World, requests: int) -> list[float]:
    took: list[float] = []
    for _ in range(requests):
        began_s = now_s()
        await world.answer()
        took.append(now_s() - began_s)
    return took


@virtual_time
async def test_a_group_that_stays_silent_makes_a_few_requests_wait_and_not_every_one() -> None:
    hung = ScriptedPeer("good")
    world = sifted([ScriptedPeer("bad", 1.0, WHOLE), hung], Rule("good", "bad"))
    assert await seconds_for_each(world, OPENS_AFTER + 1) == [11.0] * OPENS_AFTER + [1.0]
    assert len(hung.asked) == OPENS_AFTER
    assert hung.at_work == 0


@virtual_time
async def test_an_answer_in_one_piece_may_take_its_time_and_goes_nowhere_else() -> None:
    slow, bad = ScriptedPeer("good", 25.0, WHOLE), ScriptedPeer("bad", WHOLE)
    world = sifted([bad, slow], Rule("good", "bad"))
    await world.answer(msgspec.structs.replace(world.ask(), wants_stream=False))
    assert (world.outcome.served_by, now_s(), bad.asked) == ("good", 25.0, [])


@virtual_time
async def test_who_was_silent_for_long_and_wins_anyway_stays_well_and_so_do_those_he_was_faster_than() -> None:
    slow, slower, bad = (
        ScriptedPeer(name, after_s, WHOLE) for name, after_s in (("slow", 12.0), ("slower", 13.0), ("bad", 5.0))
    )
    world = sifted([slow, slower, bad], Rule("slow slower", "bad"))
    await seconds_for_each(world, OPENS_AFTER + 1)
    assert {outcome.served_by for outcome in world.outcomes} == {"slow"}
    assert [world.dispatcher.stats.health.of(peer.name).failures for peer in (slow, slower, bad)] == [0, 0, 0]


@virtual_time
async def test_each_group_has_a_third_of_what_is_left_once_the_own_llm_has_failed() -> None:
    own = ScriptedProvider("own", 12.0, ConnectionRefused("gone"))
    hung = [ScriptedPeer(name) for name in ("good", "unknown")]
    world = sifted([own, *hung, ScriptedPeer("bad", 1.0, WHOLE)], Rule("good", "unknown", "bad"))
    await world.answer()
    assert (world.outcome.served_by, now_s()) == ("bad", 12.0 + 6.0 + 6.0 + 1.0)
    trail = {attempt.provider: (attempt.result, attempt.asked_after_s) for attempt in world.outcome.attempts}
    assert (trail["good"], trail["unknown"], trail["bad"]) == (("cancelled", 12.0), ("cancelled", 18.0), ("won", 24.0))


@pytest.mark.parametrize("width", [2, 3, 64])
@virtual_time
async def test_silent_peers_and_those_asked_beside_them_together_are_no_more_than_the_width(width: int) -> None:
    hung = ScriptedPeer("good")
    late = [ScriptedPeer(f"bad{number}", 1.0, ConnectionRefused("gone")) for number in range(5)]
    world = sifted([*late, hung], Rule("good", " ".join(peer.name for peer in late)))
    most = 0

    def watch(event: RaceEvent) -> None:
        nonlocal most
        most = max(most, sum(peer.at_work for peer in (hung, *late)) + (event.step is RaceStep.ASKED))

    world.dispatcher.stats.watch = watch
    with pytest.raises(FirstPieceTimeout):
        await world.answer(world.ask(race=RaceRule(width=width)))
    assert most == min(width, 6)
    assert [len(peer.asked) for peer in late] == [1] * 5
    assert world.outcome.hedges == min(width - 1, 5)  # the others took the place of one that had failed


@virtual_time
async def test_silence_of_trusted_peers_shows_what_only_they_may_see_to_nobody_else() -> None:
    hung, trusted, bad = TrustedPeer("good"), TrustedPeer("bad1", 1.0, WHOLE), ScriptedPeer("bad2", WHOLE)
    world = sifted([bad, trusted, hung], Rule("good", "bad1 bad2"))
    await world.answer(world.ask(privacy=Privacy.TRUSTED))
    assert (world.outcome.served_by, now_s(), bad.asked) == ("bad1", 11.0, [])


@pytest.mark.parametrize("gone_after_s", [9.999, 10.0, 10.5, 20.0, 29.999, 30.0])
@virtual_time
async def test_a_caller_who_goes_away_as_a_group_begins_beside_a_silent_one_leaves_nothing(gone_after_s: float) -> None:
    peers = [ScriptedPeer(name) for name in ("good", "unknown", "bad")]
    world = sifted(peers, Rule("good", "unknown", "bad"))
    began_s = now_s()
    asking = asyncio.create_task(world.answer())
    await asyncio.sleep(gone_after_s)
    asking.cancel()
    await asyncio.wait([asking])
    assert now_s() - began_s == pytest.approx(gone_after_s)
    assert [peer.at_work for peer in peers] == [0, 0, 0]
    assert len(asyncio.all_tasks()) == 1
    assert all(world.dispatcher.stats.health.of(peer.name).running == 0 for peer in peers)


@virtual_time
async def test_a_group_whose_turn_comes_at_the_very_deadline_leaves_nothing_under_way() -> None:
    peers = [ScriptedPeer(name) for name in ("first", "second", "third", "fourth")]
    world = sifted(peers, Rule(*(peer.name for peer in peers)))
    with pytest.raises(FirstPieceTimeout):
        await world.answer()
    assert [peer.at_work for peer in peers] == [0] * 4
    assert [len(peer.asked) for peer in peers[:3]] == [1, 1, 1]
    assert len(asyncio.all_tasks()) == 1
