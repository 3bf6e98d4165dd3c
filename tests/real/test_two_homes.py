"""Two homes behind routers meet by the commands of README's join section, and each is told how; without a relay."""

import contextlib
import functools
import os
import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from calling import answered
from homes import Homes, Router, node_at, right_clock, set_clock
from meeting import GIVE_EVERY_S, linked, node_id, own_view, peer_row, servers_of, wait_until
from netns import NodeThere
from two_homes import FORWARDED, MEETS_WITHIN_S, doctor, joined, told_at, two_nodes

pytestmark = pytest.mark.usefixtures("homes_are_possible")
Measured = Callable[[str, float, float], None]
SOME_PACKETS = 20  # two heartbeats' worth, and what keeps the connection alive


def test_without_a_way_in_the_invite_and_the_doctor_say_so(tmp_path: Path) -> None:
    with Homes(ada=Router(), bob=Router()) as homes, two_nodes(homes, tmp_path) as (ada, bob):
        invite = ada.command("invite")
        assert "--relay public" in invite.stderr
        with ThreadPoolExecutor(1) as beside:
            joining = beside.submit(bob.command, "join", invite.stdout.strip())
            assert "only nodes in this network can reach this one" in doctor(ada)
            failed = joining.result()
        assert failed.returncode == 1
        assert "Not linked yet: no connection" in failed.stderr
        assert "Joined" not in failed.stdout
        assert "fail  address" in bob.command("peers").stdout


def test_a_forwarded_port_is_a_way_in(tmp_path: Path) -> None:
    router = Router(forwarded=FORWARDED)
    with Homes(ada=router, bob=Router()) as homes:
        settings = told_at(homes, "ada")
        with two_nodes(homes, tmp_path, **settings) as (ada, bob):
            assert "(direct)" in joined(ada, bob, "--note", "bobby")
            wait_until(lambda: peer_row(ada, node_id(bob))["name"] == "bobby")
            assert peer_row(bob, node_id(ada))["name"] == ""
            assert ada.command("peers", "trust", node_id(bob)).returncode == 0
            assert "is no longer trusted" in ada.command("peers", "untrust", "bobby").stdout
            assert f"others are told {settings['PEER_ADDRESS']} (PEER_ADDRESS)" in doctor(ada)


def test_a_router_that_opens_ports_is_a_way_in_and_the_nodes_own_port_stays_the_same(tmp_path: Path) -> None:
    with Homes(ada=Router(), bob=Router()) as homes:
        homes.start_mapper("ada", tmp_path)
        with two_nodes(homes, tmp_path) as (ada, bob):
            invite = ada.command("invite")
            assert f"directly at {homes.outer_address('ada')}:" in invite.stderr
            assert "(direct)" in bob.command("join", invite.stdout.strip()).stdout
            assert f"the router forwards {homes.outer_address('ada')}:" in doctor(ada)
            before = own_port(ada)
            ada.stop()
            ada.start()
            assert own_port(ada) == before
            wait_until(lambda: linked(ada) == {node_id(bob)}, MEETS_WITHIN_S)


def test_nodes_are_linked_after_a_router_got_another_address(tmp_path: Path) -> None:
    with Homes(ada=Router(forwarded=FORWARDED), bob=Router()) as homes:
        settings = told_at(homes, "ada")
        with two_nodes(homes, tmp_path, **settings) as (ada, bob):
            joined(ada, bob)
            address = homes.change_outer_address("bob")
            wait_until(lambda: homes.packets_from(address, "ada") >= SOME_PACKETS, 3 * MEETS_WITHIN_S)
            both = [{node_id(ada)}, {node_id(bob)}]
            wait_until(lambda: [linked(bob), linked(ada)] == both, MEETS_WITHIN_S)


@pytest.mark.parametrize("change", [Homes.change_inner_address, Homes.change_outer_address], ids=["LAN", "WAN"])
def test_a_stream_stays_whole_when_the_address_of_whoever_reads_it_changes(
    tmp_path: Path, change: Callable[[Homes, str], str]
) -> None:
    with Homes(ada=Router(forwarded=FORWARDED), bob=Router()) as homes:
        settings = told_at(homes, "ada") | {"DEMO_PIECES_PER_S": "3"}
        with two_nodes(homes, tmp_path, {"DEMO": "0"}, **settings) as (ada, bob):
            joined(ada, bob)
            wait_until(lambda: servers_of(bob, "masa-demo"))
            with answered(bob, "masa-demo", {"stream": True}) as answer:
                assert answer.headers["X-Masa-Served-By"] == node_id(ada)
                answer.readline()
                address = change(homes, "bob")
                assert answer.read().endswith(b"data: [DONE]\n\n")
            wait_until(lambda: address in str(own_view(bob)) or homes.packets_from(address, "ada"), MEETS_WITHIN_S)


def test_a_node_that_slept_is_linked_again_at_once(tmp_path: Path, measured: Measured) -> None:
    with Homes(ada=Router(forwarded=FORWARDED), bob=Router()) as homes:
        settings = told_at(homes, "ada")
        with two_nodes(homes, tmp_path, **settings) as (ada, bob):
            joined(ada, bob)
            os.kill(bob.pid, signal.SIGSTOP)
            try:
                wait_until(lambda: not linked(ada), 2 * MEETS_WITHIN_S)
            finally:
                os.kill(bob.pid, signal.SIGCONT)
            most_s = 2 * MEETS_WITHIN_S
            measured("linked again after a sleep", wait_until(lambda: linked(ada), most_s), most_s)
            wait_until(lambda: linked(bob) == {node_id(ada)}, MEETS_WITHIN_S)


@pytest.mark.parametrize("ahead_s", [600.0, -600.0], ids=["ahead", "behind"])
def test_a_clock_that_is_ten_minutes_off_is_named_on_both_sides_and_set_right_is_forgotten(
    tmp_path: Path, ahead_s: float
) -> None:
    with Homes(ada=Router(forwarded=FORWARDED), bob=Router()) as homes:
        folders = [tmp_path / name for name in ("ada", "bob")]
        for each in folders:
            each.mkdir()
        bob = node_at(homes, "bob", folders[1])
        set_clock(bob, tmp_path / "clock", ahead_s)
        with node_at(homes, "ada", folders[0], told_at(homes, "ada")) as ada, contextlib.ExitStack() as at_the_end:
            at_the_end.callback(bob.stop)
            assert bob.command("join", ada.command("invite").stdout.strip()).returncode == 0, (
                "it is off, and joins later"
            )
            bob.start()
            for node, is_ahead in ((ada, ahead_s < 0), (bob, ahead_s > 0)):
                line = rf"fail  clock: .* {'ahead of' if is_ahead else 'behind'} peer"
                # For a moment they are linked, and part again.
                both = rf"{line}[\s\S]*Set the clock that is wrong"
                wait_until(lambda node=node, both=both: re.search(both, doctor(node)), MEETS_WITHIN_S, GIVE_EVERY_S)
                peers = functools.partial(node.command, "peers")
                wait_until(lambda peers=peers: "Are both clocks right?" in peers().stdout, MEETS_WITHIN_S, GIVE_EVERY_S)
            bob.stop()
            right_clock(bob)
            bob.start()
            wait_until(lambda: linked(ada) == {node_id(bob)}, 3 * MEETS_WITHIN_S)
            assert "this machine's clock agrees with peer" in doctor(bob)
            assert "fail" not in doctor(ada)


def own_port(node: NodeThere) -> str:
    """Of its address in its own home."""
    return next(text for text in own_view(node)["addresses"] if text.startswith("192.168.")).rpartition(":")[2]
