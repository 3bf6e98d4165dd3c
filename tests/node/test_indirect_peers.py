"""Nodes that are only heard of count for their owners, and strangers among them cost no look at the chain."""

from types import SimpleNamespace
from typing import Any

from masa_node.node.indirect_peers import LOOKS_FOR_S, SEEN_A_LOOK, IndirectPeers
from masa_node.node.stake_policy import LOOK_EVERY_S
from masa_node.staking.delegation import SignedDelegation, digest, encode
from masa_node.staking.ethereum.crypto import sign
from masa_node.staking.gate.node_count import SEEN_FOR_S
from masa_node.staking.gate.values import StakeAnswer
from tests.staking.delegations import Owner, node, of_contract
from tests.staking.gate.gate_world import World
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
        assert (await gate.verdict_when_known(LINKED, OWNER.delegates(LINKED))).answer is StakeAnswer.STAKED
        bystanders = IndirectPeers(gate, network(dict(shown)))
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
        assert (await gate.verdict_when_known(LINKED, of_contract(SAFE, LINKED, GOOD))).answer is StakeAnswer.STAKED
        bystanders = IndirectPeers(gate, network(dict(shown)))
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
        bystanders = IndirectPeers(gate, network(shown))
        for _ in range(3):
            await bystanders.look()
            await settle(3)
        assert gate.verdict_if_known(node(2), OWNER.delegates(node(2))) is None
    assert (world.chain.asked, world.chain.asked_signatures) == ([], [])


@virtual_time
async def test_what_can_never_count_is_told_at_once_and_not_to_be_looked_up_later() -> None:
    world = staked_world()
    async with world.running() as gate:
        for shown in (b"garbage", OWNER.delegates(node(9)), b"x" * 5_000):
            verdict = gate.verdict_if_known(node(2), shown)
            assert verdict is not None
            assert (verdict.answer, verdict.reason) == (StakeAnswer.NOT_STAKED, gate.verdict(node(2), shown).reason)
    assert (world.chain.asked, world.chain.asked_signatures) == ([], [])


class Slow:
    """A gate for which each delegation takes this long, as where signatures are checked in Python."""

    def __init__(self, each_s: float) -> None:
        self.each_s = each_s
        self.spent_s = 0.0
        self.held_of: list[str] = []

    def work_s(self) -> float:
        return self.spent_s

    def waits_for_a_word(self, node_id: str, delegation: bytes) -> bool:
        return False

    def verdict_if_known(self, node_id: str, delegation: bytes) -> None:
        self.held_of.append(node_id)
        self.spent_s += self.each_s


@virtual_time
async def test_a_look_is_short_however_slow_each_one_is_and_all_have_their_turn() -> None:
    slow, shown = Slow(0.005), {node(number): b"delegation" for number in range(100, 120)}
    bystanders = IndirectPeers(slow, network(dict(shown)), slow.work_s)  # type: ignore[arg-type]
    for look in range(1, 7):
        await bystanders.look()
        assert slow.spent_s <= look * (LOOKS_FOR_S + slow.each_s)
    assert set(slow.held_of) == set(shown)


@virtual_time
async def test_ten_thousand_slow_ones_have_their_turn_while_a_key_counts() -> None:
    slow, shown = Slow(0.005), {node(number): b"delegation" for number in range(10, 10_010)}
    bystanders = IndirectPeers(slow, network(dict(shown)), slow.work_s)  # type: ignore[arg-type]
    looks = 0
    while len(slow.held_of) < len(shown):
        await bystanders.look()
        looks += 1
    assert looks * LOOK_EVERY_S < SEEN_FOR_S


@virtual_time
async def test_who_names_a_staked_owner_in_vain_costs_no_look_at_the_chain_and_counts_for_nobody() -> None:
    world = staked_world()
    shown = {}
    for number in range(100, 150):
        delegation = OWNER.delegation(node(number))
        shown[node(number)] = encode(SignedDelegation(delegation, sign(digest(delegation), Owner("thief").secret)))
    async with world.running() as gate:
        assert (await gate.verdict_when_known(LINKED, OWNER.delegates(LINKED))).answer is StakeAnswer.STAKED
        bystanders = IndirectPeers(gate, network(dict(shown)))
        for _ in range(len(shown)):
            await bystanders.look()
        await settle(3)
        verdict = gate.verdict(LINKED, OWNER.delegates(LINKED))
    assert (verdict.answer, verdict.nodes) == (StakeAnswer.STAKED, 1)
    assert (world.chain.asked, world.chain.asked_signatures) == ([OWNER.address], [])
