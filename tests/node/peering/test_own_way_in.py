"""What a node keeps of its way in, which relay it uses, and when it dials again at once."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from masa_node.network.links.peer_record import MembershipLevel
from masa_node.network.store.commands import CommandState
from masa_node.network.store.store import Store
from masa_node.network.transport.interfaces import NodeId, PeerAddress, WayIn
from masa_node.network.transport.memory import MemoryNetwork, MemoryTransport
from masa_node.node.peering import own_way_in
from masa_node.node.peering.own_way_in import OwnWayIn, relay_in_force
from masa_node.node.settings.environment import Settings
from tests.network.nodes import MemoryNode, make

RELAY = "https://relay.example.org"


class Placed:
    """A node, its store, and what is under test; `dials` counts how often all pauses were ended."""

    def __init__(self, node: MemoryNode, store: Store, settings: Settings) -> None:
        self.node, self.store = node, store
        self.own = OwnWayIn(store, node.network, node.transport, settings)
        self.dials = 0
        node.network.dial_again = self._count  # type: ignore[method-assign]

    def _count(self) -> None:
        self.dials += 1

    async def address(self) -> PeerAddress:
        return msgspec.msgpack.decode(await self.store.value("address") or b"", type=PeerAddress)


@asynccontextmanager
async def placed(masa_dir: Path, settings: Settings | None = None) -> AsyncIterator[Placed]:
    (node,) = make(MemoryNetwork(seed=1), 1)
    store = await Store.open(masa_dir)
    try:
        yield Placed(node, store, settings or Settings())
    finally:
        await store.close()


def seen_from_outside(transport: MemoryTransport, monkeypatch: pytest.MonkeyPatch, *direct: str) -> None:
    """A router has a port for it: what others are told is not what was bound."""
    monkeypatch.setattr(transport, "address", lambda: PeerAddress(NodeId("a" * 64), direct))


def bound_to(transport: MemoryTransport, monkeypatch: pytest.MonkeyPatch, way_in: WayIn) -> None:
    async def there() -> WayIn:
        return way_in

    monkeypatch.setattr(transport, "way_in", there)


async def test_the_port_that_was_bound_is_kept_and_not_the_routers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with placed(tmp_path) as here:
        seen_from_outside(here.node.transport, monkeypatch, "81.2.69.7:61000", "192.168.1.5:4433")
        bound_to(here.node.transport, monkeypatch, WayIn(("[::]:4434", "0.0.0.0:4433")))
        await here.own.begin()
        await here.own.look(1.0)
        assert await here.store.value("peer_port") == b"4433"
        assert (await here.address()).direct[0] == "81.2.69.7:61000"


async def test_a_change_of_address_ends_all_pauses_and_the_first_look_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with placed(tmp_path) as here:
        await here.own.look(1.0)
        await here.own.look(1.0)
        assert here.dials == 0
        seen_from_outside(here.node.transport, monkeypatch, "192.168.7.7:4433")
        await here.own.look(1.0)
        await here.own.look(1.0)
        assert here.dials == 1
        assert (await here.address()).direct == ("192.168.7.7:4433",)


async def test_after_a_sleep_of_the_machine_all_pauses_are_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with placed(tmp_path) as here:
        await here.own.look(1.0)
        woken_s = own_way_in.lasting_s() + 60
        monkeypatch.setattr(own_way_in, "lasting_s", lambda: woken_s)
        await here.own.look(1.0)
        await here.own.look(1.0)
        assert here.dials == 1


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="no clock that nobody sets goes on while it sleeps")
async def test_a_clock_that_is_set_is_no_sleep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with placed(tmp_path) as here:
        await here.own.look(1.0)
        for by_s in (600, -600):
            set_unix_s = time.time() + by_s
            monkeypatch.setattr(own_way_in.time, "time", lambda set_unix_s=set_unix_s: set_unix_s)
            await here.own.look(1.0)
        assert here.dials == 0


async def test_the_relays_return_ends_all_pauses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with placed(tmp_path) as here:
        await here.node.transport.use_relay(RELAY)
        await here.own.look(1.0)
        for home, dials in ((RELAY, 1), (None, 1), (RELAY, 2), (RELAY, 2)):
            bound_to(here.node.transport, monkeypatch, WayIn(home_relay=home))
            await here.own.look(1.0)
            assert here.dials == dials


async def test_a_relay_that_is_lost_is_tried_again_until_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_way_in, "SETTLED_S", 0.0)
    tried: list[str] = []

    async def note(url: str) -> bool:
        tried.append(url)
        return False

    async with placed(tmp_path, Settings(relay_url=RELAY)) as here:
        monkeypatch.setattr(here.node.transport, "connect_again", note)
        await here.node.transport.use_relay(RELAY)
        await here.own.begin()
        for home, times in ((None, 0), (None, 1), (RELAY, 1), (None, 1), (None, 2), (None, 3), (RELAY, 3), (RELAY, 3)):
            bound_to(here.node.transport, monkeypatch, WayIn(home_relay=home))
            await here.own.look(1.0)
            assert tried == [RELAY] * times


async def test_a_relay_that_answers_again_is_waited_for_and_peers_are_dialed_in_the_same_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_way_in, "SETTLED_S", 0.0)

    async with placed(tmp_path, Settings(relay_url=RELAY)) as here:

        async def take_in(_: str) -> bool:
            later.append(asyncio.get_running_loop().call_later(0.2, bound_to, here.node.transport, monkeypatch, back))
            return True

        later, back = list[asyncio.TimerHandle](), WayIn(home_relay=RELAY)
        monkeypatch.setattr(here.node.transport, "connect_again", take_in)
        await here.node.transport.use_relay(RELAY)
        bound_to(here.node.transport, monkeypatch, WayIn())
        await here.own.begin()
        await here.own.look(1.0)
        assert (len(later), here.dials) == (0, 0), "first it is given the time of a start"
        for _ in range(2):
            await here.own.look(1.0)
            assert (len(later), here.dials) == (1, 1)


async def test_the_way_in_is_settled_after_a_while_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with placed(tmp_path) as here:
        await here.store.set_value("settled", b"1")  # of the run before
        await here.own.begin()
        await here.own.look(1.0)
        assert await here.store.value("settled") == b""
        monkeypatch.setattr(own_way_in, "SETTLED_S", 0.0)
        await here.own.look(1.0)
        assert await here.store.value("settled") == b"1"


async def test_commands_are_told_which_relay_is_to_be_waited_for(tmp_path: Path) -> None:
    async def awaited(here: Placed) -> bytes | None:
        return await here.store.value("awaited_relay")

    async with placed(tmp_path, Settings(relay_url=RELAY)) as here:
        await here.own.begin()
        assert await awaited(here) == RELAY.encode()
    async with placed(tmp_path) as here:
        await here.own.begin()
        assert not await awaited(here), "no longer"
        await here.own.choose_relay(RELAY)
        assert await awaited(here) == RELAY.encode()
        await here.own.choose_relay("none")
        assert not await awaited(here)


async def test_a_relay_that_does_not_take_this_node_in_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_way_in, "SETTLED_S", 0.0)
    async with placed(tmp_path) as here:
        await here.node.transport.use_relay(RELAY)
        bound_to(here.node.transport, monkeypatch, WayIn())
        with capture_logs() as lines:
            for _ in range(3):
                await here.own.look(1.0)
    assert [(line["event"], line["relays"]) for line in lines] == [("relay not reached", [RELAY])]


@pytest.mark.parametrize(("choice", "relays"), [(RELAY, {RELAY}), ("public", {"public"}), ("none", set())])
async def test_the_owners_relay_is_used_at_once_and_kept(tmp_path: Path, choice: str, relays: set[str]) -> None:
    async with placed(tmp_path) as here:
        await here.node.transport.use_relay("https://another.example.org")
        assert (await here.own.choose_relay(choice)).state is CommandState.DONE
        assert here.node.transport.relays == relays
        assert await relay_in_force(here.store, Settings()) == (choice if relays else None)


async def test_what_the_settings_say_counts_before_what_was_chosen(tmp_path: Path) -> None:
    settings = Settings(relay_url="https://another.example.org")
    async with placed(tmp_path, settings) as here:
        refused = await here.own.choose_relay(RELAY)
        assert refused.state is CommandState.FAILED
        assert "RELAY_URL is set" in refused.words
        await here.store.set_value("relay", RELAY.encode())
        assert await relay_in_force(here.store, settings) == "https://another.example.org"


@pytest.mark.parametrize(("choice", "is_kept"), [(RELAY, True), ("none", False)])
async def test_a_peer_that_came_by_a_relay_is_dialed_there_until_the_owner_wants_none(
    tmp_path: Path, choice: str, *, is_kept: bool
) -> None:
    guest = NodeId("b" * 64)
    async with placed(tmp_path) as here:
        address = PeerAddress(guest, (), RELAY)
        here.node.network.book.admit(guest, MembershipLevel.INVITED, address, time.time())
        await here.own.choose_relay(choice)
        assert (here.node.network.book.all()[0].relay_url == RELAY) is is_kept


async def test_what_is_no_relay_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    async with placed(tmp_path) as here:
        await here.node.transport.use_relay(RELAY)
        assert (await here.own.choose_relay("relay.example.org")).state is CommandState.FAILED
        assert here.node.transport.relays == {RELAY}
        await here.store.set_value("relay", b"\xff nonsense")
        assert await relay_in_force(here.store, Settings()) is None


async def test_a_cancelled_look_leaves_the_store_usable(tmp_path: Path) -> None:
    async with placed(tmp_path) as here:
        looking = asyncio.create_task(here.own.look(1.0))
        await asyncio.sleep(0)
        looking.cancel()
        await asyncio.wait([looking])
        await here.own.look(1.0)
        assert (await here.address()).direct
