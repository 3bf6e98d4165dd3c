"""Peers that would have this node ask the chain for ever, or remember them for ever; and one stake for many nodes."""

import asyncio
import secrets
import time
import tracemalloc
from functools import partial

import pytest

from masa_node.chat.errors import NoStakedPeer
from masa_node.network.gossip.adverts import AdvertModel
from masa_node.node.settings.stake import StakeMode
from masa_node.node.stake_policy import REFRESH_WITHIN_S
from masa_node.staking.ethereum.crypto import Address, address_of, address_of_secret
from masa_node.staking.gate import gate
from masa_node.staking.gate.cache import NEGATIVE_FRESH_S
from masa_node.staking.gate.delegation_cache import (
    DELEGATIONS_WITHIN_S,
    MAX_DELEGATIONS,
    MAX_DELEGATIONS_OF_ONE,
    DelegationCache,
)
from masa_node.staking.gate.query_queue import MAX_QUERIES, MAX_WAITING_STRANGERS
from masa_node.staking.gate.values import Reading
from tests.network.nodes import MODEL, MemoryNode
from tests.node.test_stake_policy import MINIMUM, delegation_for, world
from tests.security.hostile_peers import EVERY_ENDPOINT, Eve, advert, pushed
from tests.security.hostile_stakes import CountingChain
from tests.staking.delegations import Owner, node, of_contract
from tests.staking.gate.gate_world import World as GateWorld
from tests.virtual_time import now_s, until, virtual_time

BOB, EVE = 1, 2  # in a world's nodes
BOBS_SECRET = bytes([BOB + 1]) * 32
SERVES = (AdvertModel(MODEL, EVERY_ENDPOINT),)
ROOM = 2000
ROUND = ROOM // 2  # strangers; after two rounds there is no more room
KEPT_BYTES = 1_000  # for longer, of each of 20 000: that it has shown something


# ---- what one peer, or a thousand, can make this node ask the chain ----


@virtual_time
async def test_a_fresh_owner_each_second_makes_few_reads() -> None:
    chain = CountingChain()
    async with world("ab", StakeMode.REQUIRE, StakeMode.REQUIRE, chain) as here:
        eve, honest = here.nodes[EVE], {address_of_secret(bytes([number]) * 32) for number in (1, 2)}
        shown: set[Address] = set()
        began_s = now_s()
        while now_s() - began_s < DELEGATIONS_WITHIN_S - 30:
            secret = secrets.token_bytes(32)
            shown.add(address_of_secret(secret))
            eve.delegation = delegation_for(eve, secret)
            await asyncio.sleep(1)
            assert here.stakings[0].of(here.nodes[BOB].id).answer == "staked"
        read = set(chain.owners) - honest
        assert len(shown) > 500
        assert len(read) <= len(here.stakings) * MAX_DELEGATIONS_OF_ONE
        assert len(chain.owners) < len(here.stakings) * 100
        assert here.stakings[0].of(eve.id).answer in ("unknown", "not staked")
        assert (await here.ada.ask()).served_by == here.nodes[BOB].id


@virtual_time
async def test_a_fresh_contract_or_signature_each_second_makes_few_reads() -> None:
    here = GateWorld()
    async with here.running() as gate:
        for number in range(int(DELEGATIONS_WITHIN_S) - 30):
            owner = Owner("safe").address if number % 2 else address_of(secrets.token_bytes(20))
            assert gate.verdict(node(1), of_contract(owner, node(1), secrets.token_bytes(65))).answer != "staked"
            await asyncio.sleep(1)
    assert len(here.chain.asked_signatures) <= MAX_DELEGATIONS_OF_ONE
    assert len(set(here.chain.asked)) <= MAX_DELEGATIONS_OF_ONE


