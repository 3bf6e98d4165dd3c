"""Tests that a benchmark can be put before all other programs, and says so where it may not be."""

import argparse
import os
import subprocess
import sys
from types import ModuleType

import pytest

import bench.__main__
import bench.rivals.__main__
from bench.machine import priority
from tests.docs.pages import ROOT


def test_it_is_put_before_all_others_and_what_it_starts_too() -> None:
    told = "import bench.machine.priority as p, os; print(p.is_realtime(), os.getpriority(os.PRIO_PROCESS, 0))"
    code = (
        "import argparse, subprocess, sys; from bench.machine import priority\n"
        "try: priority.apply(argparse.Namespace(nice=3, realtime=True))\n"
        f"except PermissionError: print('may not')\nelse: subprocess.run([sys.executable, '-c', {told!r}])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout in ("True 3\n", "may not\n")


def test_it_is_not_unless_asked() -> None:
    parser = argparse.ArgumentParser()
    priority.add_options(parser)
    priority.apply(parser.parse_args([]))
    assert not priority.is_realtime()


@pytest.mark.parametrize("command", [bench.__main__, bench.rivals.__main__])
def test_who_may_not_is_told_so_in_a_line(
    command: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(sys, "argv", ["bench", "--realtime"])
    assert command.main() == 2
    assert capsys.readouterr() == ("", "--realtime, and --nice below 0, are for root. Run it as root, or without.\n")
