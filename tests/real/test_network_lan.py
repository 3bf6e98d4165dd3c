"""Nodes on machines of their own: what passes between them, who listens, and a network that falls apart and heals."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from time import sleep
from typing import Any

import pytest
from calling import answered
from meeting import attempts, bootnode, linked, node_id, own_view, servers_of, wait_until
from netns import Lan, NodeThere, open_endpoints, what_is_missing, why_not

from tests.lacking import lacking

Measured = Callable[[str, float, float], None]

PLACES = ("a", "b", "c")
MARK = "xyzzy-mark-of-the-prompt-plugh"
FALLS_APART_WITHIN_S = 15.0  # promised are 5
HEALS_WITHIN_S = 30.0  # a peer that was not reached is dialed again after pauses that double


@pytest.fixture(scope="module")
def lan() -> Iterator[Lan]:
    if why := what_is_missing():
        lacking(why)
    if why := why_not():
        pytest.skip(why)
    with Lan(PLACES) as made:
        yield made


@pytest.fixture(scope="module")
def nodes(lan: Lan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, NodeThere]]:
    """One without an LLM at a; at b and c two that know a only."""
    with contextlib.ExitStack() as running:

        def start(location: str, **settings: str) -> NodeThere:
            return running.enter_context(NodeThere(tmp_path_factory.mktemp(location), settings, lan, location))

        made = {"a": start("a", OPEN_NETWORK="1")}
        boot = bootnode(made["a"])
        for location in ("b", "c"):
            made[location] = start(location, BOOTNODES=boot, DEMO="1", DEMO_PIECES_PER_S="12")
        wait_until(lambda: len(servers_of(made["a"], "masa-demo")) == 2)
        yield made
    for node in made.values():
        assert "Traceback" not in node.log.read_text()


def test_a_node_tells_the_addresses_that_others_can_reach(nodes: dict[str, NodeThere], lan: Lan) -> None:
    for location, node in nodes.items():
        hosts = {address.rpartition(":")[0] for address in own_view(node)["addresses"]}
        assert lan.address(location) in hosts
        assert "127.0.0.1" not in hosts


def test_nodes_that_know_the_same_node_meet_each_other(nodes: dict[str, NodeThere]) -> None:
    wait_until(lambda: linked(nodes["b"]) == {node_id(nodes["a"]), node_id(nodes["c"])})


def test_only_the_endpoint_and_the_udp_port_are_open(nodes: dict[str, NodeThere]) -> None:
    for node in nodes.values():
        endpoint = int(node.url.rpartition(":")[2])
        peers = int(next(text for text in own_view(node)["addresses"] if "[" not in text).rpartition(":")[2])
        any4, any6, loopback = "0" * 8, "0" * 32, "0100007F"
        allowed = {
            ("tcp", f"{loopback}:{endpoint:04X}"),
            ("udp", f"{any4}:{peers:04X}"),
            ("udp6", f"{any6}:{peers:04X}"),
        }
        assert open_endpoints(node.pid) == allowed


def test_nothing_of_a_request_can_be_read_on_the_way(nodes: dict[str, NodeThere], lan: Lan) -> None:
    fields: Any = {"messages": [{"role": "user", "content": f"{MARK} " * 5}], "stream": True}
    with lan.captured() as packets:
        with answered(nodes["a"], "masa-demo", fields) as answer:
            text = answer.read()
        seen = packets()
        assert MARK.encode() in text
        assert len(seen) > len(text)  # both peers were asked, and one answered
        for secret in (MARK, MARK[:8], "masa-demo", "messages", "Hello!", "I only repeat", "content-type"):
            assert secret.encode() not in seen
            assert secret.encode().lower() not in seen.lower()
        lan.run("a", lambda: send_in_clear(lan.address("b")))
        assert MARK.encode() in packets()  # it would have been seen


def send_in_clear(host: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(MARK.encode(), (host, 9))


def test_a_stream_survives_a_short_break_of_the_network(nodes: dict[str, NodeThere], lan: Lan) -> None:
    with answered(nodes["a"], "masa-demo", {"stream": True}) as answer:
        location = next(location for location in "bc" if node_id(nodes[location]) == answer.headers["X-Masa-Served-By"])
        lan.cut(location)
        sleep(1.0)
        lan.mend(location)
        assert answer.read().endswith(b"data: [DONE]\n\n")


def test_a_network_that_falls_apart_heals(nodes: dict[str, NodeThere], lan: Lan, measured: Measured) -> None:
    requester, lost, there = nodes["a"], node_id(nodes["b"]), node_id(nodes["c"])
    lan.cut("b")
    took_s = wait_until(lambda: lost not in linked(requester) | linked(nodes["c"]), FALLS_APART_WITHIN_S)
    measured("a peer behind a cut cable is out", took_s, FALLS_APART_WITHIN_S)
    wait_until(lambda: not linked(nodes["b"]), FALLS_APART_WITHIN_S)
    with answered(requester, "masa-demo") as answer:
        assert (answer.status, attempts(answer.headers["X-Masa-Attempts"])) == (200, {there: "won"})
    with answered(nodes["b"], "masa-demo") as answer:
        assert (answer.status, answer.headers["X-Masa-Served-By"]) == (200, "local")
    lan.mend("b")
    took_s = wait_until(lambda: lost in linked(requester) & linked(nodes["c"]), HEALS_WITHIN_S)
    measured("all are linked again after the cable is back", took_s, HEALS_WITHIN_S)
    wait_until(lambda: lost in servers_of(requester, "masa-demo"))
