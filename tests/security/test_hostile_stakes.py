"""Peers that would be taken for staked without being it: by words that prove nothing, by the adverts of others.

The original Masa node believed the `isStaked` that a peer said of itself.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from masa_node.chat.errors import NoStakedPeer, StakeDemanded
from masa_node.network.gossip.adverts import Advert
from masa_node.network.links.session import ControlStream
from masa_node.network.transport.interfaces import NodeId
from masa_node.staking.delegation import Delegation, Domain, SignedDelegation, decode, digest, encode
from masa_node.staking.ethereum.crypto import Address, address_of, address_of_secret, sign
from tests.network.nodes import MODEL, MemoryNode
from tests.node.test_stake_policy import BEGIN_UNIX_S, MINIMUM, NOT_BEFORE, PROFILE, World, world
from tests.security.hostile_peers import Eve, advert, pushed
from tests.security.hostile_stakes import CountingChain
from tests.staking.delegations import Owner, node
from tests.staking.gate.gate_world import World as GateWorld
from tests.virtual_time import until, virtual_time

DAY_S = 86_400
NOW = int(BEGIN_UNIX_S)
BOB, EVE = 1, 2  # in a world's nodes
EVES_SECRET, BOBS_SECRET = b"\x66" * 32, bytes([BOB + 1]) * 32
HERE = Domain(PROFILE.chain_id, PROFILE.contract)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of secp256k1, SEC 2 section 2.4.1


# ---- delegations that prove nothing ----


def by_eve(peer: MemoryNode, **changes: Any) -> SignedDelegation:  # noqa: ANN401 - fields
    """Eve's own staked owner signs for this node, with these changes; all else is good."""
    fields = {
        "owner": address_of_secret(EVES_SECRET),
        "node_key": bytes.fromhex(peer.id),
        "epoch": 0,
        "not_before_unix_s": NOT_BEFORE,
        "not_after_unix_s": NOT_BEFORE + DAY_S,
        "domain": HERE,
    }
    delegation = Delegation(**(fields | changes))
    return SignedDelegation(delegation, sign(digest(delegation), EVES_SECRET))


def _changed(here: World, **changes: Any) -> bytes:  # noqa: ANN401 - fields
    """Signed, and then changed."""
    signed = by_eve(here.nodes[EVE])
    return encode(msgspec.structs.replace(signed, delegation=msgspec.structs.replace(signed.delegation, **changes)))


def _resigned(here: World, change: Callable[[bytes], bytes]) -> bytes:
    signed = by_eve(here.nodes[EVE])
    return encode(msgspec.structs.replace(signed, signature=change(signed.signature)))


def _malleated(signature: bytes) -> bytes:
    """The other signature that the same curve points make (EIP-2)."""
    high = ORDER - int.from_bytes(signature[32:64])
    return signature[:32] + high.to_bytes(32) + bytes([27 + 28 - signature[64]])


def _of_bobs_owner_as_a_contract(here: World) -> bytes:
    delegation = msgspec.structs.replace(by_eve(here.nodes[EVE]).delegation, owner=address_of_secret(BOBS_SECRET))
    return encode(SignedDelegation(delegation, b"", is_contract=True))


