"""What the gate makes of a node: three answers, none folded into another, however the chain behaves.

Covers: `evaluator`, `values`.
"""

import asyncio
import time
from collections import Counter

import msgspec
import pytest
from structlog.testing import capture_logs

from masa_node.chat.errors import ChainUnknown
from masa_node.network.store.store import Store
from masa_node.staking import delegation as delegation_module
from masa_node.staking.contract.profile import Profile
from masa_node.staking.delegation import MAX_BYTES, MAX_CLOCK_SKEW_S, Domain
from masa_node.staking.ethereum.crypto import Address, address_of
from masa_node.staking.gate import gate as gate_module
from masa_node.staking.gate import query_queue as lookups_module
from masa_node.staking.gate.cache import ReadFailure
from masa_node.staking.gate.delegation_cache import DELEGATIONS_WITHIN_S, MAX_DELEGATIONS_OF_ONE
from masa_node.staking.gate.gate import KEEP_EVERY_S, LOOKUP_S, MAX_TAKEN_AT_ONCE, START_S, Gate
from masa_node.staking.gate.query_queue import MAX_QUERIES, MAX_WAITING_STRANGERS
from masa_node.staking.gate.reading_codec import from_bytes
from masa_node.staking.gate.values import StakeAnswer, Verdict
from tests.staking.delegations import AT, DAY_S, DOMAIN, Owner, node, of_contract
from tests.staking.gate.gate_world import MASA, PROFILE, World
from tests.virtual_time import now_s, settle, virtual_time

A, B, C = node(1), node(2), node(3)
STAKED, NOT_STAKED, UNKNOWN, ALLOWED = (
    StakeAnswer.STAKED,
    StakeAnswer.NOT_STAKED,
    StakeAnswer.UNKNOWN,
    StakeAnswer.ALLOWED,
)
OWNER = Owner()
SAFE = address_of(b"\x5a" * 20)


def staked_world(profile: Profile = PROFILE, *, minima: int = 1) -> World:
    world = World(profile)
    world.chain.stakes[OWNER.address] = minima * 1000 * MASA
    return world


def age_of(verdict: Verdict, world: World) -> float:
    assert verdict.read_at_unix_s is not None
    return world.clock() - verdict.read_at_unix_s


async def renewed(gate: Gate, node_id: str, shows: bytes) -> StakeAnswer:
    """Ask, let a look-up that this starts end, and ask again a moment later."""
    gate.verdict(node_id, shows)
    await settle()
    return gate.verdict(node_id, shows).answer


# ---- the three answers ----


@virtual_time
async def test_a_node_whose_owner_has_the_minimum_is_staked_with_figures_and_block() -> None:
    world = staked_world()
    async with world.running() as gate:
        verdict = await gate.verdict_when_known(A, OWNER.delegates(A))
    assert verdict.answer is STAKED
    assert verdict.reason == f"its owner's 1000 MASA at block {world.chain.block} cover 1 node"
    assert (verdict.owner, verdict.stake_wei, verdict.minimum_wei) == (OWNER.address, 1000 * MASA, 1000 * MASA)
    assert (verdict.nodes, verdict.block, verdict.read_at_unix_s) == (1, 100, AT)


@virtual_time
async def test_an_owner_without_stake_is_not_staked_and_told_what_to_do() -> None:
    world = World()
    async with world.running() as gate:
        verdict = await gate.verdict_when_known(A, OWNER.delegates(A))
    assert verdict.answer is NOT_STAKED
    assert "has no stake at block 100; 1000 MASA a node are needed: masa-node stake deposit" in verdict.reason


@virtual_time
async def test_a_minimum_of_nothing_does_not_make_no_stake_a_stake() -> None:
    world = World()
    world.chain.minimum = 0
    async with world.running() as gate:
        assert (await gate.verdict_when_known(A, OWNER.delegates(A))).answer is NOT_STAKED


@virtual_time
async def test_a_chain_that_cannot_be_read_is_unknown_never_not_staked() -> None:
    world = World()
    world.chain.breaks()
    async with world.running() as gate:
        verdict = await gate.verdict_when_known(A, OWNER.delegates(A))
    assert verdict.answer is UNKNOWN
    assert verdict.reason == "the chain cannot be read: 127.0.0.1:8545 refuses connections"


@virtual_time
async def test_a_node_that_shows_nothing_is_not_staked_and_costs_no_look_up() -> None:
    world = World()
    async with world.running() as gate:
        verdict = await gate.verdict_when_known(A, None)
    assert (verdict.answer, world.chain.asked) == (NOT_STAKED, [])
    assert verdict.reason.startswith("it shows no delegation")


@virtual_time
async def test_an_allowed_node_is_allowed_never_staked() -> None:
    world = staked_world()
    world.allowed = frozenset({A})
    world.new_gate()
    async with world.running() as gate:
        for shows in (None, OWNER.delegates(A), b"garbage"):
            verdict = await gate.verdict_when_known(A, shows)
            assert (verdict.answer, verdict.reason) == (ALLOWED, "allowed by this node's owner (STAKE_ALLOW)")
        assert (await gate.verdict_when_known(B, OWNER.delegates(B))).answer is STAKED
    assert len(world.chain.asked) == 1


# ---- delegations ----


