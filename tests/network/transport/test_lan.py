import asyncio
import contextlib
import secrets
import socket
import struct
from collections.abc import AsyncGenerator, Callable

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from zeroconf import InterfaceChoice, ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from masa_node.network.transport import lan as discovery
from masa_node.network.transport.interfaces import MAX_ADDRESSES, NodeId, PeerAddress
from masa_node.network.transport.lan import (
    CHECK_EVERY_S,
    FORGET_EVERY_S,
    MAX_FOUND,
    MAX_WAITING,
    RETRY_AFTER_S,
    SERVICE,
    LanDiscovery,
    announcement,
    peer_in,
)
from tests.virtual_time import now_s, settle, virtual_time

OWN, OTHER = NodeId("0e" * 32), NodeId("ab" * 32)
LAN = PeerAddress(OWN, ("192.168.1.5:4433", "[fd00::5]:5544", "10.0.0.5:4433", "127.0.0.1:4433"))
RECORDS: dict[bytes, bytes | None] = {b"id": OTHER.encode(), b"protocol": b"masa"}
HANGS_AFTER_S = 30.0


def multicast_works() -> bool:
    """Does a packet to mDNS' group, sent on loopback, come back?"""
    group, port = "224.0.0.251", 0
    with contextlib.ExitStack() as stack:
        ears, mouth = (stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2))
        try:
            ears.bind(("", port))
            membership = struct.pack("4s4s", socket.inet_aton(group), socket.inet_aton("127.0.0.1"))
            ears.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            ears.settimeout(1.0)
            mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            mouth.sendto(b"x", (group, ears.getsockname()[1]))
            return ears.recv(1) == b"x"
        except OSError:
            return False


needs_multicast = pytest.mark.skipif(not multicast_works(), reason="no multicast on this machine's loopback")


def service(node_id: str, *addresses: str, port: int = 4433, name: str = "") -> AsyncServiceInfo:
    """What another node, or somebody who says to be one, announces."""
    name = name or f"masa-{node_id[:16]}"
    packed = [socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address) for address in addresses]
    properties = {"id": node_id, "protocol": "masa"}
    return AsyncServiceInfo(
        SERVICE, f"{name}.{SERVICE}", port=port, addresses=packed, properties=properties, server=f"{name}.local."
    )


# ---- records ----


def test_what_is_announced_is_read_as_it_was_meant() -> None:
    info = announcement(LAN)
    assert info is not None
    read = peer_in(info.properties, info.parsed_addresses(), info.port or 0, is_local=False)
    assert read == PeerAddress(OWN, ("192.168.1.5:4433", "10.0.0.5:4433"))


def test_a_loopback_address_is_announced_only_where_there_is_no_other() -> None:
    info = announcement(PeerAddress(OWN, ("127.0.0.1:1",)))
    assert info is not None
    assert info.parsed_addresses() == ["127.0.0.1"]


@pytest.mark.parametrize("direct", [(), ("garbage",)])
def test_a_node_without_an_address_announces_nothing(direct: tuple[str, ...]) -> None:
    assert announcement(PeerAddress(OWN, direct)) is None


@pytest.mark.parametrize(
    "records",
    [
        {},
        {b"id": None, b"protocol": b"masa"},
        {b"id": b"", b"protocol": b"masa"},
        {b"id": OTHER.upper().encode(), b"protocol": b"masa"},
        {b"id": OTHER[:-1].encode(), b"protocol": b"masa"},
        {b"id": b"\xff" * 64, b"protocol": b"masa"},
        {b"id": OTHER.encode()},
        {b"id": OTHER.encode(), b"version": b"masa/2"},
    ],
)
def test_records_of_no_node_that_can_be_linked_with_are_passed_over(records: dict[bytes, bytes | None]) -> None:
    assert peer_in(records, ["192.168.1.9"], 1, is_local=False) is None


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("127.0.0.1", 1),
        ("::1", 1),
        ("0.0.0.0", 1),  # noqa: S104 - what a hostile record says
        ("224.0.0.1", 1),
        ("2002:7f00:1::", 1),
        ("192.168.1.9", 0),
        ("192.168.1.9", 65536),
        ("fe80::1%3", 1),
        ("garbage", 1),
    ],
)
def test_records_that_lead_nowhere_or_back_to_this_machine_are_passed_over(address: str, port: int) -> None:
    assert peer_in(RECORDS, [address], port, is_local=False) is None


def test_a_node_on_loopback_finds_others_on_loopback() -> None:
    assert peer_in(RECORDS, ["127.0.0.1"], 1, is_local=True) == PeerAddress(OTHER, ("127.0.0.1:1",))


def test_a_record_with_very_many_addresses_gives_a_few() -> None:
    found = peer_in(RECORDS, [f"192.168.1.{last}" for last in range(200)], 1, is_local=False)
    assert found is not None
    assert len(found.direct) == MAX_ADDRESSES


