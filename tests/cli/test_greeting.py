import os
import signal
import subprocess
import sys
from pathlib import Path


def greeting(folder: Path, **environ: str) -> str:
    """What `masa-node up` prints until it is settled."""
    clean = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH", "HOME")}
    settings = {"MASA_DIR": str(folder), "PORT": "0", "NETWORK": "off", "FIND_LOCAL": "0", **environ}
    with subprocess.Popen(
        [sys.executable, "-m", "masa_node", "up"],
        cwd=folder,
        env={**clean, **settings, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ctrl+C"):
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    return "".join(lines)


def test_a_node_that_is_not_to_look_for_servers_does_not_say_that_it_does(tmp_path: Path) -> None:
    shown = greeting(tmp_path)
    assert "Looking" not in shown
    assert "FIND_LOCAL=1" in shown


def test_without_a_model_no_request_is_proposed(tmp_path: Path) -> None:
    shown = greeting(tmp_path)
    assert "curl" not in shown
    assert "masa-node join LINK" in shown
    assert "masa-node models" in shown


def test_with_a_model_a_request_to_it_is_proposed(tmp_path: Path) -> None:
    shown = greeting(tmp_path, DEMO="1")
    assert "  Models: masa-demo\n" in shown
    assert "No LLM server" not in shown
    assert '"model": "masa-demo"' in next(line for line in shown.splitlines() if "curl -N" in line)


PROFILE = """
name = "mine"
chain_id = 31337
rpc_urls = ["http://127.0.0.1:1"]
contract = "0x1111111111111111111111111111111111111111"
"""


def test_it_says_whether_stakes_are_checked(tmp_path: Path) -> None:
    assert "\n  Staking: off - stakes are not checked\n" in greeting(tmp_path)
    (tmp_path / "mine.toml").write_text(PROFILE)
    shown = greeting(tmp_path, STAKE_NETWORK="mine")
    assert "\n  Staking: on - providers: prefer, callers: prefer (mine, chain 31337)\n" in shown