@pytest.mark.parametrize(
    "shows",
    [
        b"",
        b"garbage",
        bytes(MAX_BYTES + 1),
        OWNER.delegates(B),  # stolen
        OWNER.delegates(A, not_after=AT - MAX_CLOCK_SKEW_S),  # expired
        OWNER.delegates(A, not_before=AT + DAY_S),  # not yet
        OWNER.delegates(A, not_before=AT - DAY_S, not_after=AT + 90 * DAY_S),  # too long
        OWNER.delegates(A, domain=Domain(1, DOMAIN.contract)),  # another chain
        OWNER.delegates(A, domain=Domain(DOMAIN.chain_id, Address("0x" + "11" * 20))),  # another contract
        Owner("thief").signs(OWNER.delegation(A)),  # not his to give
    ],
)
@virtual_time
async def test_a_bad_delegation_is_not_staked_with_its_reason_and_costs_no_look_up(shows: bytes) -> None:
    world = staked_world()
    async with world.running() as gate:
        verdict = await gate.verdict_when_known(A, shows)
        assert (verdict.answer, world.chain.asked) == (NOT_STAKED, [])
        assert len(verdict.reason) > 20
        assert gate.evaluator.seen.count(OWNER.address, 0, AT) == 0  # nor does it count as a node of that owner


@virtual_time
async def test_a_signature_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = counted_checks(monkeypatch)
    world = staked_world()
    thief = Owner("thief")
    shown = [(A, OWNER.delegates(A, **times)) for times in times_of_all_kinds()]
    shown += [(B, thief.signs(OWNER.delegation(B, **times))) for times in times_of_all_kinds()]
    async with world.running() as gate:
        for _ in range(100):
            for node_id, shows in shown:
                await gate.verdict_when_known(node_id, shows)
            await asyncio.sleep(2)
    assert checks["made"] == len(shown)