BAD: dict[str, tuple[Callable[[World], bytes], str]] = {
    "stolen": (lambda here: here.nodes[BOB].delegation or b"", "is for the node key"),
    "stolen, its key changed": (
        lambda here: _with(here.nodes[BOB].delegation, node_key=bytes.fromhex(here.nodes[EVE].id)),
        "signed by another than its owner",
    ),
    "of bob's owner, signed by eve": (
        lambda here: _changed(here, owner=address_of_secret(BOBS_SECRET)),
        "signed by another than its owner",
    ),
    "of bob's owner, who is said to be a contract": (_of_bobs_owner_as_a_contract, "did not sign its delegation"),
    "expired": (
        lambda here: encode(
            by_eve(here.nodes[EVE], not_before_unix_s=NOW - 2 * DAY_S, not_after_unix_s=NOW - DAY_S),
        ),
        "ended 24 hours ago",
    ),
    "its end changed": (lambda here: _changed(here, not_after_unix_s=NOW + 5 * DAY_S), "signed by another"),
    "not yet in force": (
        lambda here: encode(by_eve(here.nodes[EVE], not_before_unix_s=NOW + DAY_S, not_after_unix_s=NOW + 2 * DAY_S)),
        "begins only in",
    ),
    "for too long": (lambda here: encode(by_eve(here.nodes[EVE], not_after_unix_s=NOW + 91 * DAY_S)), "90 days"),
    "of a revoked epoch that was changed": (lambda here: _changed(here, epoch=7), "signed by another"),
    "malleated": (lambda here: _resigned(here, _malleated), "a high s"),
    "a byte short": (lambda here: _resigned(here, lambda it: it[:-1]), "64 bytes"),
    "a byte long": (lambda here: _resigned(here, lambda it: it + b"\0"), "66 bytes"),
    "unsigned": (lambda here: _resigned(here, lambda _: b""), "0 bytes"),
    "of zeros": (lambda here: _resigned(here, lambda _: bytes(65)), "an r or s that no signature has"),
    "of another v": (lambda here: _resigned(here, lambda it: it[:-1] + b"\x1d"), "it must be 0, 1, 27 or 28"),
    "for another chain": (
        lambda here: encode(by_eve(here.nodes[EVE], domain=Domain(1, PROFILE.contract))),
        "is for chain 1, stakes are on chain 31337",
    ),
    "for another contract": (
        lambda here: encode(by_eve(here.nodes[EVE], domain=Domain(PROFILE.chain_id, address_of(b"\x12" * 20)))),
        "is for the contract 0x1212",
    ),
    "its chain changed": (lambda here: _changed(here, domain=Domain(1, PROFILE.contract)), "is for chain 1"),
    "empty": (lambda _: b"", "malformed"),
    "garbage": (lambda _: random.Random(1).randbytes(1024), "malformed"),  # noqa: S311 - a test
    "one more field": (
        lambda here: msgspec.msgpack.encode(msgspec.msgpack.decode(encode(by_eve(here.nodes[EVE]))) | {"staked": True}),
        "malformed",
    ),
}


def _with(delegation: bytes | None, **changes: Any) -> bytes:  # noqa: ANN401 - fields
    signed = decode(delegation or b"")
    return encode(msgspec.structs.replace(signed, delegation=msgspec.structs.replace(signed.delegation, **changes)))


@pytest.mark.parametrize("name", BAD)
@virtual_time
async def test_a_bad_delegation_makes_nobody_staked(name: str) -> None:
    make, why = BAD[name]
    async with world("ab", chain=CountingChain({address_of_secret(EVES_SECRET): 10 * MINIMUM})) as here:
        ada, eve = here.stakings[0], here.nodes[EVE]
        eve.delegation = make(here)
        await until(lambda: why in ada.of(eve.id).reason, within_s=30)
        assert ada.of(eve.id).answer == "not staked"
        assert ada.of(here.nodes[BOB].id).answer == "staked"  # what she shows of him does him no harm
        told = await here.ada.ask()
        assert (told.is_whole, told.served_by) == (True, here.nodes[BOB].id)
        assert eve.served == []
        here.stakings[EVE].of = lambda _: ada.of(here.nodes[BOB].id)  # type: ignore[method-assign] - she asks anybody
        here.stakings[EVE].own = lambda: ada.of(here.nodes[BOB].id)  # type: ignore[method-assign]
        eve.catalog.remove(next(provider for provider, _ in eve.catalog.all_offers() if provider.is_local))
        told = await eve.ask()
        assert isinstance(told.error, StakeDemanded), told
        assert why in told.error.message
        assert address_of_secret(EVES_SECRET) not in _owners(here)  # nothing was asked of the chain for it


@virtual_time
async def test_a_good_delegation_of_eves_own_owner_would_do() -> None:
    """So that the tests above refuse for the reason that they name."""
    async with world("ab", chain=CountingChain({address_of_secret(EVES_SECRET): 10 * MINIMUM})) as here:
        here.nodes[EVE].delegation = encode(by_eve(here.nodes[EVE]))
        await until(lambda: here.stakings[0].of(here.nodes[EVE].id).answer == "staked", within_s=30)


def _owners(here: World) -> list[Address]:
    assert isinstance(here.chain, CountingChain)
    return here.chain.owners


