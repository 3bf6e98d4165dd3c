"""Ctrl+C before a node's loop hears it: in the middle of an import, where Python drops it if it is an exception."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from masa_node.node.signals import ended_at_once
from tests.processes import running

# Presses Ctrl+C while importlib lets go of what it locked a module with. It does so in the callback of a weak
# reference, out of which no exception comes: "Exception ignored in ...". One press in 300 hits one of these.
PRESSES = """
import os, signal, sys

def press(frame, event, _):
    if event == "call" and frame.f_code.co_name == "cb" and frame.f_locals.get("name") == os.environ["PRESS_AT"]:
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGINT)

sys.setprofile(press)
"""


@pytest.mark.parametrize(
    ("command", "module"),
    [
        ("up", "typer"),
        ("up", "masa_node.cli.main"),
        ("up", "masa_node.node.serve"),
        ("up", "uvloop"),
        ("demo", "masa_node.devnet.demo"),
        ("devnet", "masa_node.devnet.run"),
    ],
)
def test_ctrl_c_ends_a_command_in_the_middle_of_an_import(tmp_path: Path, command: str, module: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(PRESSES)
    environ = {**os.environ, "PYTHONPATH": str(tmp_path), "PRESS_AT": module, "MASA_DIR": str(tmp_path), "PORT": "0"}
    with running(
        [sys.executable, "-m", "masa_node", command],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == ""  # not even a traceback
        assert process.wait() == -signal.SIGINT


def test_ctrl_c_is_an_exception_again_afterwards() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with ended_at_once():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_ignores_ctrl_c_goes_on_to_do_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ended_at_once():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
