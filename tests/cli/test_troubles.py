"""What of a report is told to whoever starts a node, and what a start has no use for."""

import subprocess
import sys
from pathlib import Path

import pytest

from masa_node.cli import troubles
from masa_node.cli.troubles import about_network, tell_of_troubles
from masa_node.node.doctor.findings import Level, fail, ok, report_of, warn
from masa_node.node.serve import serve
from masa_node.node.settings.environment import Settings
from tests.fakes.no_server import closed_port

LEVELS = frozenset(f"{level:<4}" for level in Level)
NOBODY = "ae58ff8833241ac82d6ff7611046ed67b5072d142c588d0063e942d9a75502b6"


def test_of_a_report_the_lines_about_the_network_are_picked_the_worst_first() -> None:
    lines = (warn("peer b0b0b0b0b0", "away"), fail("relay", "off"), ok("udp", "fine"), fail("llm llm", "off"))
    assert [line.check for line in about_network(report_of(lines))] == ["relay", "peer b0b0b0b0b0"]


@pytest.mark.parametrize("network", ["on", "off"])
async def test_the_last_lines_of_a_start_say_why_nobody_is_linked_unless_nobody_is_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], network: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(troubles, "LINKED_WITHIN_S", 0.1)
    settings = Settings(
        masa_dir="m",
        port=0,
        find_local=False,
        network=network,
        peer_host="127.0.0.1",
        bootnodes=f"{NOBODY}@no-such-host.invalid:1",
        relay_url=f"http://127.0.0.1:{closed_port()}",
    )
    async with serve(settings) as node:
        await tell_of_troubles(node)
    lines = [line for line in capsys.readouterr().out.splitlines() if line[:4] in LEVELS]  # the others are the log's
    says = ("fail  relay: 127.0.0.1 is not reached", "warn  network: 0 of 1", f"warn  peer {NOBODY[:10]}: ")
    expected = says if network == "on" else ()
    assert len(lines) == len(expected), lines
    assert all(line.startswith(start) for line, start in zip(lines, expected, strict=True)), lines


def test_a_node_starts_without_what_only_people_look_at() -> None:
    """Rich and what it brings along take a fifth of the time and of the memory of a start."""
    assert imported_at_a_start("rich", "pygments", "attr") == []


def test_a_node_starts_without_what_it_may_never_need() -> None:
    """Each of these takes a half to two megabytes for as long as it runs."""
    assert "masa_node.node.peering.state" in imported_at_a_start("masa_node.node.peering.state")
    unused = ("greenlet", "importlib.metadata", "zipfile", "dotenv", "masa_node.devnet.demo")
    later = ("masa_node.network.network", "masa_node.dialects.translation.translator", "iroh")
    assert imported_at_a_start(*unused, *later) == []


def imported_at_a_start(*names: str) -> list[str]:
    """Those of these modules that `masa-node up` has imported when the node is there and has nobody to connect to."""
    parts = (
        "masa_node.cli.main, masa_node.cli.banner, masa_node.cli.troubles, masa_node.cli.embedded, masa_node.node.run, "
        "masa_node.node.libraries, masa_node.node.peering.network, masa_node.telemetry.log"
    )
    settings = "masa_node.node.settings.environment"
    starts = (
        f"import sys, pathlib, {parts}, {settings}; masa_node.node.libraries.check_libraries(); "
        f"{settings}.read_settings({{}}, pathlib.Path('/nowhere/.env')); masa_node.node.node.read_files()"
    )
    code = f"{starts}; print(*sorted(set({names!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.split()