def counted_checks(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many signatures were checked is under `made`."""
    checks: Counter[str] = Counter()
    real = delegation_module.recover

    def counted(digest: bytes, signature: bytes) -> Address:
        checks["made"] += 1
        return real(digest, signature)

    monkeypatch.setattr(delegation_module, "recover", counted)
    return checks


def times_of_all_kinds() -> list[dict[str, int]]:
    """In force; within what clocks may differ, before and after."""
    return [{}, {"not_before": AT + 250}, {"not_after": AT - 50}]


@virtual_time
async def test_a_delegation_ends_while_its_verdict_is_remembered() -> None:
    world = staked_world()
    shows = OWNER.delegates(A, not_after=AT + 100)
    async with world.running() as gate:
        assert (await gate.verdict_when_known(A, shows)).answer is STAKED
        await asyncio.sleep(100 + MAX_CLOCK_SKEW_S - 0.01)
        assert (await gate.verdict_when_known(A, shows)).answer is STAKED  # the clocks of nodes may differ so much
        await settle()
        assert gate.verdict(A, shows).answer is STAKED  # and it is remembered, for less than
        await asyncio.sleep(0.02)
        verdict = gate.verdict(A, shows)
    assert verdict.answer is NOT_STAKED
    assert "ended" in verdict.reason


@virtual_time
async def test_a_delegation_that_begins_later_is_taken_when_it_begins() -> None:
    world = staked_world()
    shows = OWNER.delegates(A, not_before=AT + 1000)
    async with world.running() as gate:
        assert (await gate.verdict_when_known(A, shows)).answer is NOT_STAKED
        await asyncio.sleep(1000)
        assert (await gate.verdict_when_known(A, shows)).answer is STAKED


@virtual_time
async def test_a_thief_who_begins_later_is_refused_then_too() -> None:
    world = staked_world()
    shows = Owner("thief").signs(OWNER.delegation(A, not_before=AT + 1000))
    async with world.running() as gate:
        assert (await gate.verdict_when_known(A, shows)).answer is NOT_STAKED
        await asyncio.sleep(2000)
        assert (await gate.verdict_when_known(A, shows)).answer is NOT_STAKED


@virtual_time
async def test_revoked_delegations_are_refused_and_a_new_one_is_taken() -> None:
    world = staked_world()
    old, new, newer = (OWNER.delegates(A, epoch=epoch) for epoch in (0, 1, 2))
    async with world.running() as gate:
        assert (await gate.verdict_when_known(A, old)).answer is STAKED
        world.chain.epochs[OWNER.address] = 1
        world.chain.block += 1
        await asyncio.sleep(400)
        await renewed(gate, A, old)
        verdict = gate.verdict(A, old)
        assert verdict.answer is NOT_STAKED
        assert "its delegation was revoked: it is of epoch 0, the owner's is 1 at block " in verdict.reason
        assert (await gate.verdict_when_known(A, new)).answer is STAKED
        assert (await gate.verdict_when_known(A, newer)).answer is STAKED


# ---- one stake, many nodes ----


@virtual_time
async def test_one_stake_and_fifty_nodes_are_fifty_nodes_without_stake() -> None:
    world = staked_world()
    nodes = [node(number) for number in range(1, 51)]
    shows = {each: OWNER.delegates(each) for each in nodes}
    async with world.running() as gate:
        # the others were not seen yet
        assert (await gate.verdict_when_known(nodes[0], shows[nodes[0]])).answer is STAKED
        for each in nodes:
            gate.verdict(each, shows[each])
        verdicts = [gate.verdict(each, shows[each]) for each in nodes]
    assert {verdict.answer for verdict in verdicts} == {NOT_STAKED}
    assert {verdict.nodes for verdict in verdicts} == {50}
    assert " cover 1 node, 50 nodes of this owner are seen" in verdicts[7].reason
    assert len(world.chain.asked) == 1


@virtual_time
async def test_stake_for_fifty_covers_fifty_and_not_one_more() -> None:
    world = staked_world(minima=50)
    nodes = [node(number) for number in range(1, 52)]
    async with world.running() as gate:
        for each in nodes[:50]:
            await gate.verdict_when_known(each, OWNER.delegates(each))
        assert {gate.verdict(each, OWNER.delegates(each)).answer for each in nodes[:50]} == {STAKED}
        assert gate.verdict(nodes[50], OWNER.delegates(nodes[50])).answer is NOT_STAKED
        assert {gate.verdict(each, OWNER.delegates(each)).answer for each in nodes[:50]} == {NOT_STAKED}


@virtual_time
async def test_a_node_not_seen_for_an_hour_does_not_count_any_more() -> None:
    world = staked_world()
    a, b = OWNER.delegates(A), OWNER.delegates(B)
    async with world.running() as gate:
        await gate.verdict_when_known(A, a)
        assert (await gate.verdict_when_known(B, b)).answer is NOT_STAKED
        await asyncio.sleep(3500)
        assert await renewed(gate, B, b) is NOT_STAKED
        await asyncio.sleep(102)
        assert await renewed(gate, B, b) is STAKED


@virtual_time
async def test_raising_the_epoch_frees_the_stake_of_lost_nodes_at_once() -> None:
    world = staked_world()
    async with world.running() as gate:
        await gate.verdict_when_known(A, OWNER.delegates(A))
        assert (await gate.verdict_when_known(B, OWNER.delegates(B))).answer is NOT_STAKED
        world.chain.epochs[OWNER.address] = 1
        await asyncio.sleep(70)
        assert await renewed(gate, B, OWNER.delegates(B, epoch=1)) is STAKED
        assert await renewed(gate, A, OWNER.delegates(A)) is NOT_STAKED


@virtual_time
async def test_two_delegations_for_one_node_are_one_node() -> None:
    world = staked_world()
    async with world.running() as gate:
        assert (await gate.verdict_when_known(A, OWNER.delegates(A))).answer is STAKED
        assert (await gate.verdict_when_known(A, OWNER.delegates(A, not_after=AT + 5 * DAY_S))).answer is STAKED


# ---- look-ups ----


@virtual_time
async def test_200_cold_checks_of_one_owner_read_the_chain_once() -> None:
    world = staked_world(minima=200)
    shows = OWNER.delegates(A)
    async with world.running() as gate:
        same = await asyncio.gather(*(gate.verdict_when_known(A, shows) for _ in range(200)))
        world.new_gate()
    assert {verdict.answer for verdict in same} == {STAKED}
    assert len(world.chain.asked) == 1
    async with world.running() as gate:
        nodes = [node(number) for number in range(1, 201)]
        world.keep.kept.clear()
        other = Owner("another")
        world.chain.stakes[other.address] = 200_000 * MASA
        many = await asyncio.gather(*(gate.verdict_when_known(each, other.delegates(each)) for each in nodes))
    assert {verdict.answer for verdict in many} == {STAKED}
    assert world.chain.asked == [OWNER.address, other.address]


@virtual_time
async def test_a_fresh_reading_is_not_read_again_and_an_older_one_is_while_it_is_used() -> None:
    world = staked_world()
    shows = OWNER.delegates(A)
    async with world.running() as gate:
        await gate.verdict_when_known(A, shows)
        for _ in range(26):
            await asyncio.sleep(10)
            assert (await gate.verdict_when_known(A, shows)).reason.endswith("cover 1 node")
        assert len(world.chain.asked) == 1
        await asyncio.sleep(75)
        world.chain.lets.clear()
        verdict = await gate.verdict_when_known(A, shows)  # does not wait
        assert verdict.answer is STAKED
        assert verdict.reason.endswith("cover 1 node; it is read again")
        assert age_of(verdict, world) == pytest.approx(335, abs=10)
        await asyncio.sleep(2)
        gate.verdict(A, shows)
        await settle()
        assert len(world.chain.asked) == 2
        world.chain.lets.set()
        await settle()
        assert gate.verdict(A, shows).reason.endswith("cover 1 node")


@virtual_time
async def test_who_stakes_now_is_seen_within_a_minute_or_so() -> None:
    world = World()
    shows = OWNER.delegates(A)
    async with world.running() as gate:
        assert (await gate.verdict_when_known(A, shows)).answer is NOT_STAKED
        world.chain.stakes[OWNER.address] = 1000 * MASA
        await asyncio.sleep(50)
        assert await renewed(gate, A, shows) is NOT_STAKED
        assert len(world.chain.asked) == 1
        await asyncio.sleep(17)
        assert await renewed(gate, A, shows) is STAKED


@virtual_time
async def test_a_chain_that_failed_is_asked_again_after_ten_seconds_and_not_before() -> None:
    world = staked_world()
    world.chain.breaks()
    shows = OWNER.delegates(A)
    async with world.running() as gate:
        for _ in range(9):
            assert (await gate.verdict_when_known(A, shows)).answer is UNKNOWN
            await asyncio.sleep(1)
        assert len(world.chain.asked) == 1
        world.chain.fails = None
        await asyncio.sleep(1)
        assert (await gate.verdict_when_known(A, shows)).answer is STAKED
        assert len(world.chain.asked) == 2


@virtual_time
async def test_an_outage_is_bridged_for_an_hour_then_nothing_is_known_then_all_again() -> None:
    world = staked_world()
    shows = OWNER.delegates(A)
    async with world.running() as gate:
        await gate.verdict_when_known(A, shows)
        world.chain.breaks()
        await asyncio.sleep(720)
        await renewed(gate, A, shows)
        verdict = gate.verdict(A, shows)
        assert verdict.answer is STAKED
        assert verdict.reason.endswith("; the chain cannot be read now: 127.0.0.1:8545 refuses connections")
        assert age_of(verdict, world) == pytest.approx(720, abs=5)
        await asyncio.sleep(2879.5)
        assert gate.verdict(A, shows).answer is STAKED
        await asyncio.sleep(0.5)  # to the second, though the last verdict is still remembered
        assert (await gate.verdict_when_known(A, shows)).answer is UNKNOWN
        world.chain.fails = None
        await asyncio.sleep(11)
        assert (await gate.verdict_when_known(A, shows)).answer is STAKED


@virtual_time
async def test_a_stake_that_can_be_withdrawn_at_once_is_not_believed_longer_than_fresh() -> None:
    world = staked_world()
    world.chain.unbonding_s = 0
    shows = OWNER.delegates(A)
    async with world.running() as gate:
        await gate.verdict_when_known(A, shows)
        world.chain.breaks()
        await asyncio.sleep(265)
        assert gate.verdict(A, shows).answer is STAKED
        await asyncio.sleep(70)
        assert (await gate.verdict_when_known(A, shows)).answer is UNKNOWN


@virtual_time
async def test_a_stake_that_can_be_withdrawn_at_once_is_read_again_before_its_reading_ends() -> None:
    """Else each of its nodes would be unknown for a moment, every five minutes."""
    world = staked_world()
    world.chain.unbonding_s = 0
    shows = OWNER.delegates(A)
    async with world.running() as gate:
        await gate.verdict_when_known(A, shows)
        for _ in range(1000):
            await asyncio.sleep(1)
            assert gate.verdict(A, shows).answer is STAKED
            await settle()
        assert len(world.chain.asked) in (4, 5)


@virtual_time
async def test_a_tenth_of_the_unbonding_time_limits_how_old_a_reading_may_be() -> None:
    world = staked_world()
    world.chain.unbonding_s = 10_000
    shows = OWNER.delegates(A)
    async with world.running() as gate:
        await gate.verdict_when_known(A, shows)
        world.chain.breaks()
        await asyncio.sleep(999)
        assert await renewed(gate, A, shows) is STAKED
        await asyncio.sleep(1)
        assert await renewed(gate, A, shows) is UNKNOWN


@virtual_time
async def test_an_answer_from_a_lower_block_is_ignored() -> None:
    world = staked_world()
    shows = OWNER.delegates(A)
    async with world.running() as gate:
        await gate.verdict_when_known(A, shows)
        world.chain.block -= 1
        world.chain.stakes.clear()
        await asyncio.sleep(400)
        assert await renewed(gate, A, shows) is STAKED
        assert "answers for block 99, block 100 was seen already" in gate.verdict(A, shows).reason
        world.chain.block += 2
        await asyncio.sleep(11)
        assert await renewed(gate, A, shows) is NOT_STAKED


@virtual_time
async def test_a_clock_set_back_discards_what_comes_from_the_future() -> None:
    world = staked_world()
    shows = OWNER.delegates(A)
    async with world.running() as gate:
        await gate.verdict_when_known(A, shows)
        world.clock.set_by_s = -3600
        world.chain.breaks()
        assert (await gate.verdict_when_known(A, shows)).answer is UNKNOWN
        world.chain.fails = None
        world.clock.set_by_s = -7200  # nor does a failure in the future hold the next look-up up
        assert (await gate.verdict_when_known(A, shows)).answer is STAKED


@virtual_time
async def test_few_look_ups_run_at_once_and_the_line_is_bounded() -> None:
    world = World()
    world.chain.lets.clear()
    async with world.running() as gate:
        for number in range(MAX_WAITING_STRANGERS + MAX_QUERIES + 5):
            owner = address_of(number.to_bytes(20))
            verdict = gate.verdict(node(number + 1), of_contract(owner, node(number + 1), b"s"))
            await settle(2)
        assert world.chain.at_once == MAX_QUERIES
        assert gate.summary().lookups_running == MAX_QUERIES
        assert gate.summary().lookups_waiting == MAX_WAITING_STRANGERS
        assert verdict.answer is UNKNOWN
        assert verdict.reason.startswith("too many look-ups wait")
        # nor does it wait
        assert (await gate.verdict_when_known(node(9_999), OWNER.delegates(node(9_999)))).answer is UNKNOWN
    assert world.chain.most_at_once == MAX_QUERIES


@virtual_time
async def test_strangers_who_fill_the_line_do_not_keep_known_owners_from_being_renewed() -> None:
    world = staked_world()
    shows = OWNER.delegates(A)
    async with world.running() as gate:
        await gate.verdict_when_known(A, shows)
        await asyncio.sleep(400)
        world.chain.lets.clear()
        for number in range(2_000):
            gate.verdict(node(number + 9), of_contract(address_of(number.to_bytes(20)), node(number + 9), b"s"))
        gate.verdict(A, shows)
        world.chain.lets.set()
        await settle(2_000)
        assert gate.verdict(A, shows).reason.endswith("cover 1 node")


@virtual_time
async def test_owners_with_a_stake_are_renewed_before_all_others_who_wait() -> None:
    """Also before those who were read, and have none; and no stake of another lends its place to a false word."""
    world = staked_world()
    world.chain.stakes[SAFE] = 1000 * MASA
    world.chain.signed = {b"good"}
    shows, safes, junk = OWNER.delegates(A), of_contract(SAFE, B, b"good"), of_contract(SAFE, C, b"junk")
    strangers = {node(number): Owner(f"{number}").delegates(node(number)) for number in range(10, 30)}
    async with world.running() as gate:
        for node_id, data in ({A: shows, B: safes, C: junk} | strangers).items():
            await gate.verdict_when_known(node_id, data)
        await asyncio.sleep(400)
        world.chain.lets.clear()
        world.chain.asked.clear()
        world.chain.asked_signatures.clear()
        gate.verdict(C, junk)
        for node_id, data in strangers.items():
            gate.verdict(node_id, data)
        gate.verdict(B, safes)
        gate.verdict(A, shows)
        await settle()
        assert world.chain.asked[:2] == [SAFE, OWNER.address]
        assert world.chain.asked_signatures == [b"good", b"junk"]


@virtual_time
async def test_a_node_that_shows_many_owners_makes_this_node_check_and_ask_for_few_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checks = counted_checks(monkeypatch)
    world = World()
    owners = [Owner(f"owner {number}") for number in range(50)]
    async with world.running() as gate:
        for owner in owners:
            verdict = await gate.verdict_when_known(A, owner.delegates(A))
        assert len(world.chain.asked) == checks["made"] == MAX_DELEGATIONS_OF_ONE
        assert verdict.answer is NOT_STAKED  # else it would go before those who honestly have none
        assert verdict.reason.startswith("it shows too many delegations")
        assert (await gate.verdict_when_known(A, owners[0].delegates(A))).answer is NOT_STAKED  # the first ones stand
        # another node is not guilty
        assert (await gate.verdict_when_known(B, owners[9].delegates(B))).answer is NOT_STAKED
        await asyncio.sleep(DELEGATIONS_WITHIN_S)
        assert (await gate.verdict_when_known(A, owners[49].delegates(A))).answer is NOT_STAKED


@virtual_time
async def test_a_hung_chain_frees_its_place_and_is_unknown() -> None:
    world = staked_world()
    world.chain.lets.clear()
    async with world.running() as gate:
        verdict = await gate.verdict_when_known(A, OWNER.delegates(A))
        assert now_s() == LOOKUP_S
        assert verdict.reason == "the chain cannot be read: no RPC server answered within 30 s"
        assert gate.summary().lookups_running == 0
        assert gate.summary().last_failure == ReadFailure("no RPC server answered within 30 s", AT + LOOKUP_S)


@virtual_time
async def test_a_bug_in_a_look_up_is_logged_and_unknown_and_the_gate_goes_on() -> None:
    world = staked_world()
    world.chain.fails = ZeroDivisionError("a bug")
    async with world.running() as gate:
        with capture_logs() as lines:
            for number in range(1, 2 * MAX_QUERIES):
                verdict = await gate.verdict_when_known(node(number), Owner(f"{number}").delegates(node(number)))
                assert verdict.answer is UNKNOWN
        assert {line["log_level"] for line in lines} == {"error"}
        world.chain.fails = None
        assert (await gate.verdict_when_known(A, OWNER.delegates(A))).answer is STAKED


@virtual_time
async def test_a_reading_of_another_owner_is_not_taken_for_this_ones() -> None:
    world = staked_world()
    read = world.chain.read

    async def of_another(owner: Address) -> object:
        return msgspec.structs.replace(await read(owner), owner=SAFE)

    world.chain.read = of_another  # type: ignore[method-assign,assignment]
    async with world.running() as gate:
        verdict = await gate.verdict_when_known(A, OWNER.delegates(A))
        assert (verdict.answer, verdict.reason) == (
            UNKNOWN,
            "the chain cannot be read: the reading is of another owner",
        )
        assert gate.summary().newest is None


# ---- owners that are contracts ----


@virtual_time
async def test_a_contracts_word_is_used_no_longer_than_a_reading_when_it_cannot_be_asked_again() -> None:
    world = World()
    world.chain.stakes[SAFE] = 1000 * MASA
    world.chain.signed.add(b"good")
    shows = of_contract(SAFE, A, b"good")
    async with world.running() as gate:
        assert (await gate.verdict_when_known(A, shows)).answer is STAKED

        async def breaks(owner: Address, digest: bytes, signature: bytes) -> bool:
            raise ChainUnknown("it is too busy for that")

        world.chain.is_signed = breaks  # type: ignore[method-assign]
        for _ in range(35):
            await asyncio.sleep(100)
            assert await renewed(gate, A, shows) is STAKED
        await asyncio.sleep(100)
        assert await renewed(gate, A, shows) is UNKNOWN
        assert gate.verdict(A, shows).reason == "the chain cannot be read: it is too busy for that"


@virtual_time
async def test_a_contract_that_signed_is_an_owner_like_any_other() -> None:
    world = World()
    world.chain.stakes[SAFE] = 1000 * MASA
    world.chain.signed.add(b"good")
    shows = of_contract(SAFE, A, b"good")
    async with world.running() as gate:
        verdict = await gate.verdict_when_known(A, shows)
        assert (verdict.answer, verdict.nodes) == (STAKED, 1)
        assert (world.chain.asked, world.chain.asked_signatures) == ([SAFE], [b"good"])
        for _ in range(20):
            await asyncio.sleep(10)
            assert (await gate.verdict_when_known(A, shows)).answer is STAKED
        assert len(world.chain.asked_signatures) == 1
        world.chain.signed.clear()  # the Safe has other owners now
        await asyncio.sleep(200)
        assert await renewed(gate, A, shows) is NOT_STAKED


@virtual_time
async def test_who_only_names_a_contract_is_not_staked_and_takes_nothing_from_its_nodes() -> None:
    world = World()
    world.chain.stakes[SAFE] = 1000 * MASA
    world.chain.signed.add(b"good")
    async with world.running() as gate:
        assert (await gate.verdict_when_known(A, of_contract(SAFE, A, b"good"))).answer is STAKED
        for number in range(10, 30):
            verdict = await gate.verdict_when_known(node(number), of_contract(SAFE, node(number), b"junk"))
            assert verdict.answer is NOT_STAKED
            assert "did not sign" in verdict.reason
        assert gate.verdict(A, of_contract(SAFE, A, b"good")).answer is STAKED


@virtual_time
async def test_who_names_an_account_as_a_contract_gets_no_stake_by_it_and_does_not_hold_up_its_look_ups() -> None:
    world = staked_world()
    real = world.chain.is_signed

    async def no_code(owner: Address, digest: bytes, signature: bytes) -> bool:
        await real(owner, digest, signature)
        raise ChainUnknown("no contract at this address")

    world.chain.is_signed = no_code  # type: ignore[method-assign]
    async with world.running() as gate:
        assert (await gate.verdict_when_known(B, of_contract(OWNER.address, B, b"junk"))).answer is UNKNOWN
        assert (await gate.verdict_when_known(A, OWNER.delegates(A))).answer is STAKED


@virtual_time
async def test_a_contract_that_cannot_be_asked_is_unknown_though_its_stake_is_known() -> None:
    world = World()
    world.chain.stakes[SAFE] = 5000 * MASA
    world.chain.signed.add(b"good")
    async with world.running() as gate:
        assert (await gate.verdict_when_known(A, of_contract(SAFE, A, b"good"))).answer is STAKED
        world.chain.breaks()
        verdict = await gate.verdict_when_known(B, of_contract(SAFE, B, b"good"))
    assert verdict.answer is UNKNOWN
    assert verdict.reason == "the chain cannot be read: 127.0.0.1:8545 refuses connections"


@virtual_time
async def test_200_nodes_of_one_contract_read_its_stake_once() -> None:
    world = World()
    world.chain.stakes[SAFE] = 200_000 * MASA
    world.chain.signed.add(b"good")
    nodes = [node(number) for number in range(1, 201)]
    async with world.running() as gate:
        verdicts = await asyncio.gather(
            *(gate.verdict_when_known(each, of_contract(SAFE, each, b"good")) for each in nodes)
        )
    assert {verdict.answer for verdict in verdicts} == {STAKED}
    assert world.chain.asked == [SAFE]


# ---- beginning, end and cancellation ----


@virtual_time
async def test_before_it_runs_a_verdict_is_unknown_and_settled_waits_for_it() -> None:
    world = staked_world()
    shows = OWNER.delegates(A)
    verdict = world.gate.verdict(A, shows)
    assert (verdict.answer, verdict.reason) == (UNKNOWN, "not looked up yet")
    waiter = asyncio.create_task(world.gate.verdict_when_known(A, shows))
    await asyncio.sleep(START_S / 2)
    async with world.running():
        assert (await waiter).answer is STAKED
    assert (await world.new_gate().verdict_when_known(A, shows)).reason == "not looked up yet"
    assert now_s() == START_S * 1.5


@virtual_time
async def test_a_disk_that_hangs_does_not_keep_the_gate_from_beginning_nor_from_ending() -> None:
    world = staked_world()
    world.keep.lets.clear()
    async with world.running() as gate:
        await asyncio.sleep(START_S)
        assert (await gate.verdict_when_known(A, OWNER.delegates(A))).answer is STAKED
        await asyncio.sleep(10)
    assert now_s() == START_S + 10 + gate_module.LAST_KEEP_S


@virtual_time
async def test_a_waiter_who_is_cancelled_cancels_no_look_up() -> None:
    world = staked_world()
    world.chain.lets.clear()
    shows = OWNER.delegates(A)
    async with world.running() as gate:
        waiters = [asyncio.create_task(gate.verdict_when_known(A, shows)) for _ in range(3)]
        await settle()
        waiters[0].cancel()
        await settle()
        assert waiters[0].cancelled()
        world.chain.lets.set()
        assert (await waiters[1]).answer is STAKED
        assert (await waiters[2]).answer is STAKED
    assert len(world.chain.asked) == 1


@virtual_time
async def test_a_waiter_can_be_cancelled_before_the_gate_runs() -> None:
    world = staked_world()
    waiter = asyncio.create_task(world.gate.verdict_when_known(A, OWNER.delegates(A)))
    await settle()
    waiter.cancel()
    await settle()
    assert waiter.cancelled()
    async with world.running() as gate:
        assert (await gate.verdict_when_known(A, OWNER.delegates(A))).answer is STAKED


@virtual_time
async def test_a_waiter_for_a_contracts_word_can_be_cancelled() -> None:
    world = World()
    world.chain.stakes[SAFE] = 1000 * MASA
    world.chain.signed.add(b"good")
    shows = of_contract(SAFE, A, b"good")
    async with world.running() as gate:
        await gate.verdict_when_known(B, of_contract(SAFE, B, b"junk"))  # the stake is known, the signature not
        world.chain.lets.clear()
        waiter = asyncio.create_task(gate.verdict_when_known(A, shows))
        await settle()
        waiter.cancel()
        world.chain.lets.set()
        assert (await gate.verdict_when_known(A, shows)).answer is STAKED
        assert waiter.cancelled()


@virtual_time
async def test_when_the_gate_ends_nobody_waits_any_more() -> None:
    world = staked_world()
    world.chain.lets.clear()
    async with world.running() as gate:
        owners = [Owner(f"{number}") for number in range(MAX_QUERIES + 3)]  # some run, some stand in the line
        waiters = [
            asyncio.create_task(gate.verdict_when_known(node(number), owner.delegates(node(number))))
            for number, owner in enumerate(owners, 1)
        ]
        await settle()
    await settle()
    assert {waiter.result().answer for waiter in waiters} == {UNKNOWN}
    assert world.chain.at_once == 0
    assert now_s() == 0
    assert (await gate.verdict_when_known(A, OWNER.delegates(A))).answer is UNKNOWN
    assert now_s() == 0


@virtual_time
async def test_a_gate_cancelled_while_it_loads_or_at_once_ends() -> None:
    world = staked_world()
    world.keep.lets.clear()
    for turns in range(1, 5):
        gate = world.new_gate()
        task = asyncio.create_task(gate.run(world.keep))
        await settle(turns)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await gate.verdict_when_known(A, OWNER.delegates(A))).answer is UNKNOWN
    assert now_s() == 0  # nor is it waited for


@virtual_time
async def test_a_gate_cancelled_just_as_it_begins_leaves_no_waiter_behind() -> None:
    for turns in range(8):
        world = staked_world()
        world.chain.lets.clear()
        waiter = asyncio.create_task(world.gate.verdict_when_known(A, OWNER.delegates(A)))
        task = asyncio.create_task(world.gate.run(world.keep))
        await settle(turns)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(START_S + 1):
            assert (await waiter).answer is UNKNOWN


@virtual_time
async def test_a_gate_cancelled_twice_ends_at_once() -> None:
    world = staked_world()
    gate = world.gate
    task = asyncio.create_task(gate.run(world.keep))
    await settle(3)
    await gate.verdict_when_known(A, OWNER.delegates(A))
    world.keep.lets.clear()
    task.cancel()
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert now_s() == 0
    world.keep.lets.set()
    await settle()
    assert list(world.keep.kept) == [OWNER.address]  # what was begun is done anyway


# ---- what is kept ----


@virtual_time
async def test_readings_are_kept_together_and_at_the_end() -> None:
    world = World()
    owners = [Owner(f"{number}") for number in range(5)]
    async with world.running() as gate:
        for number, owner in enumerate(owners[:4], 1):
            await gate.verdict_when_known(node(number), owner.delegates(node(number)))
        assert world.keep.writes == 0
        await asyncio.sleep(KEEP_EVERY_S)
        assert (world.keep.writes, len(world.keep.kept)) == (1, 4)
        await asyncio.sleep(100 * KEEP_EVERY_S)
        assert world.keep.writes == 1  # nothing new
        await gate.verdict_when_known(node(5), owners[4].delegates(node(5)))
    assert (world.keep.writes, set(world.keep.kept)) == (2, {owner.address for owner in owners})


@virtual_time
async def test_what_was_being_written_when_the_gate_ended_is_written() -> None:
    world = staked_world()
    async with world.running() as gate:
        await gate.verdict_when_known(A, OWNER.delegates(A))
        world.keep.lets.clear()
        await asyncio.sleep(KEEP_EVERY_S)
        assert world.keep.writes == 1
        asyncio.get_running_loop().call_later(1, world.keep.lets.set)
    assert list(world.keep.kept) == [OWNER.address]


@virtual_time
async def test_what_waits_for_a_disk_that_hangs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "MAX_OWNERS", 5)
    world = World()
    world.keep.lets.clear()
    owners = [Owner(f"{number}") for number in range(9)]
    async with world.running() as gate:
        for number, owner in enumerate(owners, 1):
            await gate.verdict_when_known(node(number), owner.delegates(node(number)))
            await asyncio.sleep(2 * KEEP_EVERY_S)
        assert list(gate.changed) == [owner.address for owner in owners[-5:]]


@virtual_time
async def test_many_kept_readings_are_taken_without_holding_up_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    world = staked_world()
    async with world.running() as gate:
        await gate.verdict_when_known(A, OWNER.delegates(A))
    kept, turns = list(world.keep.kept.values()), 0

    async def many() -> list[bytes]:
        return kept * 1_000

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    monkeypatch.setattr(world.keep, "load_readings", many)
    counting = asyncio.create_task(count_turns())
    gate = world.new_gate()
    running = asyncio.create_task(gate.run(world.keep))
    await gate.verdict_when_known(A, OWNER.delegates(A))
    assert turns >= 1_000 / MAX_TAKEN_AT_ONCE
    for task in (counting, running):
        task.cancel()
    await asyncio.gather(counting, running, return_exceptions=True)


@virtual_time
async def test_a_reading_that_changes_while_it_is_written_is_written_again() -> None:
    world = World()
    shows = OWNER.delegates(A)
    async with world.running() as gate:
        await gate.verdict_when_known(A, shows)
        world.keep.lets.clear()
        await asyncio.sleep(67)
        world.chain.block = 101
        await renewed(gate, A, shows)
        world.keep.lets.set()
        await asyncio.sleep(2 * KEEP_EVERY_S)
        kept = from_bytes(world.keep.kept[OWNER.address], DOMAIN)
        assert kept is not None
        assert kept.block == 101


@virtual_time
async def test_a_restart_during_an_outage_uses_what_was_kept_up_to_its_limit() -> None:
    world = staked_world()
    shows = OWNER.delegates(A)
    async with world.running() as gate:
        await gate.verdict_when_known(A, shows)
    world.chain.breaks()
    await asyncio.sleep(1200)
    world.new_gate()
    async with world.running() as gate:
        verdict = await gate.verdict_when_known(A, shows)
        assert verdict.answer is STAKED
        assert age_of(verdict, world) == pytest.approx(1200, abs=5)
        await asyncio.sleep(2399)
        assert await renewed(gate, A, shows) is STAKED
        await asyncio.sleep(1)
        assert await renewed(gate, A, shows) is UNKNOWN


@virtual_time
async def test_the_nodes_store_keeps_readings_for_the_gate() -> None:
    world = staked_world()
    store = Store.in_memory()
    world.keep = store  # type: ignore[assignment]
    async with world.running() as gate:
        await gate.verdict_when_known(A, OWNER.delegates(A))
    world.chain.breaks()
    world.new_gate()
    async with world.running() as gate:
        assert (await gate.verdict_when_known(A, OWNER.delegates(A))).answer is STAKED
    await store.close()


@virtual_time
async def test_what_was_kept_of_another_chain_or_contract_is_not_used() -> None:
    world = staked_world()
    async with world.running() as gate:
        await gate.verdict_when_known(A, OWNER.delegates(A))
    world.chain.breaks()
    for domain in (Domain(1, DOMAIN.contract), Domain(DOMAIN.chain_id, SAFE)):
        profile = msgspec.structs.replace(PROFILE, chain_id=domain.chain_id, contract=domain.contract)
        world.profile = profile
        world.new_gate()
        async with world.running() as gate:
            assert (await gate.verdict_when_known(A, OWNER.delegates(A, domain=domain))).answer is UNKNOWN


@virtual_time
async def test_kept_garbage_is_dropped_and_the_rest_used() -> None:
    world = staked_world()
    async with world.running() as gate:
        await gate.verdict_when_known(A, OWNER.delegates(A))
    world.chain.breaks()
    world.keep.kept |= {str(number): garbage for number, garbage in enumerate([b"", b"{}", b"[" * 1000, b"\xff" * 9])}
    world.new_gate()
    async with world.running() as gate:
        assert gate.summary().owners == 1
        assert (await gate.verdict_when_known(A, OWNER.delegates(A))).answer is STAKED


@virtual_time
async def test_what_was_kept_in_the_future_is_not_used() -> None:
    world = staked_world()
    async with world.running() as gate:
        await gate.verdict_when_known(A, OWNER.delegates(A))
    world.chain.breaks()
    world.clock.set_by_s = -60
    world.new_gate()
    async with world.running() as gate:
        assert (await gate.verdict_when_known(A, OWNER.delegates(A))).answer is UNKNOWN


# ---- summary and cost ----


@virtual_time
async def test_the_summary_tells_how_it_does() -> None:
    world = staked_world()
    async with world.running() as gate:
        summary = gate.summary()
        assert (summary.owners, summary.last_failure, summary.newest) == (0, None, None)
        await gate.verdict_when_known(A, OWNER.delegates(A))
        world.chain.breaks()
        world.chain.block = 90
        await gate.verdict_when_known(B, Owner("other").delegates(B))
        summary = gate.summary()
        assert (summary.owners, summary.lookups_running, summary.lookups_waiting) == (2, 0, 0)
        assert summary.last_failure == ReadFailure("127.0.0.1:8545 refuses connections", AT)
        assert summary.newest is not None
        assert summary.newest.block == 100


@virtual_time
async def test_a_warm_verdict_is_the_same_object_and_asks_nothing() -> None:
    world = staked_world()
    shows = OWNER.delegates(A)
    async with world.running() as gate:
        first = await gate.verdict_when_known(A, shows)
        assert gate.verdict(A, bytes(bytearray(shows))) is first
        begun = time.perf_counter()
        for _ in range(10_000):
            gate.verdict(A, shows)
        print(f"a warm verdict: {(time.perf_counter() - begun) * 100:.2f} us")  # noqa: T201 - a figure, no assertion
    assert len(world.chain.asked) == 1


def test_the_bounds_leave_room_for_known_owners() -> None:
    assert lookups_module.MAX_WAITING_STRANGERS < lookups_module.MAX_WAITING
