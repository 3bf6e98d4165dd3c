"""Nodes that are only heard of count for their owners, and strangers among them cost no look at the chain."""

from types import SimpleNamespace
from typing import Any

from masa_node.node.bystanders import SEEN_A_LOOK, Bystanders
from masa_node.staking.verdicts import StakeAnswer
from tests.staking.delegations import Owner, node, of_contract
from tests.staking.gate_world import World
from tests.virtual_time import settle, virtual_time

LINKED = node(1)
OWNER = Owner()
SAFE = Owner("safe").address
GOOD, BAD = b"signed", b"not signed"


def network(shown: dict[str, bytes | None]) -> Any:  # noqa: ANN401 - as much of a network as is looked at
    """One that has heard adverts with these delegations, and is linked with LINKED."""
    adverts = [SimpleNamespace(node_id=each, advert=SimpleNamespace(delegation=data)) for each, data in shown.items()]
    return SimpleNamespace(
        gossip=SimpleNamespace(all=lambda: adverts), links=SimpleNamespace(sessions={LINKED: SimpleNamespace()})
    )


def staked_world() -> World:
    world = World()
    world.chain.stakes = {OWNER.address: world.chain.minimum, SAFE: world.chain.minimum}
    world.chain.signed = {GOOD}
    return world


@virtual_time
async def test_an_owners_second_node_counts_wherever_it_is_in_the_line() -> None:
    world = staked_world()
    shown = {node(number): Owner(f"stranger {number}").delegates(node(number)) for number in range(100, 600)}
    shown[node(2)] = OWNER.delegates(node(2))
    shown |= {node(number): Owner(f"stranger {number}").delegates(node(number)) for number in range(600, 1100)}
    async with world.running() as gate:
        assert (await gate.settled(LINKED, OWNER.delegates(LINKED))).answer is StakeAnswer.STAKED
        bystanders = Bystanders(gate, network(dict(shown)))
        for _ in range(len(shown) // SEEN_A_LOOK + 1):
            await bystanders.look()
        await settle(3)
        verdict = gate.verdict(LINKED, OWNER.delegates(LINKED))
    assert (verdict.answer, verdict.nodes) == (StakeAnswer.NOT_STAKED, 2)
    assert world.chain.asked == [OWNER.address]


@virtual_time
async def test_whether_a_contract_signed_is_asked_for_one_node_a_look_and_for_each_in_its_turn() -> None:
    world = staked_world()
    shown = {node(number): of_contract(SAFE, node(number), BAD + bytes([number])) for number in range(100, 140)}
    shown[node(2)] = of_contract(SAFE, node(2), GOOD)
    async with world.running() as gate:
        assert (await gate.settled(LINKED, of_contract(SAFE, LINKED, GOOD))).answer is StakeAnswer.STAKED
        bystanders = Bystanders(gate, network(dict(shown)))
        before = len(world.chain.asked_signatures)
        for look in range(1, len(shown) + 1):
            await bystanders.look()
            await settle(3)
            assert len(world.chain.asked_signatures) <= before + look
        await bystanders.look()
        verdict = gate.verdict(LINKED, of_contract(SAFE, LINKED, GOOD))
    assert (verdict.answer, verdict.nodes) == (StakeAnswer.NOT_STAKED, 2)


@virtual_time
async def test_of_an_owner_without_a_known_stake_and_of_garbage_nothing_is_asked() -> None:
    world = staked_world()
    shown = {
        node(2): OWNER.delegates(node(2)),
        node(3): of_contract(SAFE, node(3), GOOD),
        node(4): b"garbage",
        node(5): None,
    }
    async with world.running() as gate:
        bystanders = Bystanders(gate, network(shown))
        for _ in range(3):
            await bystanders.look()
            await settle(3)
        assert gate.held(node(2), OWNER.delegates(node(2))) is None
    assert (world.chain.asked, world.chain.asked_signatures) == ([], [])
