"""What the stake's settings mean; and that with staking off no code of the chain is ever imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.node.settings.environment import Settings
from masa_node.node.settings.stake import StakeMode, read_stake_settings

PROFILE = """
name = "here"
chain_id = 31337
rpc_urls = ["http://127.0.0.1:8545"]
contract = "0x1111111111111111111111111111111111111111"
"""

STARTED = """
import os, signal, sys
from masa_node.node.run import run
from masa_node.node.settings.environment import read_settings
from masa_node.cli import main
import asyncio

class Announce:
    def on_listening(self, address, node):
        pass

    def on_ready(self, address, node):
        assert node.node_id, "the network is up"
        chain = ("masa_node.staking", "coincurve", "Crypto", "eth_keys", "eth_account", "web3")
        print("imported:", sorted(name for name in sys.modules if name.startswith(chain)))
        os.kill(os.getpid(), signal.SIGINT)

asyncio.run(run(read_settings(), Announce()))
"""


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "here.toml"
    path.write_text(PROFILE)
    return path


def test_without_a_network_profile_stakes_are_not_checked() -> None:
    read = read_stake_settings(Settings())
    assert (read.is_off, read.profile, read.providers, read.callers) == (True, None, StakeMode.OFF, StakeMode.OFF)


def test_with_one_staked_peers_are_preferred_unless_said_otherwise(profile: Path) -> None:
    read = read_stake_settings(Settings(stake_network=str(profile), stake_callers="require"))
    assert (read.is_off, read.providers, read.callers) == (False, StakeMode.PREFER, StakeMode.REQUIRE)


def test_a_profile_alone_with_both_policies_off_looks_at_nobody(profile: Path) -> None:
    assert read_stake_settings(Settings(stake_network=str(profile), stake_providers="off", stake_callers="off")).is_off


def test_rpc_url_and_stake_contract_stand_above_the_profile(profile: Path) -> None:
    settings = Settings(
        stake_network=str(profile),
        rpc_url="https://one.example.org/key, https://two.example.org",
        stake_contract="0x" + "22" * 20,
    )
    read = read_stake_settings(settings)
    assert read.profile is not None
    assert read.profile.rpc_urls == ("https://one.example.org/key", "https://two.example.org")
    assert read.profile.contract == "0x" + "22" * 20


@pytest.mark.parametrize("name", ["stake_providers", "stake_callers"])
def test_a_policy_without_a_chain_is_an_error_that_names_both(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name.upper()}=require .* STAKE_NETWORK"):
        read_stake_settings(Settings(**{name: "require"}))


def test_what_is_no_node_id_cannot_be_allowed() -> None:
    with pytest.raises(ConfigurationError, match="STAKE_ALLOW: 'ada' is not a node id"):
        read_stake_settings(Settings(stake_allow="ada"))


def test_who_is_allowed_means_nothing_where_no_stake_is_looked_at() -> None:
    with pytest.raises(ConfigurationError, match=r"^STAKE_ALLOW .* STAKE_NETWORK"):
        read_stake_settings(Settings(stake_allow="ab" * 32))


def test_rpc_urls_may_hold_keys_and_are_not_shown() -> None:
    assert "secret" not in repr(Settings(rpc_url="https://example.org/secret"))


@pytest.mark.parametrize(("profiled", "imports"), [(False, False), (True, True)])
def test_only_a_node_that_looks_at_stakes_imports_the_chains_code(
    tmp_path: Path, profile: Path, *, profiled: bool, imports: bool
) -> None:
    environ = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(Path(__file__).parents[3] / "src"),
        "MASA_DIR": str(tmp_path / "masa"),
        "NETWORK": "on",
        "PEER_HOST": "127.0.0.1",
        "PORT": "0",
        "FIND_LOCAL": "0",
        "LOG_LEVEL": "error",
        **({"STAKE_NETWORK": str(profile)} if profiled else {}),
    }
    ran = subprocess.run(
        [sys.executable, "-c", STARTED],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=tmp_path,
    )
    [told] = [line for line in ran.stdout.splitlines() if line.startswith("imported:")]  # among lines of the log
    assert (told == "imported: []") is not imports
    assert ("masa_node.staking.gate.gate" in told) is imports
