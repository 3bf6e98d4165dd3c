"""How the commands behave in a terminal: pipes that close, addresses that are none, signals, help.

Covers: `main`, `output`.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from masa_node.cli.main import app, main
from tests.cli.test_banner import started
from tests.fakes.no_server import closed_port
from tests.processes import running

WIDE = {"COLUMNS": "200", "NO_COLOR": "1"}
ENDS_WITHIN_S = 30.0


def environment(folder: Path, **more: str) -> dict[str, str]:
    settings = {"MASA_DIR": str(folder), "PORT": "0", "NETWORK": "off", "FIND_LOCAL": "0", "DEMO": "1"}
    return {**os.environ, **settings, **more}


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    """What a command writes to after `| head -n 1` has ended."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


def lists_and_ends(process: "subprocess.Popen[str] | subprocess.Popen[bytes]", port: int) -> None:
    """The node answers there, and ends in order when it is told to."""
    asked = ["curl", "-sS", "--retry", "99", "--retry-delay", "1", "--retry-connrefused"]
    done = subprocess.run(
        [*asked, f"http://127.0.0.1:{port}/v1/models"], capture_output=True, timeout=ENDS_WITHIN_S, check=True
    )
    assert b"masa-demo" in done.stdout
    process.send_signal(signal.SIGTERM)
    assert process.wait(ENDS_WITHIN_S) == 0


@pytest.mark.parametrize("command", ["demo", "settings", "peers --all", "--help"])
def test_a_closed_pipe_ends_a_command_in_silence(tmp_path: Path, command: str, closed_pipe: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "masa_node", *command.split()],
        check=False,
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=closed_pipe,
        stderr=subprocess.PIPE,
        timeout=ENDS_WITHIN_S,
    )
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("command", ["up", "up --json"])
def test_a_closed_pipe_does_not_end_a_node(tmp_path: Path, command: str, closed_pipe: int) -> None:
    port = closed_port()
    with running(
        [sys.executable, "-m", "masa_node", *command.split()],
        cwd=tmp_path,
        env=environment(tmp_path, PORT=str(port)),
        stdout=closed_pipe,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        lists_and_ends(process, port)
        assert process.stderr is not None
        said = process.stderr.read()
    assert "Traceback" not in said
    assert "BrokenPipe" not in said
    assert "masa-node:" not in said


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_node_that_is_started_without_standard_streams_keeps_their_numbers_from_sockets(
    tmp_path: Path, closed: str
) -> None:
    """As some programs start what is to run in the background."""
    port = closed_port()
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "masa_node"]
    shown = subprocess.run([*command, "version"], env=environment(tmp_path), capture_output=True, check=True)
    assert b"Traceback" not in shown.stderr
    with running(
        [*command, "up"],
        cwd=tmp_path,
        env=environment(tmp_path, PORT=str(port)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        lists_and_ends(process, port)


@pytest.mark.parametrize("command", ["up", "up --json"])
def test_a_pipe_that_closes_after_the_address_was_read_does_not_end_a_node(tmp_path: Path, command: str) -> None:
    with running(
        [sys.executable, "-m", "masa_node", *command.split()],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        address = re.search(r"http://[\w.:]+", process.stdout.readline())
        process.stdout.close()  # as `| head -n 1` does: before the rest of the greeting, or after it
        assert address is not None
        done = subprocess.run(
            ["curl", "-sS", f"{address[0]}/v1/models"], capture_output=True, timeout=ENDS_WITHIN_S, check=True
        )
        assert b"masa-demo" in done.stdout
        process.send_signal(signal.SIGTERM)
        assert process.wait(ENDS_WITHIN_S) == 0


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_log_that_nobody_reads_stops_nothing(tmp_path: Path, style: str) -> None:
    read, write = os.pipe()
    os.close(read)
    with running(
        [sys.executable, "-m", "masa_node", "up"],
        cwd=tmp_path,
        env=environment(tmp_path, LOG_FORMAT=style, LOG_LEVEL="debug", PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=write,
        text=True,
    ) as process:
        os.close(write)
        assert process.stdout is not None
        base = process.stdout.readline().split()[-1]
        for _ in range(3):
            done = subprocess.run(["curl", "-sS", f"{base}/v1/models"], capture_output=True, timeout=20, check=True)
            assert b"masa-demo" in done.stdout
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.parametrize("command", ["models", "peers"])
@pytest.mark.parametrize("url", ["nowhere", "http://x:99999", "http://[::1", "ftp://x", "http:///x", "http://"])
def test_an_address_that_is_none_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["masa-node", command, "--url", url])
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=r"^2$"):
        main()
    told = f"masa-node: --url: {url!r} is not the address of a node. Write http://127.0.0.1:8080\n"
    assert tuple(capsys.readouterr()) == ("", told)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_each_signal_that_ends_it_ends_it_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    with started(tmp_path, ending=number, DEMO="1") as shown:  # its exit code is 0
        assert "masa-demo" in shown


def test_under_nohup_a_closed_terminal_does_not_end_it(tmp_path: Path) -> None:
    with running(
        ["sh", "-c", f"trap '' HUP; exec {sys.executable} -m masa_node up"],
        cwd=tmp_path,
        env=environment(tmp_path, PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        base = process.stdout.readline().split()[-1]
        process.send_signal(signal.SIGHUP)
        done = subprocess.run(["curl", "-sS", f"{base}/healthz"], capture_output=True, timeout=20, check=True)
        assert done.stdout == b'{"status":"ok"}'
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_help_has_the_commands_in_groups_and_ways_to_complete_them() -> None:
    shown = CliRunner().invoke(app, ["--help"], env=WIDE).output
    for group in ("Run a node", "Look at it", "Peers", "Stakes"):
        assert f" {group} " in shown
    assert "--install-completion" in shown
    assert shown.index("Run a node") < shown.index("│ up ") < shown.index("Peers") < shown.index("│ join ")


def test_the_version_is_an_option_too() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, CliRunner().invoke(app, ["version"]).output)
