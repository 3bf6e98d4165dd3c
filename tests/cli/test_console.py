"""`masa-node console`: what it prints, and when it opens a browser."""

import json
import sys
import webbrowser
from pathlib import Path

import pytest

from masa_node.cli import main as cli
from masa_node.node.owner import console as owner_console
from masa_node.telemetry import log
from tests.api.console_session import exchanged
from tests.api.serving import ServingNode


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    links: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda link: links.append(link) or True)
    monkeypatch.setattr(log, "configure", lambda *_: None)  # it would keep this test's stderr
    return links


def run(
    monkeypatch: pytest.MonkeyPatch, masa_dir: Path, *arguments: str, is_terminal: bool = True, code: str = "0"
) -> None:
    monkeypatch.setenv("MASA_DIR", str(masa_dir))
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(sys, "argv", ["masa-node", "console", *arguments])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    with pytest.raises(SystemExit, match=code):
        cli.main()


async def test_the_link_signs_in_and_is_opened_for_a_person_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], opened: list[str]
) -> None:
    import asyncio  # noqa: PLC0415 - the command has a loop of its own, so that it runs in a thread

    with ServingNode(tmp_path, {"NETWORK": "off"}) as node:
        await asyncio.to_thread(run, monkeypatch, node.masa_dir)
        printed = capsys.readouterr()
        link = printed.out.strip()
        assert (opened, "good once" in printed.err) == ([link], True)
        assert link.startswith(f"{node.address}/console/#token=")
        assert (await exchanged(node, link.partition("=")[2])).status == 200
        for arguments, is_terminal in ((["--no-open"], True), ([], False), (["--json"], True)):
            await asyncio.to_thread(run, monkeypatch, node.masa_dir, *arguments, is_terminal=is_terminal)
        assert len(opened) == 1
        assert json.loads(capsys.readouterr().out.split("\n", 2)[2]).keys() == {"link", "expires_at_unix_s"}


def test_where_no_node_runs_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], opened: list[str]
) -> None:
    monkeypatch.setattr(owner_console, "ALONE_WITHIN_S", 0.01)
    run(monkeypatch, tmp_path, code="1")
    assert "masa-node up" in capsys.readouterr().err
    assert opened == []
