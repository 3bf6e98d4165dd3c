"""Which version two nodes speak, and what both are told when there is none."""

import asyncio

import msgspec
import pytest
from structlog.testing import capture_logs

from masa_node.chat.errors import LinkRefused, ProtocolFault, VersionRefused
from masa_node.network.links.control import NEWEST_PROTOCOL, Hello, RefusalCode, Refused, Versions, common_version
from masa_node.network.links.frames import FrameKind, frame, header_frame, read_header
from masa_node.network.links.session import ControlStream
from masa_node.network.transport.interfaces import NodeId
from masa_node.network.transport.memory import MemoryNetwork
from tests.network.links.test_links import LinkNode, running, two
from tests.network.nodes import make
from tests.network.nodes import running as running_networks
from tests.virtual_time import until, virtual_time

THREE = Versions(3, 3)


@pytest.mark.parametrize(
    ("theirs", "own", "spoken"),
    [
        (Versions(2, 2), Versions(2, 2), 2),
        (Versions(2, 3), Versions(2, 2), 2),
        (Versions(2, 2), Versions(2, 9), 2),
        (Versions(3, 7), Versions(2, 5), 5),
        (Versions(1, 65_535), Versions(4, 4), 4),
    ],
)
def test_the_highest_that_both_know_is_spoken(theirs: Versions, own: Versions, spoken: int) -> None:
    assert common_version(theirs, own) == spoken


@pytest.mark.parametrize(
    ("theirs", "own", "told"),
    [
        (
            Versions(3, 4),
            Versions(2, 2),
            "it speaks versions 3-4 of the protocol, this node version 2: update this node.",
        ),
        (Versions(2, 2), Versions(3, 4), "it speaks version 2 of the protocol, this node versions 3-4: update it."),
        (Versions(5, 4), Versions(2, 9), "it speaks versions 5-4 of the protocol, this node versions 2-9: update it."),
    ],
)
def test_without_one_both_sides_are_told_which_node_is_to_be_updated(
    theirs: Versions, own: Versions, told: str
) -> None:
    with pytest.raises(VersionRefused) as refused:
        common_version(theirs, own)
    assert (refused.value.message, refused.value.code, refused.value.refusal) == (told, "peer_version", "version")


def _pair(theirs: Versions) -> tuple[LinkNode, LinkNode]:
    network = MemoryNetwork(seed=3)
    return LinkNode(network.transport(1)), LinkNode(network.transport(2), versions=theirs)


@virtual_time
async def test_a_node_of_version_3_and_one_of_2_know_why_they_are_not_linked_whoever_dials() -> None:
    two_, three = _pair(THREE)
    three.invites = {b"token": 1}
    two_.invite = b"token"
    with capture_logs() as lines:
        async with running(two_, three):
            with pytest.raises(VersionRefused, match=r"it speaks version 3 .* this node version 2: update this node"):
                await two_.connect(three)
            assert three.turned == {two_.id: "it speaks version 2 of the protocol, this node version 3: update it."}
            assert three.invites == {b"token": 1}  # it is not spent
            await asyncio.sleep(2)
            with pytest.raises(VersionRefused, match=r"it speaks version 2 .* this node version 3: update it"):
                await three.connect(two_)
            assert two_.turned == {
                three.id: "it speaks version 3 of the protocol, this node version 2: update this node."
            }
            await asyncio.sleep(2)
    assert [line["why"] for line in lines] == [*three.turned.values(), *two_.turned.values()]


@virtual_time
async def test_a_refused_member_is_told_something_else() -> None:
    _, ada, bob = two(is_open=False)
    async with running(ada, bob):
        with pytest.raises(LinkRefused) as refused:
            await ada.connect(bob)
        assert not isinstance(refused.value, VersionRefused)


@virtual_time
async def test_a_node_that_speaks_2_and_3_speaks_2_with_one_that_knows_no_other() -> None:
    old, new = _pair(Versions(2, 3))
    async with running(old, new):
        assert (await old.connect(new)).protocol == 2
        assert new.links.sessions[old.id].protocol == 2


@virtual_time
async def test_a_greeting_of_tomorrow_is_read_as_far_as_its_versions() -> None:
    _, ada, bob = two()
    async with running(bob):
        link = await ada.transport.dial(bob.transport.address())
        control = ControlStream(await link.open())
        hello = {"min_protocol": 7, "max_protocol": 8, "vouchers": "another form", "name": 5}
        await control.write(frame(FrameKind.HELLO, msgspec.msgpack.encode(hello)))
        kind, payload = await control.next()
        refused = read_header(payload, Refused)
        assert (kind, refused.code) == (FrameKind.REFUSED, RefusalCode.VERSION)
        assert read_header(payload, Versions) == Versions()
        link.close("bye")


@virtual_time
async def test_a_welcome_of_another_version_is_refused_by_who_dialed() -> None:
    _, ada, bob = two()

    async def welcome() -> None:
        link = await bob.transport.accept()
        control = ControlStream(await link.accept())
        await control.next()
        await control.write(header_frame(FrameKind.WELCOME, Hello(min_protocol=3, max_protocol=3)))

    async with running(ada):
        welcoming = asyncio.create_task(welcome())
        with pytest.raises(VersionRefused):
            await ada.connect(bob)
        await welcoming


@virtual_time
async def test_frames_of_an_unknown_kind_are_ignored_if_they_are_optional_and_else_end_the_link() -> None:
    _, ada, bob = two()
    async with running(ada, bob):
        session = await ada.connect(bob)
        session._send(b"\0\0\0\0\xc8\0\0\x03new" + frame(FrameKind.GOSSIP, b"news"))
        await asyncio.sleep(1)
        assert bob.gossip == [b"news"]
        session._send(b"\0\0\0\0\x48\0\0\x03new")
        await asyncio.sleep(1)
        assert "unknown kind 72" in bob.gone[0]


@virtual_time
async def test_the_owner_sees_at_both_nodes_that_a_member_speaks_another_version() -> None:
    network = MemoryNetwork(seed=3)
    ada, bob = make(network, 2)
    bob.network.links._versions = THREE
    ada.network.want([bob.transport.address()])
    bob.network.want([ada.transport.address()])
    async with running_networks(ada, bob):
        await until(lambda: _told(ada.network, bob.id) and _told(bob.network, ada.id), within_s=30)


def _told(network: object, peer: NodeId) -> bool:
    return "of the protocol, this node version" in network.reasons.of(peer).words  # type: ignore[attr-defined]


def test_a_malformed_range_is_a_fault() -> None:
    for versions in ({"min_protocol": 0}, {"max_protocol": -1}, {"max_protocol": 1 << 16}, {"min_protocol": "2"}):
        with pytest.raises(ProtocolFault):
            read_header(msgspec.msgpack.encode(versions), Versions)
    assert read_header(b"\x80", Versions).max_protocol == NEWEST_PROTOCOL
