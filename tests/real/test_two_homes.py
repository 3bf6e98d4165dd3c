"""Two homes behind routers meet by the commands of README's join section, and each is told how."""

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from calling import answered
from homes import Homes, Router, node_at, relay_program, right_clock, set_clock, what_is_missing
from meeting import linked, node_id, own_view, peer_row, servers_of, wait_until
from netns import NodeThere, why_not
from netns import what_is_missing as netns_missing

from tests.lacking import lacking, lacking_what_takes_long

Measured = Callable[[str, float, float], None]
MEETS_WITHIN_S = 20.0
BACK_WITHIN_S = 15.0  # promised are two; iroh by itself may take 32
A_MINUTE_S = 60.0
FORWARDED = 4433
SOME_PACKETS = 20  # two heartbeats' worth, and what keeps the connection alive


@pytest.fixture(autouse=True)
def _possible() -> None:
    if why := netns_missing() or what_is_missing():
        lacking(why)
    if why := why_not():
        pytest.skip(why)


@pytest.fixture
def _relay_there(pytestconfig: pytest.Config) -> None:
    if not relay_program():
        lacking_what_takes_long(pytestconfig, "iroh-relay")


@contextlib.contextmanager
def two_nodes(
    homes: Homes, folder: Path, bobs: Mapping[str, str] | None = None, **settings: str
) -> Iterator[tuple[NodeThere, NodeThere]]:
    """Ada's and bob's, running; `settings` are ada's."""
    folders = [folder / name for name in ("ada", "bob")]
    for each in folders:
        each.mkdir()
    with node_at(homes, "ada", folders[0], settings) as ada, node_at(homes, "bob", folders[1], bobs) as bob:
        yield ada, bob


def told_at(homes: Homes, place: str) -> dict[str, str]:
    """Settings with which a node there tells its router's address to others."""
    return {"PEER_PORT": str(FORWARDED), "PEER_ADDRESS": f"{homes.outer_address(place)}:{FORWARDED}"}


def joined(ada: NodeThere, bob: NodeThere, *options: str) -> str:
    """Bob joins by ada's invite; what `join` said."""
    invite = ada.command("invite", *options)
    assert invite.returncode == 0, invite.stderr
    done = bob.command("join", invite.stdout.strip())
    assert done.returncode == 0, done.stderr + bob.log.read_text()[-2000:]
    return done.stdout


def ask(node: NodeThere, peer: NodeThere) -> None:
    """This peer alone has a model, and answers."""
    wait_until(lambda: servers_of(node, "masa-demo"))
    with answered(node, "masa-demo", {"stream": True}) as answer:
        assert (answer.status, answer.headers["X-Masa-Served-By"]) == (200, node_id(peer))
        assert answer.readline().startswith(b"data: ")


def doctor(node: NodeThere) -> str:
    return node.command("doctor").stdout


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
                wait_until(lambda node=node, both=both: re.search(both, doctor(node)), MEETS_WITHIN_S)
                wait_until(lambda node=node: "Are both clocks right?" in node.command("peers").stdout, MEETS_WITHIN_S)
            bob.stop()
            right_clock(bob)
            bob.start()
            wait_until(lambda: linked(ada) == {node_id(bob)}, 3 * MEETS_WITHIN_S)
            assert "this machine's clock agrees with peer" in doctor(bob)
            assert "fail" not in doctor(ada)


def own_port(node: NodeThere) -> str:
    """Of its address in its own home."""
    return next(text for text in own_view(node)["addresses"] if text.startswith("192.168.")).rpartition(":")[2]


@pytest.mark.usefixtures("_relay_there")
@pytest.mark.parametrize(
    ("ada_router", "bob_router"),
    [
        pytest.param(Router(), Router(), id="restricted x restricted"),
        pytest.param(Router(is_symmetric=True), Router(), id="symmetric x restricted"),
        pytest.param(Router(is_symmetric=True), Router(is_symmetric=True), id="symmetric x symmetric"),
        pytest.param(Router(udp_blocked=True), Router(), id="UDP blocked at the host's"),
        pytest.param(Router(), Router(udp_blocked=True), id="UDP blocked at the guest's"),
    ],
)
def test_by_the_relay_that_the_invite_names_two_homes_meet_without_any_setting(
    tmp_path: Path, measured: Measured, ada_router: Router, bob_router: Router
) -> None:
    with Homes(ada=ada_router, bob=bob_router) as homes:
        relay = homes.start_relay(tmp_path)
        with two_nodes(homes, tmp_path, {"DEMO": "0"}) as (ada, bob):
            began_s = time.monotonic()
            assert "(relay)" in joined(ada, bob, "--relay", relay)
            ask(bob, ada)
            measured("first invite to first answer", time.monotonic() - began_s, MEETS_WITHIN_S)
            assert linked(ada) == {node_id(bob)}


