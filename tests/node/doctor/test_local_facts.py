import os
import socket
from pathlib import Path

import pytest

from masa_node.node.doctor.local_facts import folder_facts, http_facts, settings_facts, udp_error
from masa_node.node.settings.environment import Settings


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MASA_DIR", str(tmp_path / "masa"))


def test_settings_that_are_fine_have_no_errors() -> None:
    assert settings_facts(Settings()).errors == ()


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (Settings(relay_url="nonsense"), "RELAY_URL"),
        (Settings(peer_address="nonsense"), "PEER_ADDRESS"),
        (Settings(host="0.0.0.0"), "API_KEY"),  # noqa: S104 - what is refused
        (Settings(bootnodes="nonsense"), "BOOTNODES"),
        (Settings(llm_chat_url="ftp://x"), "LLM_CHAT_URL"),
        (Settings(stake_network="nowhere"), "STAKE_NETWORK"),
    ],
)
def test_each_setting_that_would_stop_the_start_is_named_once(settings: Settings, names: str) -> None:
    (error,) = settings_facts(settings).errors
    assert names in error


def test_all_that_is_wrong_is_said_at_once() -> None:
    assert len(settings_facts(Settings(relay_url="nonsense", bootnodes="nonsense", host="::")).errors) > 1


def test_a_broken_masa_toml_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "masa.toml").write_text("[[upstream]\n")
    assert any("masa.toml" in error for error in settings_facts(Settings()).errors)


def test_a_misspelt_name_in_dotenv_is_found(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("RELAY_ULR=https://relay.example.org\n")
    (unknown,) = settings_facts(Settings()).unknown
    assert (unknown.name, unknown.nearest) == ("RELAY_ULR", "RELAY_URL")


def test_a_folder_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    facts = folder_facts(tmp_path / "a" / "b")
    assert (facts.error, facts.mode) == ("", None)
    assert facts.free_bytes
    assert not (tmp_path / "a").exists()


def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert folder_facts(tmp_path / "file").error


@pytest.mark.skipif(os.name == "nt", reason="no such modes there")
def test_rights_and_the_key_are_looked_at(tmp_path: Path) -> None:
    folder = tmp_path / "masa"
    folder.mkdir(mode=0o755)
    folder.chmod(0o777)
    (folder / "node.key").write_bytes(bytes(32))
    (folder / "node.key").chmod(0o644)
    facts = folder_facts(folder)
    assert facts.mode == 0o777
    assert "chmod 600" in facts.key_error
    assert sorted(path.name for path in folder.iterdir()) == ["node.key"]


def test_looking_makes_no_key(tmp_path: Path) -> None:
    assert folder_facts(tmp_path).key_error == ""
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("state", "network", "is_told"),
    [("off", "on", True), ("not running", "auto", True), ("on", "on", False), ("off", "off", False)],
)
def test_a_taken_udp_port_is_an_error_of_a_node_without_a_network(state: str, network: str, *, is_told: bool) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        settings = Settings(peer_host="127.0.0.1", peer_port=port, network=network)
        assert (f"UDP port {port} of 127.0.0.1" in udp_error(settings, state)) == is_told
    assert udp_error(settings, state) == ""
    assert udp_error(Settings(peer_host="nowhere", peer_port=port), "off") == ""


def test_a_taken_port_is_an_error_and_a_free_one_is_left_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert "Cannot listen" in http_facts(Settings(port=port, port_is_set=True)).error
    assert http_facts(Settings(port=port, port_is_set=True)).error == ""
    assert http_facts(Settings(port=port, port_is_set=True)).url == f"http://127.0.0.1:{port}"