@virtual_time
async def test_garbage_of_every_length_is_refused_and_nothing_is_asked_for_it() -> None:
    rng = random.Random(4)  # noqa: S311 - a test
    good = Owner("eve").delegates(node(1))
    here = GateWorld()
    async with here.running() as gate:
        for length in range(1500):
            for data in (rng.randbytes(length), good[:length], good + bytes(length), bytes(length), b"\xc1" * length):
                if data != good:
                    verdict = gate.verdict(node(1), data)
                    assert verdict.answer == "not staked", data
                    assert len(verdict.reason) < 500
        assert gate.verdict(node(1), good).answer == "unknown"
        await asyncio.sleep(1)
    assert here.chain.asked == [Owner("eve").address]
    assert here.chain.asked_signatures == []


# ---- adverts: who may say what of whom ----


@virtual_time
async def test_a_peer_whose_advert_loses_its_delegation_is_asked_no_more() -> None:
    async with world("ab") as here:
        bob = here.nodes[BOB]
        assert (await here.ada.ask()).served_by == bob.id
        kept, bob.delegation = bob.delegation, None
        await until(lambda: "it shows no delegation" in here.stakings[0].of(bob.id).reason, within_s=30)
        assert isinstance((await here.ada.ask()).error, NoStakedPeer)
        bob.delegation = kept
        await until(lambda: here.stakings[0].of(bob.id).answer == "staked", within_s=30)
        assert (await here.ada.ask()).served_by == bob.id


@virtual_time
async def test_a_liar_cannot_take_or_give_a_delegation_in_anothers_advert() -> None:
    async with world("ab") as here:
        ada, bob = here.nodes[0], here.nodes[BOB]
        known = ada.network.gossip.advert_of(bob.id)
        assert known is not None
        liar = Eve(ada.transport.network.transport(66), ada.transport.address())
        later = known.advert.sequence + 10_000_000
        changed = msgspec.structs.replace(known.advert, sequence=later, delegation=None)
        forged = msgspec.msgpack.encode(changed) + known.signed[-64:]
        old = known.signed
        for lie in (forged, old, _resealed(liar, changed), advert(liar.transport.keys, later, time.time())):
            link, control = await liar.enter()
            async with asyncio.TaskGroup() as group:
                staying = group.create_task(_say(liar, control, lie))
                await asyncio.sleep(3)
                staying.cancel()
            link.close("bye")
            await asyncio.sleep(1)
            assert here.stakings[0].of(bob.id).answer == "staked"
            held = ada.network.gossip.advert_of(bob.id)
            assert held is not None
            assert held.advert.delegation == bob.delegation
        stolen = advert(liar.transport.keys, later + 1, time.time(), delegation=bob.delegation)
        link, control = await liar.enter()
        async with asyncio.TaskGroup() as group:
            staying = group.create_task(_say(liar, control, stolen))
            await until(
                lambda: "is for the node key" in here.stakings[0].of(NodeId(liar.transport.keys.node_id)).reason, 30
            )
            staying.cancel()
        assert here.stakings[0].of(bob.id).answer == "staked"


def _resealed(liar: Eve, changed: Advert) -> bytes:
    """In bob's name, with the liar's signature."""
    payload = msgspec.msgpack.encode(changed)
    return payload + liar.transport.keys.sign(b"masa advert 1\n" + payload)


async def _say(liar: Eve, control: ControlStream, lie: bytes) -> None:
    await liar.stay(control, tells=pushed(lie))


@virtual_time
async def test_a_delegation_that_a_third_one_relays_counts_for_its_own_node_only() -> None:
    async with world("ab") as here:
        ada, bob = here.nodes[0], here.nodes[BOB]
        third = ada.transport.network.transport(77)
        secret = b"\x77" * 32
        here.chain.stakes[address_of_secret(secret)] = MINIMUM
        delegation = Delegation(
            address_of_secret(secret), bytes.fromhex(third.keys.node_id), 0, NOT_BEFORE, NOT_BEFORE + DAY_S, HERE
        )
        word = encode(SignedDelegation(delegation, sign(digest(delegation), secret)))
        liar = Eve(ada.transport.network.transport(66), ada.transport.address())
        _, control = await liar.enter()
        told = advert(third.keys, 5, time.time(), delegation=word)
        own = advert(liar.transport.keys, 5, time.time(), delegation=word)
        async with asyncio.TaskGroup() as group:
            staying = group.create_task(liar.stay(control, tells=pushed(told) + pushed(own)))
            await until(lambda: here.stakings[0].of(NodeId(third.keys.node_id)).answer == "staked", 30)
            assert here.stakings[0].of(NodeId(liar.transport.keys.node_id)).answer == "not staked"
            assert (await ada.ask(model=MODEL)).served_by == bob.id
            staying.cancel()
