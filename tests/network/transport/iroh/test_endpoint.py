"""Nodes and links over real sockets; streams are in `test_endpoint_streams.py`.

Covers: `keys`, `failures`.
"""

import asyncio
import base64
import contextlib
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import AsyncIterator

import iroh
import pytest

from masa_node.chat.errors import ConfigurationError, LinkLost, PeerUnreachable
from masa_node.network.transport import handshake_limits
from masa_node.network.transport.addresses import PUBLIC_RELAYS
from masa_node.network.transport.interfaces import ALPN, MAX_ADDRESSES, NodeId, PeerAddress, Route, is_node_id
from masa_node.network.transport.iroh import endpoint
from masa_node.network.transport.iroh.endpoint import (
    ADDRESS_KEPT_S,
    STEADY_ADDRESS_KEPT_S,
    IrohTransport,
    TransportOptions,
    open_transport,
)
from masa_node.network.transport.iroh.keys import IrohKeys
from masa_node.network.transport.iroh.relays import MAX_RELAYS
from masa_node.network.transport.unreached import PeerKeyWrong, PeerSpeaksOtherwise
from tests.fakes.no_server import closed_port
from tests.network.transport.iroh.iroh_nodes import linked, node, on_every_loop, on_every_loop_at_once, until


async def stranger(alpn: bytes = ALPN) -> iroh.Endpoint:
    """A peer that does not keep to our rules."""
    builder = iroh.EndpointBuilder()
    builder.apply_minimal()
    builder.relay_mode(iroh.RelayMode.disabled())
    builder.alpns([alpn])
    builder.bind_addr("127.0.0.1:0")
    return await builder.bind()


def where(transport: IrohTransport) -> iroh.EndpointAddr:
    address = transport.address()
    return iroh.EndpointAddr(iroh.EndpointId.from_string(address.node_id), None, list(address.direct))


class Silent(asyncio.DatagramProtocol):
    """A port that answers nothing, and counts packets, and connections by the id in QUIC's long header."""

    def __init__(self) -> None:
        self.packets = 0
        self.connections: set[bytes] = set()
        self.heard = asyncio.Event()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.packets += 1
        self.connections.add(data[6 : 6 + data[5]])
        self.heard.set()


@contextlib.asynccontextmanager
async def silent_port() -> AsyncIterator[tuple[Silent, str]]:
    loop = asyncio.get_running_loop()
    transport, silent = await loop.create_datagram_endpoint(Silent, local_addr=("127.0.0.1", 0))
    try:
        yield silent, f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    finally:
        transport.close()


