"""Two homes that only a relay in the street can bring together: by the link alone, and again after what cuts them."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from homes import Homes, Router, node_at
from meeting import GIVE_EVERY_S, linked, node_id, peer_row, wait_until
from two_homes import MEETS_WITHIN_S, ask, doctor, joined, told_at, two_nodes

pytestmark = pytest.mark.usefixtures("homes_are_possible", "relay_is_built")
Measured = Callable[[str, float, float], None]
BACK_WITHIN_S = 15.0  # promised are two; iroh by itself may take 32
A_MINUTE_S = 60.0


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


def test_a_relay_that_is_gone_is_said_and_its_return_brings_the_peers_back(tmp_path: Path, measured: Measured) -> None:
    with Homes(ada=Router(), bob=Router()) as homes:
        relay = homes.start_relay(tmp_path)
        with two_nodes(homes, tmp_path) as (ada, bob):
            joined(ada, bob, "--relay", relay)
            homes.stop_relay()
            wait_until(lambda: not linked(ada), MEETS_WITHIN_S)
            wait_until(lambda: "fail  relay" in doctor(ada), MEETS_WITHIN_S, GIVE_EVERY_S)
            assert "fail  relay" in ada.command("peers").stdout
            homes.start_relay(tmp_path)
            took_s = wait_until(lambda: linked(ada), BACK_WITHIN_S)
            measured("linked again after the relay's return", took_s, BACK_WITHIN_S)


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
