"""What may go wrong beside the chain, and what strangers and owners may try: no verdict is better or worse for it."""

import asyncio

import pytest
from structlog.testing import capture_logs

from masa_node.chat.errors import ChainUnknown
from masa_node.staking.delegation import SignedDelegation, digest, encode
from masa_node.staking.ethereum.crypto import Address, address_of, sign
from masa_node.staking.gate import delegation_cache as shown_module
from masa_node.staking.gate.cache import JITTER, STALE_S, CacheRules
from masa_node.staking.gate.query_queue import MAX_QUERIES
from masa_node.staking.gate.values import Reading, StakeAnswer
from tests.staking.delegations import Owner, node, of_contract
from tests.staking.gate.gate_world import MASA, World
from tests.virtual_time import settle, virtual_time

A, B = node(1), node(2)
OWNER = Owner()
SAFE = address_of(b"\x5a" * 20)


def staked_world(*owners: Address) -> World:
    world = World()
    for owner in owners:
        world.chain.stakes[owner] = 1000 * MASA
    return world


@virtual_time
async def test_a_signature_whose_check_failed_is_not_taken_for_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    delegation = OWNER.delegation(A)
    forged = encode(SignedDelegation(delegation, sign(digest(delegation), Owner("thief").secret)))

    def no_memory(signed: SignedDelegation) -> None:
        raise MemoryError

    async with staked_world(OWNER.address).running() as gate:
        with monkeypatch.context() as patch:
            patch.setattr(shown_module, "check_signature", no_memory)
            with pytest.raises(MemoryError):
                gate.verdict(A, forged)
        verdict = await gate.verdict_when_known(A, forged)
    assert verdict.answer is StakeAnswer.NOT_STAKED
    assert "signed by another" in verdict.reason


@virtual_time
async def test_a_cancellation_from_within_a_look_up_costs_no_place_for_look_ups() -> None:
    world = staked_world(OWNER.address)
    async with world.running() as gate:
        world.chain.fails = asyncio.CancelledError()
        with capture_logs() as lines:
            for number in range(10, 10 + MAX_QUERIES):
                verdict = await gate.verdict_when_known(node(number), Owner(f"{number}").delegates(node(number)))
                assert verdict.answer is StakeAnswer.UNKNOWN
        assert [line["kind"] for line in lines] == ["CancelledError"] * MAX_QUERIES
        world.chain.fails = None
        async with asyncio.timeout(60):
            assert (await gate.verdict_when_known(A, OWNER.delegates(A))).answer is StakeAnswer.STAKED


@virtual_time
async def test_a_look_up_that_fails_while_it_is_cancelled_does_not_keep_the_gate_from_ending() -> None:
    world = staked_world(OWNER.address)

    async def fails_at_its_end(owner: Address) -> Reading:
        try:
            await asyncio.sleep(20)
        finally:
            raise ZeroDivisionError("a bug")

    world.chain.read = fails_at_its_end  # type: ignore[method-assign]
    running = asyncio.get_running_loop().create_task(world.gate.run(world.keep))
    await settle(3)
    world.gate.verdict(A, OWNER.delegates(A))
    await settle(3)
    running.cancel()
    done, _ = await asyncio.wait([running], timeout=60)
    assert done
    assert running.cancelled()


@virtual_time
async def test_a_contract_without_stake_is_not_staked_though_its_word_cannot_be_had_and_is_not_asked_for_it_again() -> (
    None
):
    """Anybody can make a contract whose word is too long for an answer: that is to make nobody `unknown`."""
    world = World()
    asked: list[bytes] = []

    async def too_long(owner: Address, digest: bytes, signature: bytes) -> bool:
        asked.append(signature)
        raise ChainUnknown("what came is larger than 256 KiB")

    world.chain.is_signed = too_long  # type: ignore[method-assign]
    shows = of_contract(SAFE, A, b"signature")
    async with world.running() as gate:
        for _ in range(10):
            verdict = await gate.verdict_when_known(A, shows)
            assert verdict.answer is StakeAnswer.NOT_STAKED
            assert "has no stake" in verdict.reason
            await asyncio.sleep(30)
        assert len(asked) == 1
        world.chain.stakes[SAFE] = 1000 * MASA
        await asyncio.sleep(70)
        await gate.verdict_when_known(A, shows)
        await asyncio.sleep(1)
        verdict = await gate.verdict_when_known(A, shows)  # with a stake, it depends on its word
    assert verdict.answer is StakeAnswer.UNKNOWN
    assert len(asked) == 2


@virtual_time
async def test_a_contract_that_deposits_after_it_was_found_without_stake_is_staked_soon() -> None:
    world = World()
    world.chain.signed.add(b"good")
    shows = of_contract(SAFE, A, b"good")
    async with world.running() as gate:
        assert (await gate.verdict_when_known(A, shows)).answer is StakeAnswer.NOT_STAKED
        world.chain.stakes[SAFE] = 1000 * MASA
        for _ in range(70):
            await asyncio.sleep(1)
            gate.verdict(A, shows)
        assert (await gate.verdict_when_known(A, shows)).answer is StakeAnswer.STAKED


@pytest.mark.parametrize("jitter", [-JITTER, 0.0, JITTER])
def test_no_reading_is_used_for_more_than_an_hour_whatever_the_profile_says(jitter: float) -> None:
    fresh_s, usable_s = CacheRules(3600.0).lifetime_s(0.0, jitter, is_good=True)
    assert fresh_s <= usable_s <= STALE_S