@virtual_time
async def test_a_thousand_strangers_at_once_hold_up_nobody_for_long() -> None:
    here = GateWorld()
    friend = Owner("friend")
    here.chain.stakes[friend.address] = here.chain.minimum
    friends = friend.delegates(node(9_999))
    async with here.running() as gate:
        gate.verdict(node(9_999), friends)
        await asyncio.sleep(1)
        assert gate.verdict(node(9_999), friends).answer == "staked"
        strangers = [(node(number), Owner(f"stranger {number}").delegates(node(number))) for number in range(1, 1_001)]
        asked = len(here.chain.asked)
        here.chain.lets.clear()
        for stranger, data in strangers:
            assert gate.verdict(stranger, data).answer == "unknown"
        await asyncio.sleep(1)
        assert (here.chain.at_once, gate.summary().lookups_waiting <= MAX_WAITING_STRANGERS) == (MAX_QUERIES, True)
        assert gate.verdict(node(9_999), friends).answer == "staked"
        here.chain.lets.set()
        await asyncio.sleep(1)
        assert len(here.chain.asked) - asked <= MAX_WAITING_STRANGERS + MAX_QUERIES
        assert here.chain.most_at_once == MAX_QUERIES
        for stranger, data in strangers:
            gate.verdict(stranger, data)
        await asyncio.sleep(1)
        assert all(gate.verdict(stranger, data).answer == "not staked" for stranger, data in strangers)


def without_unbonding() -> GateWorld:
    """Nothing old is used: a peer that is not read again in time is unknown."""
    here = GateWorld()
    here.chain.unbonding_s = 0
    return here


def slow_down(here: GateWorld, each_s: float = 0.2) -> None:
    """From now on each reading takes so long: a public RPC server far away."""
    read_at_once = here.chain.read

    async def read(owner: Address) -> Reading:
        await asyncio.sleep(each_s)
        return await read_at_once(owner)

    here.chain.read = read  # type: ignore[method-assign]


@virtual_time
async def test_a_known_peer_is_read_again_before_the_strangers_who_wait() -> None:
    """Node keys and delegations cost nothing: they must not make a staked peer unknown."""
    here, friend = without_unbonding(), Owner("friend")
    here.chain.stakes[friend.address] = here.chain.minimum
    friends = friend.delegates(node(9_999))
    async with here.running() as gate:
        assert (await gate.verdict_when_known(node(9_999), friends)).answer == "staked"
        await asyncio.sleep(here.profile.fresh_s * 1.1)  # no longer fresh
        slow_down(here)
        for number in range(1, MAX_WAITING_STRANGERS + 1):
            gate.verdict(node(number), Owner(f"stranger {number}").delegates(node(number)))
        began_s = now_s()
        assert (await gate.verdict_when_known(node(9_999), friends)).answer == "staked"
        assert now_s() - began_s < REFRESH_WITHIN_S


@virtual_time
async def test_strangers_who_were_read_once_do_not_take_the_places_of_the_staked() -> None:
    here, friend = without_unbonding(), Owner("friend")
    here.chain.stakes[friend.address] = here.chain.minimum
    friends = friend.delegates(node(9_999))
    strangers = {node(number): Owner(f"stranger {number}").delegates(node(number)) for number in range(1, 1_201)}
    async with here.running() as gate:
        assert (await gate.verdict_when_known(node(9_999), friends)).answer == "staked"
        for stranger, data in strangers.items():
            await gate.verdict_when_known(stranger, data)
        await asyncio.sleep(here.profile.fresh_s * 1.1)
        slow_down(here)
        for stranger, data in strangers.items():
            gate.verdict(stranger, data)
        assert (await gate.verdict_when_known(node(9_999), friends)).answer == "staked"