@given(
    properties=st.dictionaries(st.sampled_from([b"id", b"version", b"x"]), st.none() | st.binary(max_size=70)),
    addresses=st.lists(st.text(max_size=50) | st.ip_addresses().map(str), max_size=20),
    port=st.integers(0, 1 << 16),
    is_local=st.booleans(),
)
def test_any_records_are_a_node_or_none(
    properties: dict[bytes, bytes | None], addresses: list[str], port: int, *, is_local: bool
) -> None:
    found = peer_in({**RECORDS, **properties}, addresses, port, is_local=is_local)
    assert found is None or (len(found.node_id) == 64 and found.direct)


# ---- one node's discovery, told of made-up names ----


def discovering(address: Callable[[], PeerAddress] = lambda: LAN) -> tuple[LanDiscovery, list[PeerAddress]]:
    found: list[PeerAddress] = []
    return LanDiscovery(address, found.append), found


@virtual_time
async def test_a_found_node_is_told_and_told_again_when_it_comes_back() -> None:
    lan, found = discovering()
    lan.resolved(service(OTHER, "192.168.1.9"))
    lan.resolved(service(OTHER, "192.168.1.9"))
    assert found == [PeerAddress(OTHER, ("192.168.1.9:4433",))] * 2


@virtual_time
async def test_a_nodes_own_announcement_is_not_told() -> None:
    lan, found = discovering()
    lan.resolved(service(OWN, "192.168.1.9"))
    assert found == []


@virtual_time
async def test_a_flood_of_made_up_nodes_is_bounded() -> None:
    lan, found = discovering()
    for number in range(3 * MAX_FOUND):
        lan.resolved(service(f"{number:064x}", "192.168.1.9"))
    assert len(found) == MAX_FOUND
    for number in range(3 * MAX_WAITING):
        lan.noticed(None, SERVICE, f"{number}.{SERVICE}", ServiceStateChange.Added)  # type: ignore[arg-type]
    assert lan.waiting == MAX_WAITING


@virtual_time
async def test_a_name_that_went_away_is_not_asked_for() -> None:
    lan, _ = discovering()
    lan.noticed(None, SERVICE, f"x.{SERVICE}", ServiceStateChange.Removed)  # type: ignore[arg-type]
    assert lan.waiting == 0


class Interfaces:
    """python-zeroconf's sockets, of which only the look at the interfaces is asked."""

    def __init__(self, *, fails: bool = False) -> None:
        self.looks = 0
        self._fails = fails

    async def async_update_interfaces(self) -> None:
        self.looks += 1
        if self._fails:
            raise OSError("no such device")


@virtual_time
async def test_a_node_that_moved_is_announced_again() -> None:
    addresses = [LAN]
    lan, _ = discovering(lambda: addresses[0])
    interfaces = Interfaces()
    waiting = asyncio.create_task(lan.until_moved(interfaces, LAN))  # type: ignore[arg-type]
    await asyncio.sleep(10 * CHECK_EVERY_S)
    assert not waiting.done()
    assert interfaces.looks >= 9
    addresses[0] = PeerAddress(OWN, LAN.direct[::-1])
    await asyncio.sleep(2 * CHECK_EVERY_S)
    assert not waiting.done()
    addresses[0] = PeerAddress(OWN, ("192.168.7.7:1",))
    await asyncio.sleep(2 * CHECK_EVERY_S)
    assert waiting.done()


@virtual_time
async def test_a_failing_interface_is_told_once_and_looked_at_again() -> None:
    lan, _ = discovering()
    interfaces = Interfaces(fails=True)
    with structlog.testing.capture_logs() as logs:
        waiting = asyncio.create_task(lan.until_moved(interfaces, LAN))  # type: ignore[arg-type]
        await asyncio.sleep(10 * CHECK_EVERY_S)
    assert interfaces.looks >= 9
    assert [line["why"] for line in logs] == ["no such device"]
    waiting.cancel()


@virtual_time
async def test_room_for_new_nodes_comes_back_after_a_while() -> None:
    lan, found = discovering()
    waiting = asyncio.create_task(lan.until_moved(Interfaces(), LAN))  # type: ignore[arg-type]
    await asyncio.sleep(2 * CHECK_EVERY_S)
    for number in range(MAX_FOUND):
        lan.resolved(service(f"{number:064x}", "192.168.1.9"))
    lan.resolved(service(OTHER, "192.168.1.9"))
    assert found[-1].node_id != OTHER
    await asyncio.sleep(FORGET_EVERY_S + CHECK_EVERY_S)
    lan.resolved(service(OTHER, "192.168.1.9"))
    assert found[-1].node_id == OTHER
    waiting.cancel()