class Deaf(asyncio.DatagramProtocol):
    """Carries what comes to a node, and drops its answers: handshakes through it begin and never end."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self._out = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if addr[:2] != self._target:
            self._out.sendto(data, self._target)


# ---- keys ----


def test_wrong_signatures_cost_no_backtraces_whatever_the_environment_says() -> None:
    asked = "import os, masa_node.network.transport.iroh.endpoint; print(os.environ['RUST_LIB_BACKTRACE'])"
    environ = {"PYTHONPATH": os.pathsep.join(sys.path), "RUST_BACKTRACE": "1"}
    told = subprocess.run([sys.executable, "-c", asked], env=environ, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "0"


def test_a_signature_is_good_for_its_message_and_its_node_only() -> None:
    keys, others = IrohKeys(secrets.token_bytes(32)), IrohKeys(secrets.token_bytes(32))
    assert is_node_id(keys.node_id)
    signature = keys.sign(b"message")
    assert len(signature) == 64
    assert others.verify(keys.node_id, b"message", signature)
    assert not others.verify(keys.node_id, b"massage", signature)
    assert not others.verify(others.node_id, b"message", signature)
    assert not others.verify(keys.node_id, b"message", signature[:-1] + bytes((signature[-1] ^ 1,)))


@pytest.mark.parametrize("signature", [b"", b"1" * 63, b"2" * 64, b"\xff" * 64, b"3" * 65])
def test_a_malformed_signature_is_just_wrong(signature: bytes) -> None:
    keys = IrohKeys(bytes(range(32)))
    assert not keys.verify(keys.node_id, b"message", signature)


def test_a_node_has_one_spelling() -> None:
    keys = IrohKeys(bytes(range(32)))
    signature = keys.sign(b"message")
    base32 = base64.b32encode(bytes.fromhex(keys.node_id)).decode().rstrip("=").lower()  # which iroh reads, too
    assert str(iroh.EndpointId.from_string(base32)) == keys.node_id
    for spelling in (base32, keys.node_id.upper(), keys.node_id + " ", keys.node_id[:-1], "", "z" * 64, "f" * 64):
        assert not keys.verify(NodeId(spelling), b"message", signature)


def test_the_same_secret_is_the_same_node() -> None:
    assert IrohKeys(bytes(range(32))).node_id == IrohKeys(bytes(range(32))).node_id


# ---- links ----


@on_every_loop
async def test_both_ends_know_each_other_by_key() -> None:
    async with linked() as pair:
        assert pair.ours.peer == pair.them.keys.node_id
        assert pair.theirs.peer == pair.us.keys.node_id
        assert pair.ours.is_dialed
        assert not pair.theirs.is_dialed


@on_every_loop
async def test_a_link_on_one_machine_is_direct() -> None:
    async with linked() as pair:
        path = pair.ours.path()
        assert path.route is Route.DIRECT
        assert path.address in pair.them.address().direct
        assert path.rtt_s is not None


@on_every_loop
async def test_a_close_is_seen_at_once_by_all_that_wait_and_tells_why() -> None:
    async with linked() as pair:
        mine, yours = await pair.stream()
        waiting = [
            asyncio.ensure_future(call)
            for call in (mine.read(), yours.read(), pair.ours.accept(), pair.theirs.accept())
        ]
        gone = asyncio.ensure_future(pair.theirs.closed())
        await asyncio.sleep(0.05)
        pair.ours.close("because")
        pair.ours.close("again")
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [LinkLost] * 4
        assert "because" in await gone
        assert "because" in str(results[1])
        for call in (mine.write(b"x"), yours.write(b"x"), pair.ours.open(), pair.theirs.open()):
            with pytest.raises(LinkLost):
                await call


@on_every_loop
async def test_a_long_reason_is_cut_and_no_error() -> None:
    async with linked() as pair:
        pair.ours.close("ä" * 1000)
        assert "ä" * 40 in await pair.theirs.closed()


@on_every_loop
async def test_a_transport_that_closes_tells_its_peers_and_those_who_wait_for_it() -> None:
    async with linked() as pair:
        waiting = [asyncio.ensure_future(pair.us.accept()) for _ in range(3)]
        await asyncio.sleep(0)
        await pair.us.close()
        await pair.us.close()
        results = await asyncio.gather(*waiting, pair.us.accept(), return_exceptions=True)
        assert [type(result) for result in results] == [LinkLost] * 4
        assert "stopping" in await pair.theirs.closed()
        with pytest.raises(PeerUnreachable):
            await pair.us.dial(pair.them.address())


@on_every_loop
async def test_links_that_are_gone_are_forgotten() -> None:
    async with node() as us, node() as them:
        for number in range(20):
            ours = await us.dial(them.address())
            theirs = await them.accept()
            (ours if number % 2 else theirs).close("next")
            await asyncio.gather(ours.closed(), theirs.closed())
        await until(lambda: not us.links and not them.links)
        assert them.limits.counts().links == 0


@on_every_loop
async def test_a_peer_that_speaks_another_protocol_is_not_linked() -> None:
    async with node() as us, node() as them:
        odd = await stranger(b"other/1")
        with pytest.raises(iroh.IrohError):
            await odd.connect(where(us), b"other/1")
        await odd.close()
        await them.dial(us.address())
        assert (await us.accept()).peer == them.keys.node_id


@on_every_loop
async def test_a_one_way_stream_costs_a_peer_its_link() -> None:
    async with node() as us:
        odd = await stranger()
        connection = await odd.connect(where(us), ALPN)
        link = await us.accept()
        await (await connection.open_uni()).write_all(b"x" * 1000)
        assert "one-way" in await connection.closed()
        await link.closed()
        await odd.close()


# ---- dialing what does not answer ----


@on_every_loop_at_once
async def test_a_dial_that_is_given_up_leaves_nothing() -> None:
    async with node() as us, silent_port() as (silent, address):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(us.dial(PeerAddress(IrohKeys(secrets.token_bytes(32)).node_id, (address,))), 0.1)
        await silent.heard.wait()
        await asyncio.sleep(0.05)
        sent = silent.packets
        await asyncio.sleep(1.5)  # the first repetition would come after a second
        assert silent.packets == sent
        assert not us.links


@on_every_loop
async def test_a_dial_without_any_address_fails_by_itself() -> None:
    async with node() as us:
        with pytest.raises(PeerUnreachable):
            await us.dial(PeerAddress(IrohKeys(secrets.token_bytes(32)).node_id))


@on_every_loop
async def test_what_cannot_be_dialed_is_unreachable() -> None:
    async with node() as us:
        own = us.address()
        for address in (
            own,
            PeerAddress(NodeId("nonsense"), own.direct),
            PeerAddress(IrohKeys(secrets.token_bytes(32)).node_id, ("nonsense",)),
        ):
            with pytest.raises(PeerUnreachable):
                await us.dial(address)


@on_every_loop
async def test_a_node_that_has_another_key_than_expected_is_not_linked() -> None:
    async with node() as us, node() as them:
        wrong = PeerAddress(IrohKeys(secrets.token_bytes(32)).node_id, them.address().direct)
        with pytest.raises((PeerUnreachable, TimeoutError)):
            await asyncio.wait_for(us.dial(wrong), 1)
        assert not us.links
        assert them._arrived.empty()


@on_every_loop_at_once
async def test_dials_can_be_cancelled_at_any_moment() -> None:
    async with node() as us, node() as them:
        for number in range(100):
            dial = asyncio.ensure_future(us.dial(them.address()))
            await asyncio.sleep(number * 0.0001)
            dial.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                (await dial).close("too late")
        # also those links end that were never seen here
        await until(lambda: not us.links and not them.links and not them.limits.counts().handshakes)
        assert (await us.dial(them.address())).is_dialed


# ---- many, and hostile ones ----


@on_every_loop_at_once
async def test_a_stalled_handshake_holds_nobody_up() -> None:
    async with node() as us, node() as them:
        host, port = us.address().direct[0].split(":")
        loop = asyncio.get_running_loop()
        deaf, _ = await loop.create_datagram_endpoint(lambda: Deaf((host, int(port))), local_addr=("127.0.0.1", 0))
        address = PeerAddress(us.keys.node_id, (f"127.0.0.1:{deaf.get_extra_info('sockname')[1]}",))
        strangers = [await stranger() for _ in range(10)]
        target = iroh.EndpointAddr(iroh.EndpointId.from_string(us.keys.node_id), None, list(address.direct))
        stalled = [asyncio.ensure_future(odd.connect(target, ALPN)) for odd in strangers]
        await until(lambda: us.limits.counts().handshakes == len(stalled))
        link = await them.dial(us.address())
        assert link.peer == us.keys.node_id
        assert (await us.accept()).peer == them.keys.node_id
        for dial in stalled:
            dial.cancel()
        await asyncio.gather(*stalled, return_exceptions=True)
        await asyncio.gather(*(odd.close() for odd in strangers))
        deaf.close()


def test_a_handshake_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with node() as us:
            host, port = us.address().direct[0].split(":")
            loop = asyncio.get_running_loop()
            deaf, _ = await loop.create_datagram_endpoint(lambda: Deaf((host, int(port))), local_addr=("127.0.0.1", 0))
            odd = await stranger()
            through = f"127.0.0.1:{deaf.get_extra_info('sockname')[1]}"
            target = iroh.EndpointAddr(iroh.EndpointId.from_string(us.keys.node_id), None, [through])
            stalled = asyncio.ensure_future(odd.connect(target, ALPN))
            await until(lambda: bool(us.limits.counts().handshakes))
            deaf.close()
            stalled.cancel()
            await asyncio.gather(stalled, return_exceptions=True)
            await until(lambda: not us.limits.counts().handshakes)
            await odd.close()

    monkeypatch.setattr(endpoint, "HANDSHAKE_S", 0.2)
    asyncio.run(asyncio.wait_for(run(), 10))


def test_a_full_node_refuses_and_has_room_again_when_a_link_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with node() as us, node() as first, node() as second:
            await first.dial(us.address())
            link = await us.accept()
            with pytest.raises(PeerUnreachable):
                await second.dial(us.address())
            link.close("make room")
            await until(lambda: not us.links and us.limits.counts() == (0, 0))
            await second.dial(us.address())
            assert (await us.accept()).peer == second.keys.node_id

    monkeypatch.setattr(handshake_limits, "MAX_TAKEN_LINKS", 1)
    asyncio.run(asyncio.wait_for(run(), 20))


def test_under_load_a_peer_proves_its_address_and_is_linked_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with linked() as pair:
            assert pair.ours.peer == pair.them.keys.node_id

    monkeypatch.setattr(handshake_limits, "UNPROVEN_HANDSHAKES", 0)
    asyncio.run(asyncio.wait_for(run(), 20))


@on_every_loop
async def test_fifty_nodes_may_come_at_the_same_moment() -> None:
    async with contextlib.AsyncExitStack() as stack:
        us = await stack.enter_async_context(node())
        others = [await stack.enter_async_context(node()) for _ in range(50)]
        await asyncio.gather(*(other.dial(us.address()) for other in others))
        came = {(await us.accept()).peer for _ in others}
        assert came == {other.keys.node_id for other in others}


# ---- addresses and settings ----


@on_every_loop
async def test_a_node_on_loopback_listens_nowhere_else() -> None:
    async with node() as us:
        bound = us.bound()
        assert bound
        assert all(location.startswith(("127.0.0.1:", "[::1]:")) for location in bound)
        assert us.address().direct[0] == bound[0]


@on_every_loop
async def test_a_node_on_all_addresses_tells_those_it_can_be_met_at() -> None:
    everywhere = "0.0.0.0"  # noqa: S104 - the fact to be tested
    async with node(everywhere) as us, node(everywhere) as them:
        direct = us.address().direct
        assert 0 < len(direct) <= MAX_ADDRESSES
        assert not any(location.startswith((everywhere, "[::]")) for location in direct)
        assert (await them.dial(us.address())).peer == us.keys.node_id


@on_every_loop
async def test_a_node_may_be_on_ipv6_only() -> None:
    try:
        async with node("::1") as us, node() as them:
            own = PeerAddress(
                us.keys.node_id, tuple(location for location in us.address().direct if location.startswith("["))
            )
            assert (await them.dial(own)).path().address.startswith("[::1]:")
    except ConfigurationError:
        pytest.skip("no IPv6 here")


@on_every_loop
async def test_a_port_that_is_taken_is_the_owners_to_mend() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match="PEER_PORT") as caught:
            await open_transport(secrets.token_bytes(32), TransportOptions("127.0.0.1", port))
        assert str(port) in caught.value.message


@on_every_loop
async def test_the_port_that_is_set_is_the_one_that_is_told() -> None:
    port = closed_port(socket.SOCK_DGRAM)
    async with node(port=port) as us:
        assert f"127.0.0.1:{port}" in us.address().direct
    async with node(port=port):  # and it is free again after the close
        pass


@on_every_loop
async def test_a_wrong_setting_is_named() -> None:
    for options, setting in (
        (TransportOptions("nonsense"), "PEER_HOST"),
        (TransportOptions("198.51.100.1"), "PEER_HOST"),  # RFC 5737: no machine has it
        (TransportOptions("127.0.0.1", relay_url="nonsense"), "RELAY_URL"),
    ):
        with pytest.raises(ConfigurationError, match=setting):
            await open_transport(secrets.token_bytes(32), options)


@on_every_loop_at_once
async def test_a_relay_that_is_down_keeps_no_node_from_starting() -> None:
    options = TransportOptions("127.0.0.1", relay_url="https://127.0.0.1:9/", relay_token="token")
    us = await open_transport(secrets.token_bytes(32), options)
    async with node() as them:
        assert (await us.dial(them.address())).path().route is Route.DIRECT
        await us.close()


@contextlib.asynccontextmanager
async def looks_like_a_relay() -> AsyncIterator[tuple[str, list[str]]]:
    """The URL of a listener, and the request lines that came to it."""
    came: list[str] = []
    taking: set[asyncio.Task[None] | None] = set()

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taking.add(asyncio.current_task())
        came.append((await reader.readline()).decode().strip())
        writer.close()

    listener = await asyncio.start_server(note, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/", came
    finally:
        listener.close()
        await listener.wait_closed()
        await asyncio.gather(*filter(None, taking))  # a connection that came last may not have been read yet


@on_every_loop_at_once
async def test_a_relay_in_the_address_is_used_by_a_node_that_has_none() -> None:
    """Only the owner's words have one in them: what peers tell of relays is filtered before (`filter_dialable`)."""
    async with looks_like_a_relay() as (url, came), node() as us, silent_port() as (_, address):
        peer = PeerAddress(IrohKeys(secrets.token_bytes(32)).node_id, (address,), url)
        assert not us.relays
        dialing = asyncio.create_task(us.dial(peer))
        await until(lambda: bool(came))
        dialing.cancel()
        await asyncio.wait([dialing])
        assert any(line.startswith("GET /relay") for line in came)
        assert us.relays == {url}


