"""While the node is off another user's program may have its port: the owner's commands do not hand it their key."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from masa_node.cli import main as cli
from masa_node.network.store.store import Store
from masa_node.telemetry import log

SECRET = "sk-of-the-owner"
COMMANDS = ["doctor", "doctor --json", "models", "peers", "peers --json", "stake status", "usage", "invites"]


class Stranger(ThreadingHTTPServer):
    """Answers all that is asked, as a node with keys does, and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heads: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Stranger

    def do_GET(self) -> None:
        self.server.heads.append(f"{self.requestline}\n{self.headers}")
        is_open = self.path == "/healthz"
        self.send_response(200 if is_open else 401)
        self.send_header("Content-Length", "2")
        self.send_header("X-Masa-Node", "1")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stranger]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(log, "configure", lambda *_: None)  # it would keep this test's stderr
    with Stranger() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        settings = {"MASA_DIR": str(tmp_path / "m"), "FIND_LOCAL": "0", "API_KEY": SECRET, "COLUMNS": "300"}
        for name, value in {**settings, "PORT": str(server.server_address[1])}.items():
            monkeypatch.setenv(name, value)
        yield server
        server.shutdown()
        thread.join()


async def _ran_before(masa_dir: Path, url: str) -> None:
    store = await Store.open(masa_dir)
    await store.set_value("url", url.encode())
    await store.close()


@pytest.mark.parametrize("has_run", [False, True], ids=["new", "ran before"])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_gives_the_key_to_what_listens_at_the_nodes_port(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, *, has_run: bool
) -> None:
    if has_run:
        asyncio.run(_ran_before(tmp_path / "m", f"http://127.0.0.1:{stranger.server_address[1]}"))
    monkeypatch.setattr("sys.argv", ["masa-node", *command.split()])
    with pytest.raises(SystemExit):
        cli.main()
    assert not any(SECRET in head for head in stranger.heads), stranger.heads


def test_models_says_why_it_gave_no_key_and_what_to_do(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["masa-node", "models"])
    with pytest.raises(SystemExit):
        cli.main()
    url = f"http://127.0.0.1:{stranger.server_address[1]}"
    assert stranger.heads, "it was asked"
    said = capsys.readouterr().err
    assert "It was not given API_KEY: no node with this MASA_DIR says that it serves there." in said
    assert f"name it: --url {url}" in said


def test_what_the_owner_names_gets_the_key(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://127.0.0.1:{stranger.server_address[1]}"
    monkeypatch.setattr("sys.argv", ["masa-node", "models", "--url", url])
    with pytest.raises(SystemExit):
        cli.main()
    assert any(SECRET in head for head in stranger.heads)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_cannot_be_used_proves_nothing(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    (tmp_path / "m").touch()
    monkeypatch.setattr("sys.argv", ["masa-node", *command.split()])
    with pytest.raises(SystemExit):
        cli.main()
    assert stranger.heads or command not in ("models", "usage"), "it is asked without a key"
    assert not any(SECRET in head for head in stranger.heads)
