"""How users bring nodes together: with the commands, upon running nodes, in closed networks."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from calling import answered
from meeting import (
    GIVE_EVERY_S,
    MEET_WITHIN_S,
    StartNode,
    bootnode,
    linked,
    node_id,
    own_view,
    peer_row,
    servers_of,
    wait_until,
)
from node_process import Node

FAILED, WRONG = 1, 2  # exit codes


@pytest.fixture(scope="module")
def host(start_peer: StartNode) -> Iterator[Node]:
    """A node with a model, in a closed network of its own."""
    with start_peer(DEMO="1", NODE_NAME="host") as node:
        node_id(node)
        yield node


@pytest.fixture(scope="module")
def link(host: Node) -> str:
    """One that the guest uses."""
    made = host.command("invite", "--note", "for a friend")
    assert made.returncode == 0, made.stderr
    assert "0 of 1" in host.command("invites").stdout
    return made.stdout.removesuffix("\n")


@pytest.fixture(scope="module")
def guest(start_peer: StartNode, link: str) -> Iterator[Node]:
    """A node that has joined the host's network."""
    with start_peer(NODE_NAME="guest") as node:
        node_id(node)
        joined = node.command("join", link)
        assert joined.returncode == 0, joined.stderr
        assert "Joined" in joined.stdout
        wait_until(lambda: servers_of(node, "masa-demo"))
        yield node


@pytest.fixture(scope="module")
def stranger(start_peer: StartNode, host: Node) -> Iterator[Node]:
    """A node that knows where the host is, and was not invited."""
    with start_peer(BOOTNODES=bootnode(host)) as node:
        node_id(node)
        yield node


def test_a_link_is_one_word(link: str) -> None:
    assert link.startswith("masa1-")
    assert link.split() == [link]


def test_who_joined_by_an_invite_may_ask(host: Node, guest: Node) -> None:
    assert peer_row(host, node_id(guest))["membership"] == "invited"
    assert linked(guest) == {node_id(host)}
    with answered(guest, "masa-demo") as answer:
        assert (answer.status, answer.headers["X-Masa-Served-By"]) == (200, node_id(host))


def test_a_closed_network_refuses_a_stranger_and_he_can_read_why(host: Node, stranger: Node) -> None:
    wait_until(lambda: "not a member" in peer_row(stranger, node_id(host)).get("error", ""))
    assert "not reached" in stranger.command("peers").stdout
    assert servers_of(stranger, "masa-demo") == set()
    with answered(stranger, "masa-demo") as answer:
        assert answer.status == 404


def test_an_invite_that_was_used_lets_no_second_node_in(host: Node, guest: Node, stranger: Node, link: str) -> None:
    assert "1 of 1" in host.command("invites").stdout
    refused = stranger.command("join", link)
    assert refused.returncode == FAILED
    assert "used up" in refused.stderr
    assert node_id(stranger) not in linked(host)


def test_a_revoked_invite_lets_nobody_in(host: Node, stranger: Node) -> None:
    made = json.loads(host.command("invite", "--json").stdout)
    assert json.loads(host.command("invites", "--revoke", made["id"], "--json").stdout) == {"revoked": made["id"]}
    refused = stranger.command("join", made["link"])
    assert refused.returncode == FAILED
    assert "revoked" in refused.stderr
    assert linked(stranger) == set()


def test_peers_are_shown_to_people_and_to_programs(host: Node, guest: Node) -> None:
    text = guest.command("peers").stdout
    for word in (node_id(host)[:10], "host", "direct", "masa-demo"):
        assert word in text
    rows = json.loads(guest.command("peers", "--json").stdout)["peers"]
    assert [(row["id"], row["membership"], row["route"]) for row in rows] == [(node_id(host), "listed", "direct")]


def test_a_peer_that_is_trusted_by_command_may_see_private_requests(host: Node, guest: Node) -> None:
    def status() -> int:
        with answered(guest, "masa-demo", headers={"X-Masa-Privacy": "trusted"}) as answer:
            return answer.status

    assert status() == 403
    assert guest.command("peers", "trust", node_id(host)[:10]).returncode == 0
    assert status() == 200
    assert guest.command("peers", "untrust", node_id(host)).returncode == 0
    assert status() == 403


def test_a_blocked_peer_is_gone_and_stays_out_until_it_is_unblocked(host: Node, guest: Node) -> None:
    guest_id = node_id(guest)
    # As soon as its name is known, too.
    wait_until(lambda: host.command("peers", "block", "guest").returncode == 0, every_s=GIVE_EVERY_S)
    wait_until(lambda: guest_id not in linked(host) and not linked(guest))
    assert servers_of(guest, "masa-demo") == set()
    wait_until(lambda: "blocked" in peer_row(guest, node_id(host))["error"])
    again = guest.command("join", host.command("invite").stdout.strip())
    assert again.returncode == FAILED
    assert "blocked" in again.stderr
    unblocked = host.command("peers", "unblock", guest_id)
    assert unblocked.returncode == 0, unblocked.stderr
    wait_until(lambda: guest_id in linked(host), 2 * MEET_WITHIN_S)


def test_a_second_node_with_the_same_folder_serves_without_a_network_and_says_so(
    guest: Node, start_peer: StartNode
) -> None:
    with start_peer(MASA_DIR=str(guest.masa_dir), DEMO="1") as second:
        wait_until(lambda: "uses this MASA_DIR" in second.get("/api/v1/peers")["why"])
        assert second.get("/api/v1/node")["node_id"] is None
        with answered(second, "masa-demo") as answer:
            assert (answer.status, answer.headers["X-Masa-Served-By"]) == (200, "local")
        assert "uses this MASA_DIR" in second.log.read_text()
    assert own_view(guest)["addresses"]


def test_what_is_no_link_is_refused_at_once(guest: Node) -> None:
    wrong = guest.command("join", "masa1-nonsense")
    assert wrong.returncode in (FAILED, WRONG)
    assert wrong.stderr.startswith("masa-node: ")


def test_members_meet_through_their_host_and_stay_linked_without_it(host: Node, guest: Node, stranger: Node) -> None:
    stranger.stop()
    made = host.command("invite").stdout.strip()
    pending = stranger.command("join", "--json", made)  # given while the node is down, used at its start
    assert json.loads(pending.stdout)["state"] == "pending"
    stranger.environment["BOOTNODES"] = ""
    stranger.start()
    stranger_id = node_id(stranger)
    wait_until(lambda: linked(stranger) == {node_id(host), node_id(guest)})
    assert "vouched" in {peer_row(guest, stranger_id)["membership"], peer_row(stranger, node_id(guest))["membership"]}
    host.stop()
    wait_until(lambda: linked(guest) == {stranger_id})
    stranger.stop()
    stranger.start()
    wait_until(lambda: linked(guest) == {stranger_id})
    host.start()
    wait_until(lambda: len(linked(host)) == 2)


def test_nodes_that_list_each_other_need_no_invite(start_peer: StartNode, tmp_path: Path) -> None:
    later = Node(tmp_path, {"NETWORK": "on", "FIND_LOCAL": "0"}, "/healthz")
    later_id = json.loads(later.command("id", "--json").stdout)["node_id"]  # before it ever ran
    with start_peer(BOOTNODES=later_id) as first:
        entry = bootnode(first)
        wait_until(
            lambda: json.loads(first.command("id", "--json").stdout)["bootnodes_entry"] == entry, every_s=GIVE_EVERY_S
        )
        later.environment["BOOTNODES"] = entry
        with later:
            wait_until(lambda: linked(first) == {later_id})
            assert peer_row(first, later_id)["membership"] == "listed"