@on_every_loop_at_once
async def test_relays_come_and_go_while_the_node_runs() -> None:
    async with looks_like_a_relay() as (url, came), node() as us:
        await us.use_relay(url)
        await us.use_relay(url.rstrip("/"))
        await until(lambda: bool(came))
        assert len(us.relays) == 1
        assert (await us.way_in()).home_relay is None  # it speaks no relay's protocol
        await us.leave_relays()
        assert not us.relays


@on_every_loop
async def test_the_relays_of_irohs_makers_are_known_by_their_urls() -> None:
    """So that peers that use them, too, are met there."""
    async with node() as us:
        await us.use_relay(PUBLIC_RELAYS)
        assert us.relays
        assert all(url.startswith("https://") for url in us.relays)
        await us.leave_relays()


@on_every_loop_at_once
async def test_a_node_takes_no_more_relays_from_addresses_than_it_can_measure() -> None:
    async with node() as us:
        silent = IrohKeys(secrets.token_bytes(32)).node_id
        for number in range(MAX_RELAYS + 3):
            dialing = asyncio.create_task(us.dial(PeerAddress(silent, (), f"http://127.0.0.1:{number + 1}/")))
            await asyncio.wait([dialing], timeout=0.02)
            dialing.cancel()
            await asyncio.wait([dialing])
        assert len(us.relays) == MAX_RELAYS


