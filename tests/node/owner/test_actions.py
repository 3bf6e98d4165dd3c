"""What the console's endpoints have a node do; over HTTP, see `tests/api/test_changes.py`."""

import asyncio
import time
from pathlib import Path

import msgspec
import pytest

from masa_node.api import paths
from masa_node.api.control import owner as api
from masa_node.chat.errors import CallerError, Overloaded
from masa_node.chat.owner_errors import NotDone, UnknownInvite
from masa_node.network.links.invites import MAX_LASTS_S, MAX_LINK_CHARS, MIN_LASTS_S
from masa_node.network.store.commands import MAX_ARGUMENT_CHARS, Verb
from masa_node.network.store.rows import MAX_NOTE_CHARS, MAX_USES, KeptInvite
from masa_node.network.store.store import FILE_NAME, Store
from masa_node.network.transport.interfaces import NodeId, PeerAddress
from masa_node.node.owner import actions
from masa_node.node.owner.actions import ConsoleActions
from masa_node.node.settings.environment import Settings

A = "a" * 64
ADDRESS = PeerAddress(NodeId("0e" * 32), ("9.9.9.9:4433",))


@pytest.fixture
def console(tmp_path: Path) -> ConsoleActions:
    return ConsoleActions(Settings(masa_dir=str(tmp_path)))


async def kept(tmp_path: Path, *invites: KeptInvite) -> None:
    store = await Store.open(tmp_path)
    await store.set_value("address", msgspec.msgpack.encode(ADDRESS))
    for invite in invites:
        await store.add_invite(invite)
    await store.close()


def test_the_bounds_of_bodies_are_those_of_the_network() -> None:
    schemas = msgspec.json.schema_components([api.InviteWanted, api.LinkGiven])[1]
    wanted, link = schemas["InviteWanted"]["properties"], schemas["LinkGiven"]["properties"]["link"]
    assert (wanted["uses"]["minimum"], wanted["uses"]["maximum"]) == (1, MAX_USES)
    assert (wanted["lasts_s"]["minimum"], wanted["lasts_s"]["maximum"]) == (MIN_LASTS_S, MAX_LASTS_S)
    assert wanted["note"]["maxLength"] == MAX_NOTE_CHARS
    assert MAX_LINK_CHARS < link["maxLength"] <= MAX_ARGUMENT_CHARS
    assert {*paths.PEER_VERBS} == {*Verb} - {Verb.JOIN, Verb.RELAY, Verb.CHECK, Verb.CONSOLE}


async def test_looking_for_invites_makes_no_file(console: ConsoleActions, tmp_path: Path) -> None:
    assert await console.invites() == []
    assert not (tmp_path / FILE_NAME).exists()


async def test_an_invite_comes_with_its_code_and_the_ways_in(console: ConsoleActions, tmp_path: Path) -> None:
    await kept(tmp_path)
    made = await console.make_invite(api.InviteWanted("bob", 2, 60))
    assert (made.note, made.uses, made.ways) == ("bob", 2, ["Others can come directly at 9.9.9.9:4433."])
    assert len(made.qr) == len(made.qr[0])
    assert [(each.id, each.uses_left) for each in await console.invites()] == [(made.id, 2)]
    await console.revoke_invite(made.id)
    with pytest.raises(UnknownInvite):
        await console.revoke_invite(made.id)


async def test_only_invites_that_can_be_used_are_shown(console: ConsoleActions, tmp_path: Path) -> None:
    now = int(time.time())
    over, used = KeptInvite(b"o" * 16, now - 99, now - 9, 1), KeptInvite(b"u" * 16, now, now + 99, 1)
    await kept(tmp_path, KeptInvite(b"g" * 16, now, now + 99, 3, "good"), used, over)
    store = await Store.open(tmp_path)
    await store.use_invite(used.token_hash, NodeId(A), now)
    await store.close()
    assert [each.note for each in await console.invites()] == ["good"]


async def test_what_is_wrong_is_told_as_the_callers_fault_or_as_not_done(console: ConsoleActions) -> None:
    with pytest.raises(CallerError):
        await console.join("masa1-x")
    with pytest.raises(NotDone, match="not known here"):
        await console.change_peer("trust", A)
    assert "is blocked" in await console.change_peer("block", A)


async def test_with_network_off_nothing_is_promised(tmp_path: Path) -> None:
    console = ConsoleActions(Settings(masa_dir=str(tmp_path), network="off"))
    with pytest.raises(NotDone, match="NETWORK=off"):
        await console.join("masa1-x")
    with pytest.raises(NotDone, match="NETWORK=off"):
        await console.make_invite(api.InviteWanted())


async def test_changes_at_once_are_few(console: ConsoleActions, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def slow(*given: object) -> None:
        del given
        begun.release()
        await go_on.wait()
        raise NotDone("later")

    monkeypatch.setattr(actions, "change_peer", slow)
    changes = [asyncio.create_task(console.change_peer("block", A)) for _ in range(actions.MAX_AT_ONCE)]
    for _ in changes:
        await begun.acquire()
    with pytest.raises(Overloaded):
        await console.change_peer("block", A)
    go_on.set()
    results = await asyncio.gather(*changes, return_exceptions=True)
    assert {type(each) for each in results} == {NotDone}
    with pytest.raises(NotDone, match="later"):
        await console.change_peer("block", A)
