"""One invited member is not everybody: how many it can bring in, and that they go when it goes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from masa_node.network import network as network_module
from masa_node.network.links import links as links_module
from masa_node.network.links.control import Hello
from masa_node.network.links.frames import FrameKind, frame, header_frame
from masa_node.network.links.invites import token_hash
from masa_node.network.links.peer_record import MembershipLevel
from masa_node.network.links.session import ControlStream
from masa_node.network.links.vouched import MAX_VOUCHED
from masa_node.network.links.vouchers import make_voucher
from masa_node.network.store.commands import OwnerCommand, Verb, apply
from masa_node.network.transport.interfaces import Link
from masa_node.network.transport.memory import MemoryKeys, MemoryNetwork
from tests.network.nodes import CLOSED, MemoryNode, make, running
from tests.security.hostile_peers import GONE
from tests.virtual_time import settle, virtual_time

TOKEN = bytes(range(16))
KEYS = 262  # as many as broke all bounds before


class Ring:
    """One invited member, `1000`, and keys that it makes itself."""

    def __init__(self, network: MemoryNetwork, ada: MemoryNode) -> None:
        self.network = network
        self.ada = ada
        self.links: dict[int, Link] = {}
        self.told: dict[int, list[bytes]] = {}  # vouchers that ada gave
        self._tasks: list[asyncio.Task[None]] = []

    def keys(self, number: int) -> MemoryKeys:
        return self.network.keys(1000 + number)

    def word(self, by: int, of: int) -> bytes:
        return make_voucher(self.keys(of).node_id, self.keys(by), time.time())

    async def enter(self, number: int, *vouchers: bytes, invite: bytes | None = None) -> bool:
        """Is this key let in with these words? It answers heartbeats from then on."""
        link = await self.network.transport(1000 + number).dial(self.ada.transport.address())
        control = ControlStream(await link.open())
        await control.write(header_frame(FrameKind.HELLO, Hello("evil", "", invite, vouchers)))
        kind, _ = await control.next()
        if kind is not FrameKind.WELCOME:
            link.close("refused")
            await asyncio.sleep(0.1)
            return False
        self.links[number] = link
        self._tasks.append(asyncio.create_task(self._stay(number, control)))
        await settle()
        return True

    async def leave(self, number: int) -> None:
        """So that its key can dial again."""
        if number in self.links:
            self.links.pop(number).close("bye")
        transport = self.network.transport_of(self.keys(number).node_id)
        if transport is not None:
            await transport.close()
        await asyncio.sleep(1)

    async def _stay(self, number: int, control: ControlStream) -> None:
        with contextlib.suppress(*GONE):
            while True:
                kind, payload = await control.next()
                if kind is FrameKind.PING:
                    await control.write(frame(FrameKind.PONG, payload))
                elif kind is FrameKind.VOUCH:
                    self.told.setdefault(number, []).append(payload)

    @property
    def linked(self) -> set[int]:
        """Which of its keys ada is linked with."""
        ids = {self.keys(number).node_id: number for number in range(KEYS + 1)}
        return {ids[peer] for peer in self.ada.network.links.sessions if peer in ids}


@contextlib.asynccontextmanager
async def ring() -> AsyncIterator[Ring]:
    network = MemoryNetwork(seed=11)
    (ada,) = make(network, 1, CLOSED)
    ada.invites[token_hash(TOKEN)] = 1
    here = Ring(network, ada)
    async with running(ada):
        await settle()
        assert await here.enter(0, invite=TOKEN)
        await asyncio.sleep(1)
        yield here
        for task in here._tasks:
            task.cancel()


@virtual_time
async def test_a_chain_of_words_ends_with_the_one_that_was_invited() -> None:
    async with ring() as here:
        came = [await here.enter(number, here.word(number - 1, number)) for number in range(1, KEYS + 1)]
        assert came == [True] + [False] * (KEYS - 1)  # the first is vouched for by the one that was invited
        assert here.linked == {0, 1}
        record = here.ada.book.get(here.keys(1).node_id)
        assert record is not None
        assert (record.membership, record.vouched_by) == (MembershipLevel.VOUCHED, here.keys(0).node_id)


@virtual_time
async def test_an_invited_member_brings_in_a_few_and_no_more_however_it_goes_about_it() -> None:
    async with ring() as here:
        for number in range(1, KEYS + 1):
            by = number - 1 if number % 2 else 0
            await here.enter(number, here.word(0, number), here.word(by, number))
        assert len(here.linked) == MAX_VOUCHED[MembershipLevel.INVITED] + 1
        assert len(here.ada.book.all()) == MAX_VOUCHED[MembershipLevel.INVITED] + 1


@virtual_time
async def test_many_that_greet_at_the_same_moment_are_no_more() -> None:
    async with ring() as here:
        await asyncio.gather(*(here.enter(number, here.word(0, number)) for number in range(1, 61)))
        await asyncio.sleep(1)
        assert len(here.linked) == MAX_VOUCHED[MembershipLevel.INVITED] + 1


@pytest.mark.parametrize("verb", [Verb.BLOCK, Verb.FORGET])
@virtual_time
async def test_blocking_or_forgetting_it_evicts_all_that_it_brought_and_they_stay_out(verb: Verb) -> None:
    async with ring() as here:
        for number in range(1, 9):
            assert await here.enter(number, here.word(0, number))
        await asyncio.sleep(2)
        assert len(here.linked) == 9
        told = apply(OwnerCommand(1, verb, here.keys(0).node_id, 0), here.ada.book, time.time())
        here.ada.network.book_changed()
        assert "8 peers that it alone vouched for" in told.words
        await asyncio.sleep(1)
        assert here.linked == set()
        given = here.told.get(0, [])
        for number in range(9):
            await here.leave(number)
            assert not await here.enter(number, here.word(0, number), *given[:1], *here.told.get(number, [])[:1])


@virtual_time
async def test_who_came_by_a_word_gets_none_to_show_to_others() -> None:
    async with ring() as here:
        assert await here.enter(1, here.word(0, 1))
        await asyncio.sleep(5)
        assert len(here.told[0]) == 1
        assert 1 not in here.told


@virtual_time
async def test_a_member_gets_a_link_although_those_that_came_by_a_word_hold_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(links_module, "MAX_LINKS", 8)
    monkeypatch.setattr(network_module, "MAX_LINKS", 8)
    async with ring() as here:
        for number in range(1, 8):
            assert await here.enter(number, here.word(0, number))
            await asyncio.sleep(1)
        assert not await here.enter(8, here.word(0, 8))  # a word alone takes nobody's link
        bob, carol = MemoryNode(here.network.transport(2), CLOSED), MemoryNode(here.network.transport(3), CLOSED)
        here.ada.network.book.admit(bob.id, MembershipLevel.INVITED, None, time.time())
        bob.network.want([here.ada.transport.address()])
        carol.network.book.admit(here.ada.id, MembershipLevel.INVITED, None, time.time())
        async with running(bob, carol):
            await asyncio.sleep(5)
            here.ada.network.want([carol.transport.address()])  # it is dialed, although all links are taken
            await asyncio.sleep(5)
            assert {bob.id, carol.id} <= set(here.ada.network.links.sessions)
            assert here.linked == {0, 1, 2, 3, 4, 5}  # the newest went, the one that was invited stays
            assert len(here.ada.network.links.sessions) == 8


@virtual_time
async def test_a_word_of_a_stranger_that_is_in_force_lets_nobody_in() -> None:
    async with ring() as here:
        assert not await here.enter(5, here.word(7, 5))