@on_every_loop
async def test_another_key_another_program_and_nobody_are_told_apart() -> None:
    async with node() as us, node() as them:
        there = them.address().direct
        with pytest.raises(PeerKeyWrong, match="does not have the key"):
            await us.dial(PeerAddress(IrohKeys(secrets.token_bytes(32)).node_id, there))
        other = await stranger(b"other")
        taking = asyncio.create_task(take_one(other))
        try:
            address = PeerAddress(NodeId(str(other.id())), tuple(other.bound_sockets()[:1]))
            with pytest.raises(PeerSpeaksOtherwise, match="does not speak this protocol"):
                await us.dial(address)
        finally:
            taking.cancel()
            await asyncio.wait([taking])
            await other.close()


async def take_one(endpoint: iroh.Endpoint) -> None:
    incoming = await endpoint.accept_next()
    if incoming is not None:
        with contextlib.suppress(iroh.IrohError):
            await (await incoming.accept()).connect()


@on_every_loop
async def test_the_owners_own_word_about_the_address_comes_first() -> None:
    options = TransportOptions("127.0.0.1", external="81.2.69.7:4433")
    us = await open_transport(secrets.token_bytes(32), options)
    try:
        assert us.address().direct[0] == "81.2.69.7:4433"
        assert len(us.address().direct) > 1
        assert (await us.way_in()).bound == tuple(us.bound())
    finally:
        await us.close()


