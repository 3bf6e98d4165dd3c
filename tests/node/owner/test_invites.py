"""Invites through the store alone; with a running node see `tests/cli/peers`."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.chat.owner_errors import NoAddress
from masa_node.network.links.invites import parse_link
from masa_node.network.transport.interfaces import NodeId, PeerAddress
from masa_node.node.owner.folder import CommandedNode
from masa_node.node.owner.invites import (
    WantedInvite,
    choose_relay,
    invite_id,
    list_invites,
    make_invite,
    reach_in_words,
    revoke_invite,
)
from masa_node.node.settings.environment import Settings

Look = Callable[[], Awaitable[PeerAddress | None]]
ADDRESS = PeerAddress(NodeId("0e" * 32), ("203.0.113.7:4433",))
RELAY = "https://relay.example.org"
WANTED = WantedInvite(3_600, 2, "bob")


@pytest.fixture
def node(tmp_path: Path) -> CommandedNode:
    return CommandedNode(tmp_path, lambda: False)


async def test_an_invite_of_a_node_that_never_ran_is_not_made(node: CommandedNode) -> None:
    with pytest.raises(NoAddress):
        await make_invite(node, WANTED)
    assert await list_invites(node) == []


async def test_an_invite_is_made_listed_and_revoked(node: CommandedNode) -> None:
    async with node.store() as store:
        await store.set_value("address", msgspec.msgpack.encode(ADDRESS))
    made = await make_invite(node, WANTED)
    invite = parse_link(made.link, 0.0)
    assert (invite.node_id, invite.addresses, made.uses, made.note) == (ADDRESS.node_id, ADDRESS.direct, 2, "bob")
    (kept,) = await list_invites(node)
    assert (invite_id(kept), kept.expires_at_unix_s) == (made.id, made.expires_at_unix_s)
    for wrong in (made.id[:3], "", "zzzz"):
        with pytest.raises(ConfigurationError, match="masa-node invites"):
            await revoke_invite(node, wrong)
    assert await revoke_invite(node, made.id[:4]) == made.id
    assert await list_invites(node) == []


async def test_an_invite_names_the_relay_that_is_to_be_used_although_another_way_is_found_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forwarded port or an address of the owner's may lead nowhere. The node has only begun to look, too."""
    direct = msgspec.structs.replace(ADDRESS, direct=("81.2.69.7:4433",))
    by_relay = msgspec.structs.replace(direct, relay_url="https://relay.example.org/")

    async def begun(node: CommandedNode, *_: object) -> None:
        """The node reads its folder from now on, and says what it waits for."""
        async with node.store() as store:
            await store.set_value("settled", b"")
            await store.set_value("awaited_relay", b"https://relay.example.org")

    async def wait_for(node: CommandedNode, look: Look, *_: object, **__: object) -> PeerAddress | None:
        assert await look() is None
        async with node.store() as store:
            await store.set_value("address", msgspec.msgpack.encode(by_relay))
        return await look()

    node = CommandedNode(tmp_path, lambda: True)
    monkeypatch.setattr(CommandedNode, "have", begun)
    monkeypatch.setattr(CommandedNode, "wait_for", wait_for)
    async with node.store() as store:
        await store.set_value("address", msgspec.msgpack.encode(direct))
        await store.set_value("settled", b"1")  # of the run before
    invite = parse_link((await make_invite(node, WANTED)).link, 0.0)
    assert invite.relay_url == by_relay.relay_url


@pytest.mark.parametrize(
    ("relay", "in_link", "says"),
    [
        (RELAY, RELAY, f"The relay {RELAY} was not reached"),
        ("public", None, "None of iroh's public relays was reached"),
    ],
)
async def test_a_relay_that_is_not_reached_is_said_and_named_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relay: str, in_link: str | None, says: str
) -> None:
    async def reads(*_: object) -> None:
        """The node has read its folder."""

    node = CommandedNode(tmp_path, lambda: True)
    monkeypatch.setattr(CommandedNode, "have", reads)
    async with node.store() as store:
        private = msgspec.structs.replace(ADDRESS, direct=("192.168.1.5:4433",))
        for name, value in (("address", msgspec.msgpack.encode(private)), ("settled", b"1"), ("relay", relay.encode())):
            await store.set_value(name, value)
        await store.set_value("awaited_relay", relay.encode())
    made = await make_invite(node, WANTED)
    (line,) = reach_in_words(made.address, made.missed_relay)
    assert (parse_link(made.link, 0.0).relay_url, made.address.relay_url) == (in_link, None)
    assert line.startswith(says)
    assert "masa-node doctor" in line


async def test_a_relay_is_kept_for_the_next_start(node: CommandedNode) -> None:
    await choose_relay(node, "public", Settings())
    async with node.store() as store:
        assert await store.value("relay") == b"public"
    with pytest.raises(ConfigurationError):
        await choose_relay(node, "ftp://nowhere", Settings())
