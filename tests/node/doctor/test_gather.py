"""The whole way from a node, running or not, to its report.

Covers: `at_rest`, `network_facts`.
"""

import asyncio
import socket
from pathlib import Path

import pytest

from masa_node.chat.errors import PeerUnreachable
from masa_node.network.links.peer_book import MembershipLevel, PeerRecord
from masa_node.network.transport.interfaces import NodeId, PeerAddress
from masa_node.network.transport.memory import MemoryNetwork
from masa_node.node.doctor.at_rest import gather_at_rest
from masa_node.node.doctor.facts import NetworkFacts
from masa_node.node.doctor.network_facts import facts_of, remembered
from masa_node.node.doctor.report import examine, troubles
from masa_node.node.peering.state import Off, Starting
from masa_node.node.serve import serve
from masa_node.node.settings.environment import Settings
from tests.fakes.no_server import closed_port
from tests.network.nodes import introduce, make, running
from tests.virtual_time import virtual_time

NOBODY = NodeId("b" * 64)


@virtual_time
async def test_linked_peers_and_those_that_are_not_are_facts() -> None:
    first, other = make(MemoryNetwork(seed=1), 2)
    introduce([first, other])
    other.network.want([PeerAddress(NOBODY, ("10.9.9.9:1",))])
    async with running(first, other):
        await asyncio.sleep(40)
        facts, home = await facts_of(other.network, other.transport, "81.2.69.7:1")
        assert [peer for peer, _ in other.network.clocks.known(0.0)] == [first.id]
    away, linked = facts.peers
    assert (linked.id, linked.is_linked, linked.route) == (first.id, True, "direct")
    assert (away.id, away.is_linked, away.code) == (NOBODY, False, PeerUnreachable.code)
    assert away.failures > 1
    assert away.next_try_s is not None
    assert (facts.way_in.external, home) == ("81.2.69.7:1", None)
    assert not other.network.clocks.known(0.0)  # they went with the links


def test_what_is_remembered_names_members_only() -> None:
    records = [
        PeerRecord(NodeId("a" * 64), MembershipLevel.LISTED, name="ada", last_linked_at_unix_s=1_700_000_000),
        PeerRecord(NOBODY, MembershipLevel.HEARD),
    ]
    facts = remembered(records, "it was refused.")
    assert [peer.name for peer in facts.peers] == ["ada"]
    assert facts.refused_join == "it was refused."


async def test_the_states_without_a_network_say_why() -> None:
    off, starting = await Off("NETWORK=off").look(), await Starting().look()
    assert (off.facts.state, off.facts.why) == ("off", "NETWORK=off")
    assert starting.facts.state == "starting"


async def test_a_node_that_does_not_run_is_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    url = f"http://127.0.0.1:{closed_port()}"
    settings = Settings(masa_dir=str(tmp_path / "m"), llm_chat_url=url, port=closed_port(), port_is_set=True)
    found = troubles(examine(await gather_at_rest(settings, NetworkFacts(), f"http://127.0.0.1:{closed_port()}")))
    assert [line.check for line in found] == ["llm llm", "relay", "http"]
    assert not (tmp_path / "m").exists()


async def test_settings_that_cannot_be_are_one_fault_and_not_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "masa.toml").write_text("[[upstream]\n")
    settings = Settings(masa_dir="m", port=closed_port(), port_is_set=True, find_local=False)
    report = examine(await gather_at_rest(settings, NetworkFacts(), ""))
    assert [line.check for line in troubles(report)] == ["settings", "http"]
    assert report.masa_dir == str(tmp_path / "m")


async def test_a_udp_port_that_is_taken_is_named_while_no_node_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        settings = Settings(masa_dir="m", peer_host="127.0.0.1", peer_port=taken.getsockname()[1])
        found = troubles(examine(await gather_at_rest(settings, NetworkFacts("not running"), "")))
    assert "udp" in [line.check for line in found]


async def test_a_running_node_reports_and_no_secret_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    secret = "sk-do-not-print-this"
    settings = Settings(
        masa_dir=str(tmp_path / "m"),
        port=0,
        network="off",
        find_local=False,
        api_key=secret,
        llm_chat_url=f"http://127.0.0.1:{closed_port()}/?key={secret}",
        llm_chat_token=secret,
        relay_token=secret,
        openai_api_key=secret,
        openai_base_url=f"http://127.0.0.1:{closed_port()}",
    )
    async with serve(settings, is_ready=False) as node:
        whole, network = await node.report(), await node.report(whole=False)
    assert not whole.ok
    assert {"llm llm", "llm openai"} <= {line.check for line in whole.findings if line.level == "fail"}
    assert not any(line.check.startswith("llm ") for line in network.findings)
    assert secret not in str(whole)
