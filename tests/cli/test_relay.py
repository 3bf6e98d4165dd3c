"""`masa-node relay`: the configuration it writes, what it refuses, and that iroh-relay takes it."""

import os
import shutil
import socket
import stat
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.cli import main as cli
from masa_node.cli import relay
from masa_node.cli.relay import WantedRelay, configuration
from tests.lacking import lacking_what_takes_long
from tests.processes import running

BUILT = Path(__file__).resolve().parents[2] / ".cache" / "iroh-relay" / "bin"  # by tools/get_iroh_relay.sh
FOLDER = Path("/srv/relay")
ENCRYPTED = WantedRelay("relay.example.org", "ada@example.org")


def test_with_a_name_it_gets_a_certificate_and_tells_nodes_their_addresses() -> None:
    made = tomllib.loads(configuration(ENCRYPTED, FOLDER))
    assert made["enable_quic_addr_discovery"]
    assert made["tls"] == {
        "cert_mode": "LetsEncrypt",
        "hostname": "relay.example.org",
        "contact": "ada@example.org",
        "cert_dir": str(FOLDER),
    }


def test_a_certificate_of_ones_own_is_read_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cert, key = (Path(name) for name in ("c.pem", "k.pem"))
    cert.touch()
    with pytest.raises(ConfigurationError, match=r"no file k\.pem"):
        configuration(WantedRelay("relay.example.org", cert=cert, key=key), FOLDER)
    key.touch()
    wanted = WantedRelay("relay.example.org", cert=cert, key=key)
    tls = tomllib.loads(configuration(wanted, FOLDER))["tls"]
    assert tls == {
        "cert_mode": "Reloading",
        "manual_cert_path": f"{tmp_path}/c.pem",
        "manual_key_path": f"{tmp_path}/k.pem",
    }


def test_strangers_are_bounded_and_with_a_token_kept_out() -> None:
    made = tomllib.loads(configuration(WantedRelay(token='a"b\\c'), FOLDER))
    assert made["access"] == {"shared_token": ['a"b\\c']}
    assert made["limits"]["client"]["rx"]["bytes_per_second"] > 0
    assert "tls" not in made


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (WantedRelay("relay.example.org"), "--email"),
        (WantedRelay("192.168.1.5", "a@b"), "host name"),
        (WantedRelay("localhost", "a@b"), "host name"),
        (WantedRelay("relay.example.org", cert=Path("/c.pem")), "go together"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(wanted: WantedRelay, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        configuration(wanted, FOLDER)


def test_where_none_is_installed_the_one_command_that_does_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(relay.shutil, "which", lambda _: None)
    for name, value in {"MASA_DIR": str(tmp_path / "m"), "RELAY_TOKEN": "secret"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["masa-node", "relay", "relay.example.org", "--email", "ada@example.org"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert "cargo install iroh-relay --features server" in capsys.readouterr().err
    path = tmp_path / "m" / "relay" / "relay.toml"
    assert tomllib.loads(path.read_text())["access"] == {"shared_token": ["secret"]}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_iroh_relay_takes_the_configuration(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), str(BUILT)))
    if shutil.which(relay.PROGRAM, path=path) is None:
        lacking_what_takes_long(pytestconfig, relay.PROGRAM)
    with socket.socket(socket.AF_INET6) as free:
        free.bind(("::", 0))
        port = free.getsockname()[1]
    environ = {**os.environ, "PATH": path, "MASA_DIR": str(tmp_path), "RELAY_TOKEN": "secret"}
    code = f"import sys; from masa_node.cli import main, relay; relay.PLAIN_PORT = {port}; main.main()"
    with running([sys.executable, "-c", code, "relay"], env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "masa-node invite --relay" in process.stderr.readline()
        for _ in range(100):
            try:
                with urllib.request.urlopen(f"http://[::1]:{port}/ping", timeout=1) as answer:
                    assert answer.status == 200
                    break
            except OSError:
                process.poll()
                assert process.returncode is None
                relay_is_up_within(process)
        else:
            pytest.fail("it did not come up")
        process.terminate()


def relay_is_up_within(process: subprocess.Popen[str], seconds: float = 0.1) -> None:
    """A moment, unless it ends meanwhile."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return
    pytest.fail("it ended")