@on_every_loop
async def test_the_own_address_is_looked_up_rarely_while_it_stays_and_soon_again_once_it_has_changed() -> None:
    async with node() as us:
        now_s, found = 1000.0, PeerAddress(us.keys.node_id, ("127.0.0.1:1",))
        looked_up: list[float] = []

        def look_up(_: iroh.Endpoint) -> PeerAddress:
            looked_up.append(now_s)
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(us, "_look_up", look_up)
            patch.setattr(us, "_now_s", lambda: now_s)
            for _ in range(600):
                now_s += 0.1
                us.address()
            assert len(looked_up) < 60 / STEADY_ADDRESS_KEPT_S + 4
            found = PeerAddress(us.keys.node_id, ("127.0.0.1:2",))
            now_s += STEADY_ADDRESS_KEPT_S
            assert us.address() == found
            now_s += ADDRESS_KEPT_S
            us.address()
            assert looked_up[-1] == now_s


@on_every_loop
async def test_a_dial_that_is_under_way_begins_again_when_it_is_told_to_and_ends_when_it_is_cancelled() -> None:
    """What is said again because no answer came is of the same connection."""
    async with silent_port() as (silent, address), node() as us, node() as other:
        dial = asyncio.create_task(us.dial(PeerAddress(other.keys.node_id, (address,))))
        for connections in (1, 2, 3):
            await until(lambda connections=connections: len(silent.connections) == connections)
            us.restart_dials()
        dial.cancel()
        await asyncio.wait([dial])
        assert dial.cancelled()
        us.restart_dials()
        assert not us.links
