"""Adverts of nodes that are not linked: they cost nobody else a place, and lead this node nowhere in crowds."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from masa_node.network import askable as askable_module
from masa_node.network.dialing import MAX_AT_ONE_PLACE
from masa_node.network.gossip.adverts import AdvertModel
from masa_node.network.links.peer_record import MembershipLevel
from masa_node.network.transport.interfaces import PeerAddress
from masa_node.network.transport.memory import MemoryLink
from tests.security.hostile_peers import EVERY_ENDPOINT, Eve, Siege, advert, beside, pushed, siege
from tests.virtual_time import virtual_time

MOST_MODELS = 40
VICTIM = "10.7.7.7"


def told(here: Siege, number: int, models: int, addresses: Sequence[str] = ()) -> bytes:
    """The advert of a key of its own, that nobody but eve has seen."""
    return advert(
        here.network.keys(20_000 + number),
        1,
        time.time(),
        addresses=tuple(addresses) or (f"10.9.{number >> 8}.{number & 255}:7",),
        models=tuple(AdvertModel(f"m-{number}-{each}", EVERY_ENDPOINT) for each in range(models)),
    )


async def tell(here: Siege, eve: Eve, adverts: Sequence[bytes]) -> None:
    """Ada hears all of these from her."""
    _, control = await eve.enter()
    async with beside(eve.stay(control, tells=b"".join(pushed(each) for each in adverts))):
        await asyncio.sleep(2)


@pytest.mark.parametrize("of_each", [4, MOST_MODELS])
@virtual_time
async def test_strangers_with_many_models_keep_no_other_out_of_the_catalog(
    of_each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(askable_module, "MAX_DISTANT_MODELS", MOST_MODELS)
    async with siege() as here:
        crowd = [told(here, number, of_each) for number in range(MOST_MODELS // of_each)]
        await tell(here, here.eve, [*crowd, told(here, 100, 1)])
        assert here.ada.catalog.knows("m-100-0")
        assert here.ada.network._askable._models <= MOST_MODELS


@virtual_time
async def test_a_member_is_not_kept_out_by_any_number_of_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(askable_module, "MAX_DISTANT_MODELS", MOST_MODELS)
    async with siege() as here:
        assert here.ada.book is not None
        member = here.network.keys(20_100).node_id
        here.ada.book.admit(member, MembershipLevel.INVITED, None, time.time())
        await tell(here, here.eve, [*(told(here, number, 1) for number in range(MOST_MODELS)), told(here, 100, 9)])
        askable = here.ada.network._askable
        assert askable._distant[member] == 9
        assert askable._models == sum(askable._distant.values()) == MOST_MODELS
        await tell(here, here.another_eve(1), [told(here, number, 1) for number in range(200, 300)])
        assert askable._distant[member] == 9


@virtual_time
async def test_adverts_of_many_nodes_at_one_address_are_dialed_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of thousands would else be turned against one victim; others are dialed meanwhile."""
    async with siege() as here:
        ada, most_at_once = here.ada, 0
        dial = ada.transport.dial

        async def watched(address: PeerAddress) -> MemoryLink:
            nonlocal most_at_once
            dialed = [each for to in ada.network._dialing._dialing.values() for each in to.direct[:1]]
            most_at_once = max(most_at_once, sum(each.startswith(VICTIM) for each in dialed))
            return await dial(address)

        monkeypatch.setattr(ada.transport, "dial", watched)
        crowd = [told(here, number, 1, [f"{VICTIM}:{number + 1}", f"{VICTIM}:{number + 2}"]) for number in range(60)]
        others = range(100, 110)
        await tell(here, here.eve, [*crowd, *(told(here, number, 1) for number in others)])
        await asyncio.sleep(30)
        assert most_at_once == MAX_AT_ONE_PLACE
        assert ada.book is not None
        assert {here.network.keys(20_000 + number).node_id for number in others} <= ada.book.retries.keys()