@pytest.mark.usefixtures("_relay_there")
def test_two_guests_of_one_host_that_can_only_meet_at_its_relay_are_linked_and_one_asks_the_other(
    tmp_path: Path,
) -> None:
    symmetric = Router(is_symmetric=True)
    with Homes(ada=Router(), bob=symmetric, carl=symmetric) as homes:
        relay = homes.start_relay(tmp_path)
        (tmp_path / "carl").mkdir()
        nothing = {"DEMO": "0"}
        with (
            two_nodes(homes, tmp_path, nothing, **nothing) as (ada, bob),
            node_at(homes, "carl", tmp_path / "carl") as carl,
        ):
            joined(ada, bob, "--relay", relay)
            joined(ada, carl)
            wait_until(lambda: {node_id(carl), node_id(ada)} == linked(bob), MEETS_WITHIN_S)
            assert peer_row(bob, node_id(carl))["route"] == "relay"
            ask(bob, carl)


@pytest.mark.usefixtures("_relay_there")
def test_two_homes_that_know_their_outer_addresses_are_linked_directly_through_both_routers(
    tmp_path: Path, measured: Measured
) -> None:
    """An https relay would tell them these, which no relay in here can be: settings do."""
    with Homes(ada=Router(), bob=Router()) as homes:
        relay = homes.start_relay(tmp_path)
        with two_nodes(homes, tmp_path, told_at(homes, "bob"), **told_at(homes, "ada")) as (ada, bob):
            joined(ada, bob, "--relay", relay)

            def is_direct() -> bool:
                routes = [peer_row(ada, node_id(bob))["route"], peer_row(bob, node_id(ada))["route"]]
                return routes == ["direct", "direct"]

            measured("direct through two routers", wait_until(is_direct, 2 * MEETS_WITHIN_S), 2 * MEETS_WITHIN_S)


@pytest.mark.usefixtures("_relay_there")
def test_a_relay_that_is_gone_is_said_and_its_return_brings_the_peers_back(tmp_path: Path, measured: Measured) -> None:
    with Homes(ada=Router(), bob=Router()) as homes:
        relay = homes.start_relay(tmp_path)
        with two_nodes(homes, tmp_path) as (ada, bob):
            joined(ada, bob, "--relay", relay)
            homes.stop_relay()
            wait_until(lambda: not linked(ada), MEETS_WITHIN_S)
            wait_until(lambda: "fail  relay" in doctor(ada), MEETS_WITHIN_S)
            assert "fail  relay" in ada.command("peers").stdout
            homes.start_relay(tmp_path)
            took_s = wait_until(lambda: linked(ada), BACK_WITHIN_S)
            measured("linked again after the relay's return", took_s, BACK_WITHIN_S)


@pytest.mark.usefixtures("_relay_there")
def test_a_relay_that_is_down_when_the_invite_is_made_is_said_and_brings_the_guest_in_once_it_is_up(
    tmp_path: Path, measured: Measured
) -> None:
    with Homes(ada=Router(), bob=Router()) as homes, two_nodes(homes, tmp_path) as (ada, bob):
        invite = ada.command("invite", "--relay", homes.relay_url)
        assert f"The relay {homes.relay_url} was not reached" in invite.stderr
        failed = bob.command("join", invite.stdout.strip())
        assert (failed.returncode, "Joined" in failed.stdout) == (1, False)
        homes.start_relay(tmp_path)
        took_s = wait_until(lambda: linked(ada) and linked(bob), BACK_WITHIN_S)
        measured("joined after the relay's start", took_s, BACK_WITHIN_S)


@pytest.mark.usefixtures("_relay_there")
def test_after_a_minute_of_sleep_two_nodes_meet_at_their_relay_again(tmp_path: Path, measured: Measured) -> None:
    with Homes(ada=Router(), bob=Router()) as homes:
        relay = homes.start_relay(tmp_path)
        with two_nodes(homes, tmp_path) as (ada, bob):
            joined(ada, bob, "--relay", relay)
            os.kill(bob.pid, signal.SIGSTOP)
            try:
                time.sleep(A_MINUTE_S)
                assert not linked(ada)
            finally:
                os.kill(bob.pid, signal.SIGCONT)
            took_s = wait_until(lambda: linked(ada) and linked(bob), BACK_WITHIN_S)
            measured("linked again after a minute of sleep", took_s, BACK_WITHIN_S)


@pytest.mark.usefixtures("_relay_there")
def test_the_relay_of_an_invite_is_known_after_a_restart_of_both(tmp_path: Path) -> None:
    with Homes(ada=Router(), bob=Router()) as homes:
        relay = homes.start_relay(tmp_path)
        with two_nodes(homes, tmp_path) as (ada, bob):
            joined(ada, bob, "--relay", relay)
            for node in (ada, bob):
                node.stop()
            for node in (bob, ada):
                node.start()
            wait_until(lambda: linked(ada) == {node_id(bob)}, MEETS_WITHIN_S)