@virtual_time
async def test_without_a_network_it_tries_again_and_says_so_once() -> None:
    attempts: list[float] = []

    def no_network(**_: object) -> AsyncZeroconf:
        attempts.append(now_s())
        raise OSError("Network is unreachable")

    with pytest.MonkeyPatch.context() as patch, structlog.testing.capture_logs() as logs:
        patch.setattr(discovery, "AsyncZeroconf", no_network)
        running = asyncio.create_task(discovering()[0].run())
        await asyncio.sleep(3.5 * RETRY_AFTER_S)
        assert not running.done()
        running.cancel()
        await settle()
    assert attempts == [0.0, RETRY_AFTER_S, 2 * RETRY_AFTER_S, 3 * RETRY_AFTER_S]
    assert [line["why"] for line in logs] == ["Network is unreachable"]


@virtual_time
@pytest.mark.parametrize(
    ("direct", "interfaces"),
    [
        (("127.0.0.1:1", "[::1]:1"), ["127.0.0.1"]),
        (("192.168.1.5:1", "127.0.0.1:1"), InterfaceChoice.All),
        ((), InterfaceChoice.All),
    ],
)
async def test_a_node_on_loopback_is_not_announced_to_the_lan(direct: tuple[str, ...], interfaces: object) -> None:
    opened: list[object] = []

    def note(*, interfaces: object) -> AsyncZeroconf:
        opened.append(interfaces)
        raise OSError

    with pytest.MonkeyPatch.context() as patch, structlog.testing.capture_logs():
        patch.setattr(discovery, "AsyncZeroconf", note)
        running = asyncio.create_task(discovering(lambda: PeerAddress(OWN, direct))[0].run())
        await settle()
        running.cancel()
    assert opened == [interfaces]


# ---- over real sockets, on loopback; other programs may announce there too ----


class Found:
    """Those that a node found."""

    def __init__(self) -> None:
        self.addresses: dict[NodeId, PeerAddress] = {}
        self._news = asyncio.Event()

    def __call__(self, address: PeerAddress) -> None:
        self.addresses[address.node_id] = address
        self._news.set()

    async def holds(self, node_id: NodeId) -> PeerAddress:
        async with asyncio.timeout(HANGS_AFTER_S):
            while node_id not in self.addresses:
                self._news.clear()
                await self._news.wait()
        return self.addresses[node_id]


def new_id() -> NodeId:
    return NodeId(secrets.token_hex(32))


@contextlib.asynccontextmanager
async def on_loopback(node_id: NodeId, port: int, found: Found) -> AsyncGenerator[None]:
    task = asyncio.create_task(LanDiscovery(lambda: PeerAddress(node_id, (f"127.0.0.1:{port}",)), found).run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            async with asyncio.timeout(HANGS_AFTER_S):
                await task


@needs_multicast
async def test_two_nodes_find_each_other_and_not_themselves() -> None:
    ada, bob = new_id(), new_id()
    ada_found, bob_found = Found(), Found()
    async with on_loopback(ada, 4001, ada_found), on_loopback(bob, 4002, bob_found):
        assert await ada_found.holds(bob) == PeerAddress(bob, ("127.0.0.1:4002",))
        assert await bob_found.holds(ada) == PeerAddress(ada, ("127.0.0.1:4001",))
    assert ada not in ada_found.addresses
    assert bob not in bob_found.addresses


@needs_multicast
async def test_garbage_on_the_lan_keeps_no_node_from_being_found() -> None:
    ada, bob = new_id(), new_id()
    ada_found = Found()
    async with AsyncZeroconf(interfaces=["127.0.0.1"]) as hostile:
        junk = AsyncServiceInfo(
            SERVICE,
            f"junk-{bob[:8]}.{SERVICE}",
            port=0,
            addresses=[b"\x7f\0\0\1"],
            properties={b"id": b"\xff" * 99, b"\0": None},
            server=f"junk-{bob[:8]}.local.",
        )
        empty = AsyncServiceInfo(SERVICE, f"empty-{bob[:8]}.{SERVICE}", port=1, server=f"empty-{bob[:8]}.local.")
        false = service(ada, "127.0.0.1", name=f"false-{bob[:8]}")
        for info in (junk, empty, false):
            await (await hostile.async_register_service(info, cooperating_responders=True))
        async with on_loopback(ada, 4003, ada_found), on_loopback(bob, 4004, Found()):
            await ada_found.holds(bob)
    assert ada not in ada_found.addresses


@needs_multicast
async def test_a_node_that_stops_says_goodbye() -> None:
    ada = new_id()
    seen: asyncio.Queue[ServiceStateChange] = asyncio.Queue()

    def note(zeroconf: object, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if ada[:16] in name:
            seen.put_nowait(state_change)

    async with AsyncZeroconf(interfaces=["127.0.0.1"]) as watching, asyncio.timeout(HANGS_AFTER_S):
        browser = AsyncServiceBrowser(watching.zeroconf, SERVICE, handlers=[note])
        async with on_loopback(ada, 4005, Found()):
            assert await seen.get() is ServiceStateChange.Added
        while await seen.get() is not ServiceStateChange.Removed:
            pass
        await browser.async_cancel()
