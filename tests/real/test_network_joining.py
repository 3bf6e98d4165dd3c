"""How users bring nodes together: with the commands, upon running nodes, in closed networks."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from calling import answered
from meeting import MEET_WITHIN_S, StartNode, bootnode, linked, node_id, own_view, peer_row, servers_of, wait_until
from node_process import Node

FAILED, WRONG = 1, 2  # exit codes


@pytest.fixture
def host(start_peer: StartNode) -> Iterator[Node]:
    """A node with a model, in a closed network of its own."""
    with start_peer(DEMO="1", NODE_NAME="host") as node:
        node_id(node)
        yield node


@pytest.fixture
def guest(start_peer: StartNode) -> Iterator[Node]:
    with start_peer(NODE_NAME="guest") as node:
        node_id(node)
        yield node


def invite(node: Node, *options: str) -> str:
    made = node.command("invite", "--json", *options)
    assert made.returncode == 0, made.stderr
    return str(json.loads(made.stdout)["link"])


def join(node: Node, link: str) -> dict[str, Any]:
    joined = node.command("join", "--json", link)
    assert joined.returncode == 0, joined.stderr
    answer: dict[str, Any] = json.loads(joined.stdout)
    return answer


def test_an_invite_lets_one_node_in_and_no_second_one(host: Node, guest: Node, start_peer: StartNode) -> None:
    made = host.command("invite", "--note", "for a friend")
    assert made.returncode == 0
    link = made.stdout.strip()
    assert link.startswith("masa1-")
    assert "\n" not in link
    assert "0 of 1" in host.command("invites").stdout
    joined = guest.command("join", link)
    assert joined.returncode == 0, joined.stderr
    assert "Joined" in joined.stdout
    assert linked(guest) == {node_id(host)}
    wait_until(lambda: servers_of(guest, "masa-demo"))
    with answered(guest, "masa-demo") as answer:
        assert (answer.status, answer.headers["X-Masa-Served-By"]) == (200, node_id(host))
    assert "1 of 1" in host.command("invites").stdout

    with start_peer() as second:
        node_id(second)
        refused = second.command("join", link)
        assert refused.returncode == FAILED
        assert "used up" in refused.stderr
        assert linked(second) == set()
    assert linked(host) == {node_id(guest)}


def test_a_revoked_invite_lets_nobody_in(host: Node, guest: Node) -> None:
    made = json.loads(host.command("invite", "--json").stdout)
    assert json.loads(host.command("invites", "--revoke", made["id"], "--json").stdout) == {"revoked": made["id"]}
    refused = guest.command("join", made["link"])
    assert refused.returncode == FAILED
    assert "revoked" in refused.stderr


def test_members_of_a_closed_network_meet_through_the_one_who_invited_them(
    host: Node, guest: Node, start_peer: StartNode
) -> None:
    link = invite(host, "--uses", "2")
    join(guest, link)
    with start_peer(NODE_NAME="third") as third:
        node_id(third)
        join(third, link)
        wait_until(lambda: node_id(third) in linked(guest))
        assert peer_row(guest, node_id(third))["standing"] == "vouched"
        third_id = node_id(third)
        host.stop()
        wait_until(lambda: linked(guest) == {third_id})


def test_a_closed_network_refuses_a_stranger(host: Node, start_peer: StartNode) -> None:
    with start_peer(BOOTNODES=bootnode(host)) as stranger:
        row = lambda: peer_row(stranger, node_id(host))  # noqa: E731
        wait_until(lambda: "not a member" in row()["error"])
        assert row()["connected"] is False
        assert servers_of(stranger, "masa-demo") == set()
        assert linked(host) == set()
        shown = stranger.command("peers").stdout
        assert "not reached" in shown


def test_nodes_that_list_each_other_are_linked_and_shown(host: Node, start_peer: StartNode) -> None:
    with start_peer() as other:
        entry = json.loads(other.command("id", "--json").stdout)["bootnodes_entry"]
        assert entry == bootnode(other)
        other.stop()
        other.environment["BOOTNODES"] = bootnode(host)
        host.stop()
        host.environment["BOOTNODES"] = entry
        host.start()
        other.start()
        wait_until(lambda: linked(other) == {node_id(host)})
        wait_until(lambda: servers_of(other, "masa-demo"))
        text = other.command("peers").stdout
        assert node_id(host)[:10] in text
        assert "masa-demo" in text
        assert "direct" in text
        rows = json.loads(other.command("peers", "--json").stdout)["peers"]
        assert [(row["id"], row["standing"], row["route"]) for row in rows] == [(node_id(host), "listed", "direct")]


def test_a_blocked_peer_is_gone_and_stays_out_until_it_is_unblocked(host: Node, guest: Node) -> None:
    join(guest, invite(host))
    guest_id = node_id(guest)
    blocked = host.command("peers", "block", guest_id[:10])
    assert blocked.returncode == 0, blocked.stderr
    wait_until(lambda: not linked(host) and not linked(guest))
    assert servers_of(guest, "masa-demo") == set()
    wait_until(lambda: "blocked" in peer_row(guest, node_id(host))["error"])
    again = guest.command("join", invite(host))
    assert again.returncode == FAILED
    assert "blocked" in again.stderr
    unblocked = host.command("peers", "unblock", guest_id)
    assert unblocked.returncode == 0, unblocked.stderr
    wait_until(lambda: linked(host) == {guest_id}, 2 * MEET_WITHIN_S)


def test_a_peer_that_is_trusted_by_command_may_see_private_requests(host: Node, guest: Node) -> None:
    join(guest, invite(host))
    wait_until(lambda: servers_of(guest, "masa-demo"))
    trusted_only = {"X-Masa-Privacy": "trusted"}
    with answered(guest, "masa-demo", headers=trusted_only) as answer:
        assert answer.status == 403
    assert guest.command("peers", "trust", node_id(host)[:10]).returncode == 0
    with answered(guest, "masa-demo", headers=trusted_only) as answer:
        assert answer.status == 200
    assert guest.command("peers", "untrust", node_id(host)).returncode == 0
    with answered(guest, "masa-demo", headers=trusted_only) as answer:
        assert answer.status == 403


def test_a_link_given_before_the_start_is_used_at_the_start(host: Node, guest: Node) -> None:
    link = invite(host)
    guest.stop()
    pending = guest.command("join", "--json", link)
    assert json.loads(pending.stdout)["state"] == "pending"
    guest.start()
    wait_until(lambda: linked(guest) == {node_id(host)})


def test_a_second_node_with_the_same_folder_serves_without_a_network_and_says_so(
    guest: Node, start_peer: StartNode
) -> None:
    with start_peer(MASA_DIR=str(guest.masa_dir), DEMO="1") as second:
        wait_until(lambda: "uses this MASA_DIR" in second.get("/api/v1/peers")["why"])
        assert second.get("/api/v1/node")["node_id"] is None
        with answered(second, "masa-demo") as answer:
            assert answer.status == 200
        assert "uses this MASA_DIR" in second.log.read_text()
    assert own_view(guest)["addresses"]


def test_a_link_that_is_none_is_refused_before_anything_is_asked(guest: Node) -> None:
    wrong = guest.command("join", "masa1-nonsense")
    assert wrong.returncode in (FAILED, WRONG)
    assert "Traceback" not in wrong.stderr
    assert wrong.stderr.startswith("masa-node: ")
