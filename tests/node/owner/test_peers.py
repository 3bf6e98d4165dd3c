"""What an owner has a node that does not run do about its peers; with a running one see `tests/cli/peers`."""

from pathlib import Path

import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.chat.owner_errors import NotDone
from masa_node.network.links.invites import Invite, make_link
from masa_node.network.links.peer_book import MembershipLevel, PeerRecord
from masa_node.network.store.commands import CommandState, Verb
from masa_node.network.transport.interfaces import NodeId
from masa_node.node.owner.folder import CommandedNode
from masa_node.node.owner.peers import change_peer, find_peer, join

A, B = NodeId("a" * 64), NodeId("ab" * 32)
RECORDS = [PeerRecord(A, MembershipLevel.INVITED, name="alice"), PeerRecord(B, MembershipLevel.INVITED, name="bob")]


@pytest.fixture
def node(tmp_path: Path) -> CommandedNode:
    return CommandedNode(tmp_path, lambda: False)


@pytest.mark.parametrize(("text", "found"), [(A, A), ("aaaa", A), ("ABAB", B), (" bob ", B)])
def test_a_peer_is_found_by_its_id_and_its_name(text: str, found: NodeId) -> None:
    assert find_peer(text, RECORDS) == found


@pytest.mark.parametrize(("text", "trusting"), [("", False), ("aa", False), ("carol", False), ("bob", True)])
def test_what_fits_no_peer_or_could_fit_another_is_refused(text: str, trusting: bool) -> None:  # noqa: FBT001
    with pytest.raises(ConfigurationError):
        find_peer(text, RECORDS, is_to_be_trusted=trusting)


async def test_a_peer_is_changed_in_the_store(node: CommandedNode) -> None:
    answer = await change_peer(node, Verb.BLOCK, A)
    assert (answer.state, "is blocked" in answer.words) == (CommandState.DONE, True)
    async with node.store() as store:
        (record,) = await store.load()
    assert record.membership is MembershipLevel.BLOCKED
    with pytest.raises(NotDone, match="not known here"):
        await change_peer(node, Verb.TRUST, B)


async def test_a_join_waits_for_the_next_start(node: CommandedNode) -> None:
    link = make_link(Invite(A, ("203.0.113.7:4433",), None, b"t" * 16, 2_000_000_000))
    assert (await join(node, link)).state is CommandState.PENDING
    async with node.store() as store:
        assert [each.verb for each in await store.pending_commands()] == [Verb.JOIN]
        await store.set_value("node_id", A.encode())
    with pytest.raises(ConfigurationError, match="own invite"):
        await join(node, link)