@virtual_time
async def test_what_strangers_leave_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ROOM < MAX_DELEGATIONS
    monkeypatch.setattr(gate, "DelegationCache", partial(DelegationCache, most=ROOM))
    here, safe = GateWorld(), Owner("safe").address
    here.chain.stakes[safe] = here.chain.minimum
    sizes: list[int] = []
    async with here.running() as it:
        tracemalloc.start()
        try:
            for number in range(1, 4 * ROUND + 1):
                word = of_contract(safe, node(number), number.to_bytes(700))
                assert it.verdict(node(number), word).answer == "unknown"
                assert it.verdict(node(number), bytes(5_000)).answer == "not staked"
                if number % ROUND == 0:
                    await asyncio.sleep(1)
                    sizes.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
    assert sizes[1] > 2 * ROUND * KEPT_BYTES  # it does remember something
    assert sizes[3] - sizes[2] < (sizes[1] - sizes[0]) / 1.5  # and forgets most of it


# ---- one owner, many nodes ----


@virtual_time
async def test_one_stake_is_not_enough_for_fifty_nodes_and_fifty_are() -> None:
    here = GateWorld()
    owner = Owner("many")
    here.chain.stakes[owner.address] = here.chain.minimum
    nodes = {node(number): owner.delegates(node(number)) for number in range(1, 51)}
    async with here.running() as gate:
        for _ in range(3):
            told = [gate.verdict(each, data) for each, data in nodes.items()]
            await asyncio.sleep(2)
        assert {verdict.answer for verdict in told} == {"not staked"}
        assert all("cover 1 node, 50 nodes of this owner are seen" in verdict.reason for verdict in told)
        assert here.chain.asked == [owner.address]
        here.chain.stakes[owner.address] = 50 * here.chain.minimum
        await asyncio.sleep(NEGATIVE_FRESH_S * 1.1)
        for _ in range(2):
            told = [gate.verdict(each, data) for each, data in nodes.items()]
            await asyncio.sleep(2)
        assert {verdict.answer for verdict in told} == {"staked"}
        assert {verdict.nodes for verdict in told} == {50}
        assert len(here.chain.asked) == 2


@virtual_time
async def test_fifty_nodes_of_one_stake_heard_of_by_gossip_are_all_refused() -> None:
    async with world("ab", chain=CountingChain()) as here:
        ada, staking, secret = here.nodes[0], here.stakings[0], b"\x50" * 32
        here.chain.stakes[address_of_secret(secret)] = MINIMUM
        network = ada.transport.network
        nodes = [MemoryNode(network.transport(number)) for number in range(200, 250)]
        _, control = await (teller := Eve(network.transport(66), ada.transport.address())).enter()
        words = [
            advert(each.transport.keys, 5, time.time(), models=SERVES, delegation=delegation_for(each, secret))
            for each in nodes
        ]

        def answers() -> set[tuple[str, int | None]]:
            verdicts = [staking.of(each.id) for each in nodes]
            return {(verdict.answer.value, verdict.nodes) for verdict in verdicts}

        async with asyncio.TaskGroup() as group:
            staying = group.create_task(teller.stay(control, tells=b"".join(map(pushed, words))))
            await until(lambda: answers() == {("not staked", 50)}, within_s=60)
            assert (await ada.ask()).served_by == here.nodes[BOB].id
            here.chain.stakes[address_of_secret(secret)] = 50 * MINIMUM
            await until(lambda: answers() == {("staked", 50)}, within_s=2 * NEGATIVE_FRESH_S)
            staying.cancel()


@virtual_time
async def test_nodes_of_one_owner_are_all_refused_as_soon_as_one_too_many_is_linked() -> None:
    async with world("ab") as here:
        assert (await here.ada.ask()).is_whole
        here.nodes[EVE].delegation = delegation_for(here.nodes[EVE], BOBS_SECRET)  # the owner's own doing
        await until(lambda: here.stakings[0].of(here.nodes[BOB].id).answer == "not staked", within_s=30)
        told = await here.ada.ask()
        assert isinstance(told.error, NoStakedPeer)
        here.chain.stakes[address_of_secret(BOBS_SECRET)] = 2 * MINIMUM
        await asyncio.sleep(NEGATIVE_FRESH_S * 1.1 + 2)
        assert (await here.ada.ask()).is_whole
