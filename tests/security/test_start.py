"""Who can be reached by others does not start without a key (Ollama CVE-2025-63389: 175 000 open servers)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.node.callers import guard_rules
from masa_node.node.settings.environment import read_settings
from tests.api.raw_http import ask_once, get
from tests.api.serving import SOURCES, ServingNode


def start(directory: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a node that is expected not to."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONPATH": str(SOURCES), "PORT": "0"}
    return subprocess.run(
        [sys.executable, "-m", "masa_node", "up", "--json"],
        env=environment | settings,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104
def test_without_a_key_it_is_not_bound_to_every_address(tmp_path: Path, host: str) -> None:
    done = start(tmp_path, HOST=host)
    assert done.returncode == 2
    assert "API_KEY" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("host", ["0", "::ffff:0.0.0.0", "192.168.1.7", "node.example.org", "127.0.0.1.example.org"])
def test_without_a_key_it_is_bound_to_no_name_or_address_but_loopback(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigurationError, match="API_KEY"):
        guard_rules(read_settings({"HOST": host}, tmp_path / ".env"))


@pytest.mark.parametrize("key", [" ", ",", " , ,"])
def test_a_key_of_nothing_is_none(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigurationError, match="API_KEY"):
        guard_rules(read_settings({"HOST": "0.0.0.0", "API_KEY": key}, tmp_path / ".env"))  # noqa: S104


def test_by_default_it_listens_on_loopback_only(node: ServingNode) -> None:
    assert node.address.startswith("http://127.0.0.1:")
    hexed = f"0100007F:{node.port:04X}"
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if " 0A " in line]
    assert [address for address in listening if address.endswith(f":{node.port:04X}")] == [hexed]


async def test_with_a_key_it_may_be_reached_by_others(tmp_path: Path) -> None:
    with ServingNode(tmp_path, {"HOST": "0.0.0.0", "API_KEY": "k"}) as node:  # noqa: S104
        assert (await ask_once(node.port, get(b"/v1/models"))).status == 401
        assert (await ask_once(node.port, get(b"/v1/models", b"x-api-key: k\r\n"))).status == 200
