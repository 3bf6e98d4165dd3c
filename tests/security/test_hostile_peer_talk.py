"""What a hostile peer says before it is let in and on its control stream: others never notice, nothing is left."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from masa_node.network.dialing import MAX_RANDOM_DIALED
from masa_node.network.gossip.adverts import SIGNATURE_BYTES
from masa_node.network.gossip.messages import Want, write_message
from masa_node.network.links.control import Hello
from masa_node.network.links.frames import MAX_PAYLOAD_BYTES, FrameKind, frame, header_frame
from masa_node.network.links.links import (
    GREET_WITHIN_S,
    MAX_GREETINGS,
    MAX_GREETINGS_PER_CUSTOMER,
    MAX_GREETINGS_PER_SITE,
)
from masa_node.network.links.session import MAX_CONTROL_FRAMES_PER_S
from masa_node.network.links.vouchers import make_voucher
from masa_node.network.transport.interfaces import PeerAddress
from masa_node.node.node import Node
from masa_node.node.peering.network import PeerNetwork
from masa_node.node.settings.environment import Settings
from masa_node.upstreams.http.client import HttpClient
from tests.network.nodes import CLOSED, MemoryNode, running
from tests.security.hostile_peers import GONE, Eve, advert, beats, beside, pushed, siege
from tests.virtual_time import virtual_time

HELLO = header_frame(FrameKind.HELLO, Hello("evil", "eve"))


# ---- before it is let in ----


@pytest.mark.parametrize(
    "said",
    [
        b"\x00\x00\x00\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff" * 5_000,
        b"\x01\xff\xff\xff",
        b"\x06\xff\xff\xff",
        frame(FrameKind.HELLO, b"\xc1"),
        frame(FrameKind.HELLO, b"\x91" * 30_000),
        frame(FrameKind.HELLO, b"\x81\xa8vouchers\xdd\xff\xff\xff\xff"),
        frame(FrameKind.HELLO, b"\x81\xa6invite\xc6\xff\xff\xff\xff"),
        header_frame(FrameKind.WELCOME, Hello()),
        frame(FrameKind.GOSSIP, b"x" * MAX_PAYLOAD_BYTES),
        HELLO + b"\xff" * 5_000,
        HELLO + HELLO,
        HELLO + b"\x06",
        HELLO[:-1],
        b"",
    ],
    ids=lambda said: repr(said[:12]),
)
@virtual_time
async def test_whatever_comes_instead_of_a_greeting_ends_that_link_alone(said: bytes) -> None:
    async with siege() as here:
        link = await here.eve.dial()
        stream = await link.open()
        await stream.write(said)
        await asyncio.sleep(1)
        await here.honest_peers_are_well()
        if said != HELLO + b"\x06":  # a peer may take its time for a frame, if its heart beats
            await asyncio.wait_for(link.closed(), GREET_WITHIN_S + 1)


@virtual_time
async def test_a_crowd_that_never_greets_keeps_no_member_out() -> None:
    """Not even where all that strangers may hold is held, and in a closed network."""
    async with siege(CLOSED) as here:
        greetings = here.ada.network.links._greetings
        carl = MemoryNode(here.network.transport(7), CLOSED)
        carl.network.want([here.ada.transport.address()])
        here.ada.network.want([PeerAddress(carl.id)])  # who does not know where he is, and lets him come
        for number in range(MAX_GREETINGS + 10):
            await here.another_eve(number, f"10.7.{number}.1:1").dial()
        await asyncio.sleep(0.1)
        assert greetings["strangers"] == MAX_GREETINGS
        async with running(carl):
            await asyncio.sleep(1)
            assert greetings["strangers"] == MAX_GREETINGS
            assert carl.id in here.ada.network.links.sessions
            await here.honest_peers_are_well()


@virtual_time
async def test_strangers_at_one_address_leave_room_for_those_at_others() -> None:
    async with siege(CLOSED) as here:
        greetings = here.ada.network.links._greetings
        for number in range(MAX_GREETINGS):
            await here.another_eve(number, "10.0.0.200:1").dial()
        await asyncio.sleep(0.1)
        assert set(greetings.values()) == {MAX_GREETINGS_PER_CUSTOMER}
        assert greetings.keys() == {"strangers", "10.0.0.0/24", "10.0.0.200"}


@virtual_time
async def test_strangers_at_all_addresses_of_one_site_leave_room_for_those_at_others() -> None:
    async with siege(CLOSED) as here:
        greetings = here.ada.network.links._greetings
        for number in range(MAX_GREETINGS):
            await here.another_eve(number, f"[2001:db8:7:{number:x}::1]:1").dial()
        await asyncio.sleep(0.1)
        assert greetings["strangers"] == greetings["2001:db8:7::/48"] == MAX_GREETINGS_PER_SITE


@virtual_time
async def test_links_that_open_and_close_in_a_loop_fill_no_log() -> None:
    async with siege() as here:
        for _ in range(500):
            await here.eve.enter()
            here.eve.leave()
            here.eve.links.clear()
        await here.honest_peers_are_well()


# ---- on the control stream ----


@pytest.mark.parametrize(
    "said",
    [
        header_frame(FrameKind.HELLO, Hello()),
        frame(FrameKind.ALIVE, b"\x80"),
        frame(FrameKind.PING, b"\xc0"),
        frame(FrameKind.PING, b"\x81\xa6number\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
        frame(FrameKind.PONG, b"\x81\xa6number\x01") * 500,
        frame(FrameKind.PING, b"\x81\xa6number\x01") * 500,
        frame(FrameKind.GOSSIP, b""),
        frame(FrameKind.GOSSIP, b"\xdd\xff\xff\xff\xff"),
        frame(FrameKind.GOSSIP, b"\x92\x01\xdd\xff\xff\xff\xff"),
        frame(FrameKind.GOSSIP, b"\x92\x01\x91\xc5\x00\x41" + b"\x00" * 65),
        frame(FrameKind.GOSSIP, b"\x94\x02\x01\x08\xc4\x01x"),
        frame(FrameKind.GOSSIP, b"x" * MAX_PAYLOAD_BYTES) * 10,
        frame(FrameKind.GOSSIP, write_message(Want(b"12345678"))) * 500,
        frame(FrameKind.VOUCH, b""),
        frame(FrameKind.VOUCH, b"x" * 400),
        frame(FrameKind.BODY, b"x"),
        b"\xff" * 8,
    ],
    ids=lambda said: repr(said[:12]),
)
@virtual_time
async def test_a_breach_on_the_control_stream_ends_that_link_alone(said: bytes) -> None:
    async with siege() as here:
        link, control = await here.eve.enter()
        with contextlib.suppress(*GONE):
            await control.write(said)
        await asyncio.wait_for(link.closed(), 2)
        await here.honest_peers_are_well()


@virtual_time
async def test_a_peer_that_floods_and_comes_back_each_time_changes_nothing() -> None:
    async with siege() as here:
        for _ in range(50):
            _, control = await here.eve.enter()
            with contextlib.suppress(*GONE):
                await beats(control, 2 * MAX_CONTROL_FRAMES_PER_S)
                await control.write(frame(FrameKind.GOSSIP, b"\xc1"))
            await asyncio.sleep(0.05)
        await here.honest_peers_are_well()


@virtual_time
async def test_a_peer_that_never_answers_heartbeats_but_talks_takes_no_memory() -> None:
    async with siege() as here:
        _, control = await here.eve.enter()
        await beats(control, 500, pause_s=1.0)
        session = here.ada.network.links.sessions[here.eve.transport.keys.node_id]
        assert session._heart.questions < 10


@virtual_time
async def test_a_peer_that_reads_nothing_of_its_control_stream_costs_only_itself() -> None:
    async with siege() as here:
        _, control = await here.eve.enter()
        await beats(control, 60, pause_s=1.0)
        session = here.ada.network.links.sessions[here.eve.transport.keys.node_id]
        assert session._outbox_bytes < 100_000
        await here.honest_peers_are_well()


@virtual_time
async def test_vouchers_that_are_no_word_of_its_own_end_the_link() -> None:
    async with siege() as here:
        eve, network = here.eve, here.network
        keys, ada = eve.transport.keys, here.ada.id
        for signed in (
            make_voucher(here.bob.id, keys, time.time()),
            make_voucher(ada, network.keys(900), time.time()),
            make_voucher(ada, keys, time.time() - 10**9),
            make_voucher(ada, keys, time.time() + 10**6),
            make_voucher(ada, keys, time.time())[:-1] + b"\x00",
        ):
            link, control = await eve.enter()
            await control.write(frame(FrameKind.VOUCH, signed))
            await asyncio.wait_for(link.closed(), 2)
        assert keys.node_id not in here.ada.network._vouchers


# ---- adverts ----


@virtual_time
async def test_forged_adverts_are_neither_believed_nor_passed_on() -> None:
    async with siege() as here:
        bob, eve = here.network.keys(here.bob.id), here.eve.transport.keys
        now = time.time()
        of_bob = here.bob.network.gossip.advert_of(here.bob.id)
        assert of_bob is not None
        newer = advert(bob, of_bob.advert.sequence + 10, now)
        forged = newer[:-SIGNATURE_BYTES] + advert(eve, 1, now)[-SIGNATURE_BYTES:]
        for bad in (forged, newer[:-1] + bytes([newer[-1] ^ 1]), advert(eve, 1, now + 10**6), b"x" * 100):
            _, control = await here.eve.enter()
            await control.write(pushed(bad))
            await asyncio.sleep(0.5)
            assert here.ada.network.gossip.advert_of(here.bob.id) == here.bob.network.gossip.advert_of(here.bob.id)
        await here.honest_peers_are_well()


@virtual_time
async def test_a_flood_of_adverts_of_fresh_keys_pushes_nobody_out_and_fills_no_log() -> None:
    """Each is well signed, and tells of an address where nobody is."""
    async with siege() as here:
        _, control = await here.eve.enter()
        tells = most_dials = 0

        async def flood() -> None:
            nonlocal tells
            while True:
                adverts: list[bytes] = []
                for _ in range(30):
                    tells += 1
                    keys = here.network.keys(10_000 + tells)
                    adverts.append(
                        advert(keys, 1, time.time(), addresses=(f"10.9.{tells >> 8 & 255}.{tells & 255}:7",))
                    )
                await control.write(pushed(*adverts))
                await asyncio.sleep(1)

        async with beside(flood(), here.eve.stay(control)):
            for _ in range(40):
                await asyncio.sleep(1)
                most_dials = max(most_dials, len(here.ada.network._dialing._dialing))
            await here.honest_peers_are_well()
        assert tells > 1_000
        assert 0 < most_dials <= MAX_RANDOM_DIALED
        assert here.ada.book is not None
        assert here.ada.book.is_member(here.bob.id)


@virtual_time
async def test_an_advert_with_a_private_address_is_never_taken_as_told_by_somebody_else() -> None:
    """Eve, who is reached over the internet, tells of a machine behind the firewall, then breaks the protocol."""
    async with siege() as here:
        ada = here.ada
        eve = Eve(here.network.transport(67, ("8.8.8.8:9",)), here.eve.target)
        _, control = await eve.enter()
        victim = here.network.keys(900)
        behind = advert(victim, 1, time.time(), addresses=("10.0.0.99:53",))
        await control.write(pushed(behind, b"x" * 100))
        for _ in range(50):
            await asyncio.sleep(0.02)
            ada.network._take_changes()  # as when bob, who is in the same private network, tells something
        assert ada.book is not None
        known = ada.book.get(victim.node_id)
        assert known is None or not known.addresses


# ---- bugs ----


@virtual_time
async def test_a_bug_that_one_peer_can_reach_costs_that_link_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with siege() as here:
        gossip = here.ada.network.gossip
        taking = gossip.taking

        def breaks(peer: str, *rest: object) -> Iterator[None]:
            if peer == here.eve.transport.keys.node_id:
                raise KeyError(peer)
            return taking(peer, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(gossip, "taking", breaks)
        link, control = await here.eve.enter()
        await control.write(frame(FrameKind.GOSSIP, b"\x90"))
        await asyncio.wait_for(link.closed(), 2)
        await here.honest_peers_are_well()
        assert any("bug" in str(line["event"]) for line in here.lines)
        here.lines.clear()


async def test_a_bug_of_the_network_leaves_the_node_to_its_owner(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def breaks(self: PeerNetwork) -> None:
        raise ExceptionGroup("of a task", [KeyError(repr(self))])

    monkeypatch.setattr(PeerNetwork, "run", breaks)
    async with HttpClient() as http:
        node = Node(Settings(masa_dir=str(tmp_path)), http)
        with capture_logs() as lines:
            running = asyncio.create_task(node.peer_service.run())
            await node.peer_service.ready.wait()
            running.cancel()
            await asyncio.wait([running])
    assert [line["event"] for line in lines] == ["bug: no network from now on"]
