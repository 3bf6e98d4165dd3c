"""`masa-node doctor` as its owner sees it: with no node, with one that runs, and with one that is silent."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from masa_node.cli import main as cli
from masa_node.network.store.store import Store
from masa_node.node.doctor.findings import Report
from masa_node.telemetry import log
from tests.fakes.no_server import closed_port
from tests.processes import running

SECRET = "sk-not-to-be-printed"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(log, "configure", lambda *_: None)  # it would keep this test's stderr
    for name, value in {"MASA_DIR": str(tmp_path / "m"), "FIND_LOCAL": "0", "COLUMNS": "300"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PORT", str(closed_port()))


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["masa-node", "doctor", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    out, err = capsys.readouterr()
    assert err == ""
    return int(caught.value.code or 0), out


def write_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Makes a key with a name."""
    monkeypatch.setattr(sys, "argv", ["masa-node", "keys", "add", "bob", "--json"])
    with pytest.raises(SystemExit):
        cli.main()
    return str(json.loads(capsys.readouterr().out)["key"])


@contextlib.contextmanager
def up(folder: Path, **settings: str) -> Iterator[None]:
    """A node of this MASA_DIR."""
    env = {**os.environ, "NETWORK": "on", "DEMO": "1", "PEER_HOST": "127.0.0.1", "API_KEY": SECRET, **settings}
    command = [sys.executable, "-m", "masa_node", "up", "--json"]
    with running(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "ready":
                break
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


def test_without_a_node_it_says_what_can_be_seen_and_exits_with_zero(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out = run(monkeypatch, capsys)
    assert code == 0, out
    assert "no node runs with this MASA_DIR" in out
    assert "masa-node up" in out
    assert not (tmp_path / "m").exists()


def test_a_failure_is_exit_code_one_in_words_and_in_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RELAY_URL", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("RELAY_TOKEN", SECRET)
    code, out = run(monkeypatch, capsys)
    assert (code, SECRET in out) == (1, False)
    assert "fail  relay: 127.0.0.1 is not reached" in out
    code, out = run(monkeypatch, capsys, "--json")
    assert code == 1, out
    assert not msgspec.json.decode(out, type=Report).ok


def test_settings_that_cannot_be_read_are_a_line_and_no_crash(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", "99999")
    code, out = run(monkeypatch, capsys)
    assert code == 1, out
    assert "fail  settings: PORT" in out


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OLLAMA_HOST", "junk:::"),
        ("PEER_HOST", "gpu-box"),
        ("MASA_DIR", "~no-such-user/masa"),
    ],
)
def test_a_value_that_cannot_be_is_a_line_and_no_crash(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    code, out = run(monkeypatch, capsys)
    assert code == 1, out
    assert out.count("fail ") == 1
    assert f"fail  settings: {name}" in out


def test_a_relay_that_is_mistyped_is_the_settings_line_alone_and_no_crash(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for url in ("relay.example.org", "ftp://relay.example.org", "https://[::1", "https://"):
        monkeypatch.setenv("RELAY_URL", url)
        code, out = run(monkeypatch, capsys)
        assert code == 1
        assert out.count("fail ") == 1
        assert "fail  settings: RELAY_URL" in out
        assert " relay: " not in out


def test_the_relay_that_was_chosen_is_looked_at_before_the_node_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async def choose() -> None:
        store = await Store.open(tmp_path / "m")
        await store.set_value("relay", f"http://127.0.0.1:{closed_port()}".encode())
        await store.close()

    asyncio.run(choose())
    code, out = run(monkeypatch, capsys)
    assert code == 1, out
    assert "fail  relay: 127.0.0.1 is not reached" in out


def test_a_node_that_runs_tells_of_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    named = write_key(monkeypatch, capsys)
    monkeypatch.setenv("API_KEY", SECRET)
    with up(tmp_path):
        code, out = run(monkeypatch, capsys)
        monkeypatch.setenv("API_KEY", "another")
        refused, words = run(monkeypatch, capsys)
        monkeypatch.setenv("API_KEY", named)
        _, of_named = run(monkeypatch, capsys)
    assert "ok    http: the node serves at" in out
    assert "masa-demo gave a token" in out
    assert "only nodes on this machine can reach this one" in out
    assert (code, SECRET in out) == (1, False)
    assert refused == 1
    assert "the node runs, but does not answer" in words
    assert "it wants an API key. -> Set API_KEY" in words
    assert "to a key with a name. -> Set API_KEY" in of_named


def test_a_node_that_could_not_get_on_the_network_tells_of_itself_and_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It holds no lock. Its own HTTP port is not taken by another program."""
    monkeypatch.setenv("API_KEY", SECRET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with up(tmp_path, PEER_PORT=str(port)):
            code, out = run(monkeypatch, capsys)
            monkeypatch.setenv("MASA_DIR", str(tmp_path / "another"))
            _, another = run(monkeypatch, capsys)
    assert code == 1, out
    assert "ok    http: the node serves at" in out
    assert f"fail  udp: UDP port {port} of 127.0.0.1 (PEER_PORT) is taken" in out
    assert out.count("fail ") == 1
    assert "fail  http: Cannot listen" in another, "of another folder's node it is true"
    assert "-> A node with another MASA_DIR serves there" in another


def test_a_port_that_another_program_has_is_not_called_a_nodes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("PORT", str(taken.getsockname()[1]))
        _, out = run(monkeypatch, capsys)
    assert "fail  http: Cannot listen" in out
    assert "-> Set PORT" in out


def test_a_folder_that_may_not_be_looked_into_is_a_line_and_no_crash(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As another user's, which root sees."""
    sees = Path.stat

    def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path.parent == tmp_path / "m":
            raise PermissionError(13, "Permission denied", str(path))
        return sees(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", stat)
    code, out = run(monkeypatch, capsys)
    assert code == 1, out
    assert "fail  settings:" in out
    assert "masa.toml cannot be looked at: Permission denied" in out


def test_so_does_one_that_its_owner_keeps_off_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("API_KEY", SECRET)
    with up(tmp_path, NETWORK="off"):
        code, out = run(monkeypatch, capsys)
    assert code == 0, out
    assert "ok    http: the node serves at" in out
    assert "warn  network: not connected with peers: NETWORK=off" in out
